"""Manage all patches of all SDKs, with one handler.

This module is loaded when the application imports the first supported SDK.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.metrics import get_meter
from opentelemetry.trace import get_tracer, get_tracer_provider
from wrapt import register_post_import_hook

from promptcache.common.safely import safely
from promptcache.patching.patcher import ModulePatcher, warn_unsupported_sdk_release
from promptcache.patching.registry import HOOK_MODULES, REQUIRED_MODULES, import_hooks
from promptcache.patching.start_log import find_sdk_states, log_start
from promptcache.semconv import SCOPE_NAME
from promptcache.settings import Settings
from promptcache.telemetry.handler import TelemetryHandler
from promptcache.telemetry.metrics import MetricsRecorder
from promptcache.version import __version__

if TYPE_CHECKING:
    from promptcache.patching.span_tracker import SpanStartTrackers

_HANDLER_OPTIONS: Final = ("clock", "recording_key")


def _make_required_module_check(module: str) -> Callable[[object], None]:
    """Return an import hook that warns if importing an SDK did not import `module`."""

    def check(package: object) -> None:
        if module not in sys.modules:
            warn_unsupported_sdk_release(module)

    return check


class PatchManager:
    """Patch each SDK module: now if it is imported already, else when it is imported."""

    def __init__(self) -> None:
        self._patchers: dict[str, ModulePatcher] = {}
        self._handler: TelemetryHandler | None = None
        self._tracer_provider: Any = None
        self._span_trackers: SpanStartTrackers | None = None
        for package, module in REQUIRED_MODULES.items():
            register_post_import_hook(_make_required_module_check(module), package)

    def enable(
        self,
        settings: Settings,
        tracer_provider: Any = None,
        meter_provider: Any = None,
        **options: Any,
    ) -> None:
        """Patch with a new handler. Of `options` only `_HANDLER_OPTIONS` are used."""
        metrics = MetricsRecorder(
            get_meter(SCOPE_NAME, __version__, meter_provider),
            settings.metric_keys,
            with_genai_metrics=settings.genai_metrics,
        )
        chosen = {name: value for name, value in options.items() if name in _HANDLER_OPTIONS}
        tracer = get_tracer(SCOPE_NAME, __version__, tracer_provider)
        self._handler = TelemetryHandler(settings, tracer, metrics, **chosen)
        self._tracer_provider = tracer_provider
        self._handler.track_span_starts = self._track_span_starts
        self._handler.flush_spans = self._flush_spans
        safely(self._handler.load_price_file)  # now, since a call must not wait for it
        safely(self._track_span_starts)
        for module in HOOK_MODULES:
            safely(self._patch_when_imported, module)
        safely(log_start, self._patchers)

    def find_sdk_states(self) -> dict[str, str]:
        """Return for each SDK whether it is observed, of an unknown release, or absent."""
        return find_sdk_states(self._patchers)

    def end_open_calls(self) -> None:
        """End the calls that have not ended: the process is about to."""
        if self._handler is not None:
            safely(self._handler.end_open_calls)

    def disable(self) -> None:
        """Restore every function whose outermost wrapper is ours.

        The other wrappers only call the original from now on.
        """
        if self._handler is not None:
            safely(self._handler.metrics.close)
        self._handler = None
        if self._span_trackers is not None:
            self._span_trackers.disable()
        for patcher in self._patchers.values():
            safely(patcher.remove_or_disable)

    def _track_span_starts(self) -> None:
        """Track the spans that our tracer provider starts; the API's own takes no processor.

        The application may set its tracer provider at any time before its first call.
        """
        given = self._tracer_provider or get_tracer_provider()
        provider = getattr(given, "application_provider", given)
        if self._handler is None or not hasattr(provider, "add_span_processor"):
            return
        if self._span_trackers is None:
            from promptcache.patching.span_tracker import SpanStartTrackers

            self._span_trackers = SpanStartTrackers()
        started_spans = self._span_trackers.track_only(provider, self._handler.finalizer.drain)
        self._handler.foreign_spans.started_spans = started_spans

    def _flush_spans(self) -> None:
        provider: Any = self._tracer_provider or get_tracer_provider()
        if hasattr(provider, "force_flush"):
            provider.force_flush()

    def _patch_when_imported(self, module_name: str) -> None:
        if module_name in self._patchers:
            self._install_hooks_if_enabled(module_name)
        else:
            self._patchers[module_name] = ModulePatcher()
            register_post_import_hook(self._make_import_hook(module_name), module_name)

    def _make_import_hook(self, module_name: str) -> Callable[[object], None]:
        def on_import(module: object) -> None:
            safely(self._patch_imported_module, module_name, module)

        return on_import

    def _patch_imported_module(self, module_name: str, module: object) -> None:
        self._patchers[module_name].module = module
        safely(self._track_span_starts)
        self._install_hooks_if_enabled(module_name)

    def _install_hooks_if_enabled(self, module_name: str) -> None:
        patcher = self._patchers[module_name]
        if self._handler is not None and patcher.module is not None:
            patcher.install_or_reenable(import_hooks(module_name), self._handler)
