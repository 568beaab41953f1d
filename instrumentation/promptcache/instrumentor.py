"""Turns the instrumentation on and off, for `opentelemetry-instrument` and by hand."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Final

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # its module opts out of mypy
from opentelemetry.metrics import get_meter
from opentelemetry.trace import get_tracer
from wrapt import register_post_import_hook

from .meters import Meters
from .observe import safely
from .observer import Observer
from .patch.drive import Patches
from .patch.sdks import ROWS, Row
from .settings import Settings
from .version import __version__


class PromptCacheInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # Any to mypy, as above
    """Instruments every supported SDK that the application imports, before or after; imports none itself.

    >>> PromptCacheInstrumentor().instrument()  # doctest: +SKIP

    `instrument` takes `tracer_provider`, `meter_provider` (the global ones by default), `settings` (a `Settings`;
    `OTEL_PROMPTCACHE_*` by default) and `clock` (a function that returns epoch seconds, for tests). Neither it nor
    `uninstrument` ever raises.
    """

    _patches: Final[dict[str, Patches]] = {}
    _observer: Observer | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """None: each SDK is looked at by itself, when it is imported."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        safely(partial(self._switch_on, **kwargs))

    def _uninstrument(self, **kwargs: Any) -> None:
        safely(self._switch_off)

    def _switch_on(
        self, tracer_provider: Any = None, meter_provider: Any = None, settings: Settings | None = None, **kwargs: Any
    ) -> None:
        settings = settings or Settings.load()
        meters = Meters(get_meter("promptcache", __version__, meter_provider), settings.metric_keys)
        known = {name: value for name, value in kwargs.items() if name == "clock"}
        observer = Observer(settings, get_tracer("promptcache", __version__, tracer_provider), meters, **known)
        if not self._patches:
            atexit.register(_last_sweep)
        PromptCacheInstrumentor._observer = observer
        for row in ROWS:
            safely(self._stand, row)

    def _stand(self, row: Row) -> None:
        if row.module in self._patches:
            self._install(row)
        else:
            self._patches[row.module] = Patches()
            register_post_import_hook(self._hook(row), row.module)

    def _hook(self, row: Row) -> Callable[[object], None]:
        def imported(module: object) -> None:
            safely(self._imported, row, module)

        return imported

    def _imported(self, row: Row, module: object) -> None:
        self._patches[row.module].module = module
        self._install(row)

    def _install(self, row: Row) -> None:
        patches = self._patches[row.module]
        if self._observer is not None and patches.module is not None:
            patches.install(row.targets, self._observer)

    def _switch_off(self) -> None:
        PromptCacheInstrumentor._observer = None
        for patches in self._patches.values():
            safely(patches.restore)

    @classmethod
    def sweep(cls) -> None:
        """Ends what a dropped stream left open. Never raises."""
        if cls._observer is not None:
            safely(cls._observer.sweep)


def _last_sweep() -> None:
    PromptCacheInstrumentor.sweep()
