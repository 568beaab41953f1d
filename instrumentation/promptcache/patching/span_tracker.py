"""Record every started span of our tracer provider.

A foreign span is ours to write on only if our tracer provider has started it. Some instrumentations
start an LLM span without making it current.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import ref

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor

from promptcache.common.safely import safely
from promptcache.semconv import SCOPE_NAME
from promptcache.telemetry.foreign_spans import remember_started_span
from promptcache.telemetry.started_spans import StartedSpans


class SpanStartTracker(SpanProcessor):
    """A span processor that only records the started spans of one tracer provider.

    It exports nothing. A TracerProvider cannot remove a processor, so this one can be disabled.
    """

    def __init__(self, tracer_provider: Any) -> None:
        self.provider = ref(tracer_provider)
        self.is_enabled = False
        self.before_flush: Callable[[], bool] | None = None
        """Ends the calls that wait for it, and returns whether there was any."""
        self.started_spans = StartedSpans(getattr(tracer_provider, "resource", None))

    def enable(self) -> None:
        """Record the spans that start from now on."""
        if not self.is_enabled:
            self.started_spans.watch_from_now()
            self.is_enabled = True

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Remember `span`, and that the current context has started it."""
        if self.is_enabled:
            safely(self._remember, span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """End the calls that wait for it, and flush the processors before this one once more."""
        provider = self.provider()
        if self.is_enabled and self.before_flush is not None and safely(self.before_flush):
            return provider is None or bool(safely(provider.force_flush, timeout_millis))
        return True

    def _remember(self, span: Span) -> None:
        self.started_spans.remember(span)
        scope = span.instrumentation_scope
        if scope is None or scope.name != SCOPE_NAME:
            remember_started_span(span)


class SpanStartTrackers:
    """The trackers of all tracer providers that were ever ours. One of them is enabled."""

    def __init__(self) -> None:
        # By id: Logfire's provider is not hashable.
        self._by_provider: dict[int, SpanStartTracker] = {}
        self._current: SpanStartTracker | None = None

    def track_only(self, tracer_provider: Any, before_flush: Callable[[], bool]) -> StartedSpans:
        """Record the spans that `tracer_provider` starts from now on, and those of no other.

        `before_flush` runs when the provider is flushed.
        """
        tracker = self._current
        if tracker is None or tracker.provider() is not tracer_provider:
            self.disable()
            tracker = self._current = self._tracker_of(tracer_provider)
        tracker.before_flush = before_flush
        tracker.enable()
        return tracker.started_spans

    def disable(self) -> None:
        """Record no spans."""
        if self._current is not None:
            self._current.is_enabled = False

    def _tracker_of(self, tracer_provider: Any) -> SpanStartTracker:
        """Return the one tracker of `tracer_provider`, which gets it as a processor now if new."""
        for key, tracker in list(self._by_provider.items()):
            if tracker.provider() is None:
                self._by_provider.pop(key, None)
        new = SpanStartTracker(tracer_provider)
        # Two threads may make the first call at once; `setdefault` gives both the same tracker.
        tracker = self._by_provider.setdefault(id(tracer_provider), new)
        if tracker is new:
            tracer_provider.add_span_processor(tracker)
        return tracker
