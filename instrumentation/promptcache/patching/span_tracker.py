"""Hears of every span that begins: others open one for a call, keep it in a variable, and make it current nowhere."""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakValueDictionary

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor

from promptcache.common.safely import safely
from promptcache.telemetry.spans import remember_started_span


class SpanStartTracker(SpanProcessor):
    """Exports nothing. No provider lets go of a processor again, so this one has a switch."""

    def __init__(self) -> None:
        self.is_enabled = False
        self._tracked_providers: Final = WeakValueDictionary[
            int, Any
        ]()  # by id, for Logfire's provider cannot be hashed

    def track(self, provider: Any) -> None:
        """Hears of the spans of `provider` from now on."""
        self.is_enabled = True
        if self._tracked_providers.get(id(provider)) is not provider:
            self._tracked_providers[id(provider)] = provider
            provider.add_span_processor(self)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """A span began, in the context of whoever opened it."""
        if self.is_enabled:
            safely(remember_started_span, span)
