"""All patches of all SDKs, behind one observer: loaded when the application imports the first SDK that we know."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import get_meter
from opentelemetry.trace import get_tracer, get_tracer_provider
from wrapt import register_post_import_hook

from promptcache.meters import Meters
from promptcache.observer import Observer
from promptcache.patch.drive import Patches, moved
from promptcache.patch.sdks import CHOKES, ROWS, targets
from promptcache.safety import safely
from promptcache.settings import Settings
from promptcache.spans import TRACER
from promptcache.version import __version__

if TYPE_CHECKING:
    from promptcache.patch.beginnings import Beginnings


def _looks_for(module: str) -> Callable[[object], None]:
    def imported(package: object) -> None:
        if module not in sys.modules:
            moved(module)

    return imported


class Switchboard:
    """Stands at every module that is imported, and waits for the others."""

    def __init__(self) -> None:
        self._patches: dict[str, Patches] = {}
        self._observer: Observer | None = None
        self._provider: Any = None
        self._beginnings: Beginnings | None = None
        for package, module in CHOKES.items():
            register_post_import_hook(_looks_for(module), package)

    def on(
        self,
        settings: Settings,
        tracer_provider: Any = None,
        meter_provider: Any = None,
        **more: Any,
    ) -> None:
        """Stands with a new observer; of `more` only `clock` is known."""
        meters = Meters(get_meter("promptcache", __version__, meter_provider), settings.metric_keys)
        known = {name: value for name, value in more.items() if name == "clock"}
        self._observer = Observer(
            settings, get_tracer(TRACER, __version__, tracer_provider), meters, **known
        )
        self._provider = tracer_provider
        safely(self._listen)
        for module in ROWS:
            safely(self._stand, module)

    def off(self) -> None:
        """Leaves every function that ours is outermost at; elsewhere it passes straight through."""
        safely(self.sweep)
        self._observer = None
        if self._beginnings is not None:
            self._beginnings.on = False
        for patches in self._patches.values():
            safely(patches.restore)

    def sweep(self) -> None:
        """Ends what a dropped stream left open."""
        if self._observer is not None:
            self._observer.sweep()

    def _listen(self) -> None:
        """Hears of others' spans, where there is a provider that tells: one without an SDK has none to tell of."""
        provider = self._provider or get_tracer_provider()
        if not hasattr(provider, "add_span_processor"):
            return
        if self._beginnings is None:
            from promptcache.patch.beginnings import Beginnings

            self._beginnings = Beginnings()
        self._beginnings.listen(provider)

    def _stand(self, name: str) -> None:
        if name in self._patches:
            self._install(name)
        else:
            self._patches[name] = Patches()
            register_post_import_hook(self._hook(name), name)

    def _hook(self, name: str) -> Callable[[object], None]:
        def imported(module: object) -> None:
            safely(self._imported, name, module)

        return imported

    def _imported(self, name: str, module: object) -> None:
        self._patches[name].module = module
        if self._observer is not None:
            safely(self._listen)  # the application may have made its provider by now
        self._install(name)

    def _install(self, name: str) -> None:
        patches = self._patches[name]
        if self._observer is not None and patches.module is not None:
            patches.install(targets(name), self._observer)
