"""All patches of all SDKs, behind one observer: loaded when the application imports the first SDK that we know."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import get_meter
from opentelemetry.trace import get_tracer, get_tracer_provider
from wrapt import register_post_import_hook

from promptcache.common.safely import safely
from promptcache.patching.registry import HOOK_MODULES, REQUIRED_MODULES, load_hooks
from promptcache.patching.wrapping import ModulePatcher, warn_unsupported_release
from promptcache.settings import Settings
from promptcache.telemetry.handler import TelemetryHandler
from promptcache.telemetry.metrics import MetricsRecorder
from promptcache.telemetry.spans import TRACER_NAME
from promptcache.version import __version__

if TYPE_CHECKING:
    from promptcache.patching.span_tracker import SpanStartTracker


def _make_required_module_check(module: str) -> Callable[[object], None]:
    def imported(package: object) -> None:
        if module not in sys.modules:
            warn_unsupported_release(module)

    return imported


class PatchManager:
    """Stands at every module that is imported, and waits for the others."""

    def __init__(self) -> None:
        self._patchers: dict[str, ModulePatcher] = {}
        self._handler: TelemetryHandler | None = None
        self._tracer_provider: Any = None
        self._span_tracker: SpanStartTracker | None = None
        for package, module in REQUIRED_MODULES.items():
            register_post_import_hook(_make_required_module_check(module), package)

    def enable(
        self,
        settings: Settings,
        tracer_provider: Any = None,
        meter_provider: Any = None,
        **options: Any,
    ) -> None:
        """Stands with a new observer; of `options` only `clock` is known."""
        meters = MetricsRecorder(
            get_meter("promptcache", __version__, meter_provider), settings.metric_keys
        )
        known = {name: value for name, value in options.items() if name == "clock"}
        self._handler = TelemetryHandler(
            settings, get_tracer(TRACER_NAME, __version__, tracer_provider), meters, **known
        )
        self._tracer_provider = tracer_provider
        safely(self._track_span_starts)
        for module in HOOK_MODULES:
            safely(self._patch_when_imported, module)

    def disable(self) -> None:
        """Leaves every function that ours is outermost at; elsewhere it passes straight through."""
        safely(self.finish_abandoned_calls)
        self._handler = None
        if self._span_tracker is not None:
            self._span_tracker.is_enabled = False
        for patches in self._patchers.values():
            safely(patches.restore)

    def finish_abandoned_calls(self) -> None:
        """Ends what a dropped stream left open."""
        if self._handler is not None:
            self._handler.finish_deferred()

    def _track_span_starts(self) -> None:
        """Hears of others' spans, where there is a provider that tells: one without an SDK has none to tell of."""
        provider = self._tracer_provider or get_tracer_provider()
        if not hasattr(provider, "add_span_processor"):
            return
        if self._span_tracker is None:
            from promptcache.patching.span_tracker import SpanStartTracker

            self._span_tracker = SpanStartTracker()
        self._span_tracker.track(provider)

    def _patch_when_imported(self, name: str) -> None:
        if name in self._patchers:
            self._install_hooks(name)
        else:
            self._patchers[name] = ModulePatcher()
            register_post_import_hook(self._make_import_hook(name), name)

    def _make_import_hook(self, name: str) -> Callable[[object], None]:
        def imported(module: object) -> None:
            safely(self._on_import, name, module)

        return imported

    def _on_import(self, name: str, module: object) -> None:
        self._patchers[name].module = module
        if self._handler is not None:
            safely(self._track_span_starts)  # the application may have made its provider by now
        self._install_hooks(name)

    def _install_hooks(self, name: str) -> None:
        patches = self._patchers[name]
        if self._handler is not None and patches.module is not None:
            patches.install(load_hooks(name), self._handler)
