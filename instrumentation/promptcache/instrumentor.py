"""Turns the instrumentation on and off, for `opentelemetry-instrument` and by hand."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # its module opts out of mypy
from wrapt import register_post_import_hook

from promptcache.safety import safely
from promptcache.settings import Settings

if TYPE_CHECKING:
    from promptcache.patch.switchboard import Switchboard

SDKS: Final = (
    "openai",
    "anthropic",
    "groq",
    "google.genai",
    "botocore.client",
    "aiobotocore.client",
    "litellm",
)
"""Until one of these is imported nothing else of ours is: most processes of a machine never call a model."""


class PromptCacheInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # Any to mypy, as above
    """Instruments every supported SDK that the application imports, before or after; imports none itself.

    >>> PromptCacheInstrumentor().instrument()  # doctest: +SKIP

    `instrument` takes `tracer_provider`, `meter_provider` (the global ones by default), `settings` (a `Settings`;
    `OTEL_PROMPTCACHE_*` by default) and `clock` (a function that returns epoch seconds, for tests). Neither it nor
    `uninstrument` ever raises.
    """

    _board: Switchboard | None = None
    _wanted: Mapping[str, Any] | None = None
    _waiting: bool = False

    def instrumentation_dependencies(self) -> Collection[str]:
        """None: each SDK is looked at by itself, when it is imported."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        safely(self._switch_on, **kwargs)

    def _uninstrument(self, **kwargs: Any) -> None:
        safely(self._switch_off)

    def _switch_on(self, settings: Settings | None = None, **kwargs: Any) -> None:
        cls = PromptCacheInstrumentor
        cls._wanted = {"settings": settings or Settings.load(), **kwargs}
        if cls._board is not None:
            cls._board.on(**cls._wanted)
        elif any(name in sys.modules for name in SDKS):
            cls.load()
        elif not cls._waiting:
            cls._waiting = True
            for name in SDKS:
                register_post_import_hook(_imported, name)

    def _switch_off(self) -> None:
        cls = PromptCacheInstrumentor
        cls._wanted = None
        if cls._board is not None:
            cls._board.off()

    @classmethod
    def load(cls) -> None:
        """The application imported an SDK: loads the rest of us, and takes up what `instrument` was asked for."""
        if cls._board is not None or cls._wanted is None:
            return
        from promptcache.patch.switchboard import Switchboard

        cls._board = Switchboard()
        cls._board.on(**cls._wanted)
        atexit.register(safely, cls._board.sweep)


def _imported(module: object) -> None:
    safely(PromptCacheInstrumentor.load)
