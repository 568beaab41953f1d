"""Record every started span.

Some instrumentations start an LLM span without making it current.
"""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakValueDictionary

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor

from promptcache.common.safely import safely
from promptcache.telemetry.foreign_spans import remember_started_span


class SpanStartTracker(SpanProcessor):
    """A span processor that only records started spans.

    It exports nothing. A TracerProvider cannot remove a processor, so this one can be disabled.
    """

    def __init__(self) -> None:
        self.is_enabled = False
        # By id: Logfire's provider is not hashable.
        self._tracked_providers: Final = WeakValueDictionary[int, Any]()

    def track_provider(self, tracer_provider: Any) -> None:
        """Record the spans that `tracer_provider` starts from now on."""
        self.is_enabled = True
        if self._tracked_providers.get(id(tracer_provider)) is not tracer_provider:
            self._tracked_providers[id(tracer_provider)] = tracer_provider
            tracer_provider.add_span_processor(self)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Remember `span` in the current context."""
        if self.is_enabled:
            safely(remember_started_span, span)
