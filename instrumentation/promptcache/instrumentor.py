"""The instrumentor, for `opentelemetry-instrument` and for use by hand."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # its module opts out of mypy
from opentelemetry.trace import TracerProvider, get_tracer_provider
from wrapt import register_post_import_hook

from promptcache.common.safely import safely
from promptcache.providers.registry import TRIGGER_MODULES
from promptcache.settings import Settings

if TYPE_CHECKING:
    from promptcache.patching.manager import PatchManager


class PromptCacheInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # Any to mypy, as above
    """Instrument every supported SDK that the application imports, earlier or later.

    >>> PromptCacheInstrumentor().instrument()  # doctest: +SKIP

    `instrument` takes `tracer_provider` and `meter_provider` (by default the global ones),
    `settings` (a `Settings`, by default of the `OTEL_PROMPTCACHE_*` variables) and `clock` (a
    function that returns epoch seconds, for tests). `promptcache.record` gives a `recording_key`.
    `instrument` and `uninstrument` import no SDK and never raise.
    """

    _manager: PatchManager | None = None
    _options: Mapping[str, Any] | None = None
    _has_import_hooks: bool = False

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return nothing: each SDK is checked on its own when the application imports it."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        safely(self._enable_now_or_on_sdk_import, **kwargs)

    def _uninstrument(self, **kwargs: Any) -> None:
        safely(self._disable)

    def _enable_now_or_on_sdk_import(self, settings: Settings | None = None, **kwargs: Any) -> None:
        cls = PromptCacheInstrumentor
        cls._options = {"settings": settings or Settings.load(), **kwargs}
        if cls._manager is not None:
            cls._manager.enable(**cls._options)
        elif any(name in sys.modules for name in TRIGGER_MODULES):
            cls.load_and_enable_patching()
        elif not cls._has_import_hooks:
            cls._has_import_hooks = True
            for name in TRIGGER_MODULES:
                register_post_import_hook(_on_sdk_import, name)

    def _disable(self) -> None:
        cls = PromptCacheInstrumentor
        cls._options = None
        if cls._manager is not None:
            cls._manager.disable()

    @classmethod
    def tracer_provider_in_use(cls) -> Any:
        """Return the tracer provider of `instrument` or the global one, None if neither is used."""
        if cls._options is None:
            return None
        return cls._options.get("tracer_provider") or get_tracer_provider()

    @classmethod
    def use_tracer_provider(cls, tracer_provider: TracerProvider) -> None:
        """Start all spans with `tracer_provider` from now on. The other options stay."""
        cls._change_options(tracer_provider=tracer_provider)

    @classmethod
    def use_recording_key(cls, key: bytes) -> None:
        """Make links of prompts under `key` from now on, for the local table only."""
        if cls._options is not None and cls._options.get("recording_key") != key:
            cls._change_options(recording_key=key)

    @classmethod
    def _change_options(cls, **options: Any) -> None:
        if cls._options is None:
            return
        cls._options = {**cls._options, **options}
        if cls._manager is not None:
            cls._manager.enable(**cls._options)

    @classmethod
    def find_sdk_states(cls) -> dict[str, str]:
        """Return for each SDK whether it is `observed`, of an `unknown` release, or `absent`.

        Empty until the application imports the first SDK.
        """
        return {} if cls._manager is None else cls._manager.find_sdk_states()

    @classmethod
    def end_open_calls(cls) -> None:
        """End the calls that have not ended. For a process that dies without its exit functions."""
        if cls._manager is not None:
            cls._manager.end_open_calls()

    @classmethod
    def load_and_enable_patching(cls) -> None:
        """Load the patching and enable it with the options of `instrument`.

        Called once an SDK has been imported.
        """
        if cls._manager is not None or cls._options is None:
            return
        from promptcache.patching.manager import PatchManager

        cls._manager = PatchManager()
        cls._manager.enable(**cls._options)


def _on_sdk_import(module: object) -> None:
    safely(PromptCacheInstrumentor.load_and_enable_patching)
