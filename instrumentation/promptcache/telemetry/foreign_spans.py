"""Recognise the LLM spans of other instrumentations, and claim one for a call.

A call that has an LLM span already gets no second one: promptcache writes its attributes on the
span that is there. A foreign span is one that another instrumentation, or an SDK that traces
itself, has started. It is claimed only if our tracer provider has started it: the exporter of
another tracer provider is not ours, so what is written there is lost to our user.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final
from weakref import WeakKeyDictionary, ref

from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Span, SpanContext, get_current_span

from promptcache import semconv
from promptcache.telemetry.call_counts import CALL_COUNTS
from promptcache.telemetry.started_spans import StartedSpans

_LLM_SPAN_ATTRIBUTES: Final[Mapping[str, frozenset[str]]] = {
    semconv.GEN_AI_OPERATION_NAME: frozenset({"chat", "generate_content", "text_completion"}),
    "openinference.span.kind": frozenset({"LLM"}),
    "llm.request.type": frozenset({"chat", "completion"}),
    "langfuse.observation.type": frozenset({"generation"}),
}
"""Attributes, with their values, that mark an LLM span and no other span."""
_LLM_SPAN_NAMES: Final = (
    ("openinference.instrumentation.bedrock", "bedrock.invoke_model"),
    ("openlit.instrumentation.", "chat "),
)
"""First part of the tracer's and of the span's name, where the attributes above come too late.

These instrumentations set them only when the call is over.
"""
_MODEL_ATTRIBUTES: Final = (
    semconv.GEN_AI_REQUEST_MODEL,
    "llm.model_name",
    "langfuse.observation.model.name",
)

_MAX_STARTED_SPANS: Final = 32
_MAX_OPEN_SPANS_KEPT: Final = 8
_started_spans: ContextVar[tuple[ref[Span], ...]] = ContextVar(
    "promptcache-started-spans", default=()
)


def should_instrument() -> bool:
    """Return whether a call made now may be instrumented.

    True unless telemetry is suppressed. It is suppressed inside Logfire's LLM spans too, to prevent
    a second span; a call there is instrumented nevertheless, since it only writes on that span.
    """
    if is_instrumentation_enabled() or is_foreign_llm_span(get_current_span()):
        return True
    CALL_COUNTS.suppressed += 1
    return False


def is_foreign_llm_span(span: Span) -> bool:
    """Return whether another instrumentation, or the SDK, started `span` for one LLM call."""
    attributes, late_attributes = _attributes_and_late_attributes(span)
    for name, values in _LLM_SPAN_ATTRIBUTES.items():
        if attributes.get(name, late_attributes.get(name)) in values:
            return True
    tracer = _tracer_name(span)
    for tracer_prefix, span_prefix in _LLM_SPAN_NAMES:
        if tracer.startswith(tracer_prefix):
            return str(getattr(span, "name", "")).startswith(span_prefix)
    return False


def remember_started_span(span: Span) -> None:
    """Remember that `span` was started in this context.

    Runs for every span of the application, so it inspects none of them. Only when it holds too
    many does it drop all but the last few open ones.
    """
    started = _started_spans.get()
    if len(started) >= _MAX_STARTED_SPANS:
        started = tuple(reference for reference in started if _is_alive_and_recording(reference))
        started = started[-_MAX_OPEN_SPANS_KEPT:]
    _started_spans.set((*started, ref(span)))


class ForeignSpanClaims:
    """Foreign LLM spans that belong to a call already: each span is claimed by one call at most.

    `started_spans` are the spans of our tracer provider. No other span is claimed.
    """

    def __init__(self) -> None:
        self.started_spans = StartedSpans()
        self._claimed: WeakKeyDictionary[Span, object] = WeakKeyDictionary()

    def claim_span_of_call(
        self, current_span: Span, model: str | None, *, stream: bool = False
    ) -> Span | None:
        """Claim the foreign LLM span of a call to `model`; None if there is none to claim.

        That is `current_span`, or else a detached span: one that was started under `current_span`
        without being made current. A span of our own belongs to the call that runs around this one.
        """
        if (
            current_span.is_recording()
            and is_foreign_llm_span(current_span)
            and current_span in self.started_spans
            and _tracer_name(current_span) != semconv.SCOPE_NAME
            and not (stream and _is_logfire_span(current_span))
        ):
            return self._claim_if_unclaimed(current_span)
        if not _started_spans.get():
            return None
        detached = [
            span
            for span in _open_spans_started_under(current_span)
            if span not in self._claimed
            and is_foreign_llm_span(span)
            and span in self.started_spans
        ]
        # A detached span is claimed only if it is the single candidate.
        if len(detached) == 1 and _may_be_call_to_model(detached[0], model):
            return self._claim_if_unclaimed(detached[0])
        return None

    def _claim_if_unclaimed(self, span: Span) -> Span | None:
        token = object()
        return span if self._claimed.setdefault(span, token) is token else None


def _attributes_and_late_attributes(span: Span) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the attributes of `span`, and those that OpenInference sets only at the span's end."""
    return (
        getattr(span, "attributes", None) or {},
        getattr(span, "_self_important_attributes", None) or {},
    )


def _tracer_name(span: Span) -> str:
    return str(getattr(getattr(span, "instrumentation_scope", None), "name", ""))


def _is_alive_and_recording(reference: ref[Span]) -> bool:
    span = reference()
    return span is not None and span.is_recording()


def _open_spans_started_under(current_span: Span) -> Iterator[Span]:
    """Yield the open foreign spans that were started here, under `current_span`."""
    current = current_span.get_span_context()
    for reference in _started_spans.get():
        span = reference()
        if span is None or span is current_span or not span.is_recording():
            continue
        if _tracer_name(span) == semconv.SCOPE_NAME:
            continue
        parent: SpanContext | None = getattr(span, "parent", None)
        if (parent.span_id if parent is not None else 0) == current.span_id:
            yield span


def _is_logfire_span(span: Span) -> bool:
    """Return whether `span` is Logfire's, which ends before the first event of a stream."""
    return "logfire.span_type" in (getattr(span, "attributes", None) or {})


def _may_be_call_to_model(span: Span, model: str | None) -> bool:
    """Return whether `span` may be of a call to `model`.

    The span may name no model, or leave out the region and the version of Bedrock's models:
    `gpt-5` is not `gpt-5-mini`, but may be `us.gpt-5:0`.
    """
    attributes, late_attributes = _attributes_and_late_attributes(span)
    names = (attributes.get(name, late_attributes.get(name)) for name in _MODEL_ATTRIBUTES)
    named = next((str(name) for name in names if name), "")
    return f"{named}:" in f"{model or ''}:"
