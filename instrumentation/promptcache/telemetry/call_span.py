"""The span that carries a call: one of our own, or a foreign one that the call claimed."""

from __future__ import annotations

from typing import Protocol, final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind

from promptcache import semconv
from promptcache.model import Call
from promptcache.telemetry.call_counts import CALL_COUNTS
from promptcache.telemetry.handler import TelemetryHandler
from promptcache.telemetry.local_links import hand_over_links
from promptcache.telemetry.request_info import RequestInfo
from promptcache.telemetry.span_attributes import set_call_attributes, set_count_attributes


class CallSpan(Protocol):
    """The span of one call. `context` is the context in which it is current."""

    context: Context

    def update(self, call: Call) -> None:
        """Write the counts that are known before the last event, and nothing that judges them."""
        ...

    def finish(self, call: Call | None, end_time: int | None) -> None:
        """Write everything, and end the span if it is ours, at `end_time` (epoch nanoseconds).

        None as the call means that it could not be evaluated; None as the time means now.
        """
        ...


@final
class OwnSpan:
    """A span of ours. It has all attributes, and gets them when it ends."""

    __slots__ = ("_handler", "_span", "context")

    def __init__(
        self, handler: TelemetryHandler, info: RequestInfo, context: Context, started_at: float
    ) -> None:
        """Start the span under `context`, at `started_at` (epoch seconds)."""
        self._handler = handler
        operation = info.wire_format.operation
        self._span = handler.tracer.start_span(
            f"{operation} {info.model}" if info.model else operation,
            context,
            SpanKind.CLIENT,
            semconv.sampling_attributes(
                operation, info.provider, info.model, info.host, info.port, stream=info.stream
            ),
            start_time=int(started_at * 1e9),
        )
        self.context = trace.set_span_in_context(self._span, context)

    def update(self, call: Call) -> None:
        """Do nothing: nobody reads the span before it ends."""

    def finish(self, call: Call | None, end_time: int | None) -> None:
        """Write everything, and end the span."""
        try:
            if call is not None and self._span.is_recording():
                set_call_attributes(self._span, call, self._handler.settings, is_own_span=True)
                if call.links is not None:
                    hand_over_links(self._span, call.links)
        finally:
            self._span.end(end_time)


@final
class ForeignSpan:
    """A span of another instrumentation or of the SDK. We add attributes that it lacks.

    OpenTelemetry cannot take an attribute back, hence the counts alone before the last event.
    """

    __slots__ = ("_handler", "_info", "_own_names", "_span", "_started_at", "context")

    def __init__(
        self,
        handler: TelemetryHandler,
        info: RequestInfo,
        context: Context,
        started_at: float,
        span: Span,
    ) -> None:
        self._handler, self._info, self._span = handler, info, span
        self._started_at = started_at
        self._own_names: frozenset[str] = frozenset()
        self.context = trace.set_span_in_context(span, context)

    def update(self, call: Call) -> None:
        """Write the counts, because the span may end before the call does."""
        if self._span.is_recording():
            self._own_names |= set_count_attributes(self._span, call, self._own_names)

    def finish(self, call: Call | None, end_time: int | None) -> None:
        """Write everything. A span that ended without our counts gets a child with everything."""
        if call is None:
            return
        if self._span.is_recording():
            set_call_attributes(
                self._span,
                call,
                self._handler.settings,
                is_own_span=False,
                own_names=self._own_names,
            )
            if call.links is not None:
                hand_over_links(self._span, call.links)
        elif not self._own_names:
            child = OwnSpan(self._handler, self._info, self.context, self._started_at)
            child.finish(call, end_time)


@final
class UnsampledSpan:
    """The SDK's own span that the sampler has dropped: the call gets no span."""

    __slots__ = ("context",)

    def __init__(self, context: Context) -> None:
        self.context = context

    def update(self, call: Call) -> None:
        """Do nothing."""

    def finish(self, call: Call | None, end_time: int | None) -> None:
        """Do nothing."""


def open_call_span(
    handler: TelemetryHandler,
    info: RequestInfo,
    context: Context,
    context_at_start: Context,
    started_at: float,
) -> CallSpan:
    """Claim the foreign LLM span of a call in `context`, or else start a span there."""
    CALL_COUNTS.observed += 1
    handler.follow_tracer_provider()
    current = trace.get_current_span(context)
    claimed = handler.foreign_spans.claim_span_of_call(current, info.model, stream=info.stream)
    if claimed is not None:
        return ForeignSpan(handler, info, context, started_at, claimed)
    if _is_dropped_by_sampler(current, trace.get_current_span(context_at_start)):
        return UnsampledSpan(context)
    return OwnSpan(handler, info, context, started_at)


def _is_dropped_by_sampler(current: Span, span_at_start: Span) -> bool:
    """Return whether `current` is the SDK's own span, which the sampler has dropped.

    It does not record, and was not current when the call started. Without a tracer provider the SDK
    gets no span of its own, but a copy of the one that was current.
    """
    if current.is_recording() or current is span_at_start:
        return False
    return current.get_span_context().span_id != span_at_start.get_span_context().span_id
