"""Whose span a call is, and what is written on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final
from weakref import WeakKeyDictionary, ref

from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Span, SpanContext, StatusCode, get_current_span

from promptcache.model import Call
from promptcache.semconv import (
    GEN_AI_OPERATION_NAME,
    GEN_AI_REQUEST_MODEL,
    GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS,
    GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS,
    LEGACY_ATTRIBUTES,
    PROMPTCACHE_ATTRIBUTES,
    SHORTFALL_TOKENS,
    STANDARD_ATTRIBUTES,
    read_attributes,
    shortfall_tokens,
)
from promptcache.settings import Settings

TRACER_NAME: Final = "promptcache"
"""What our own tracer is called."""
_LLM_OPERATIONS: Final = frozenset({"chat", "generate_content", "text_completion"})
_LLM_SPAN_ATTRIBUTES: Final[Mapping[str, frozenset[str]]] = {
    GEN_AI_OPERATION_NAME: _LLM_OPERATIONS,
    "openinference.span.kind": frozenset({"LLM"}),
    "llm.request.type": frozenset({"chat", "completion"}),
    "langfuse.observation.type": frozenset({"generation"}),
}
"""What other instrumentations, and SDKs that trace themselves, write on an LLM span and on no other."""
_LLM_SPAN_NAMES: Final = (
    ("openinference.instrumentation.bedrock", "bedrock.invoke_model"),
    ("openlit.instrumentation.", "chat "),
)
"""How tracer and span are called where the marks come only once the call is over."""
_MODEL_ATTRIBUTES: Final = (
    GEN_AI_REQUEST_MODEL,
    "llm.model_name",
    "langfuse.observation.model.name",
)


def _span_attributes(span: Span) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The attributes of `span`, and those that OpenInference keeps to itself until the span ends."""
    return getattr(span, "attributes", None) or {}, getattr(
        span, "_self_important_attributes", None
    ) or {}


def _tracer_name(span: Span) -> str:
    return str(getattr(getattr(span, "instrumentation_scope", None), "name", ""))


def is_llm_span(span: Span) -> bool:
    """Whether another instrumentation, or the SDK itself, opened `span` for one LLM call."""
    given, later = _span_attributes(span)
    for name, values in _LLM_SPAN_ATTRIBUTES.items():
        if given.get(name, later.get(name)) in values:
            return True
    tracer = _tracer_name(span)
    for whose, name in _LLM_SPAN_NAMES:
        if tracer.startswith(whose):
            return str(getattr(span, "name", "")).startswith(name)
    return False


_started_spans: ContextVar[tuple[ref[Span], ...]] = ContextVar("promptcache-begun", default=())
_MAX_OPEN_SPANS_KEPT: Final = 8
_MAX_STARTED_SPANS: Final = 32


def remember_started_span(span: Span) -> None:
    """Remembers that `span` began in this context: runs for every span of the application, hence looks at none.

    Only when there are too many are the last few kept that are open.
    """
    kept = _started_spans.get()
    if len(kept) >= _MAX_STARTED_SPANS:
        kept = tuple(one for one in kept if (known := one()) is not None and known.is_recording())[
            -_MAX_OPEN_SPANS_KEPT:
        ]
    _started_spans.set((*kept, ref(span)))


def _detached_spans(current_span: Span) -> Iterator[Span]:
    """Others' open spans that began here under `current_span`, which is current: those that nobody made current in turn."""
    current = current_span.get_span_context()
    for kept in _started_spans.get():
        span = kept()
        if (
            span is not None
            and span is not current_span
            and span.is_recording()
            and _tracer_name(span) != TRACER_NAME
        ):
            parent: SpanContext | None = getattr(span, "parent", None)
            if (parent.span_id if parent is not None else 0) == current.span_id:
                yield span


def _ends_before_stream(span: Span) -> bool:
    """Whether whoever opened `span` ends it as soon as a stream begins, before anything is known of it."""
    return "logfire.span_type" in (getattr(span, "attributes", None) or {})


def should_instrument() -> bool:
    """Whether a call made now may be looked at: telemetry is not suppressed, or only inside somebody's LLM span.

    Logfire suppresses others there, lest there be a second span; we write on the one that it has.
    """
    return is_instrumentation_enabled() or is_llm_span(get_current_span())


class ForeignSpans:
    """Which foreign LLM spans already stand for a call: a second call inside one is not that span's."""

    def __init__(self) -> None:
        self._claimed: WeakKeyDictionary[Span, object] = WeakKeyDictionary()

    def claim(self, current_span: Span, model: str | None, *, stream: bool = False) -> Span | None:
        """Somebody's LLM span that is recording and free: the one `current_span` the call, or beside it."""
        if (
            current_span.is_recording()
            and is_llm_span(current_span)
            and not (stream and _ends_before_stream(current_span))
        ):
            return self._claim_once(current_span)
        if not _started_spans.get():
            return None
        beside = [
            span
            for span in _detached_spans(current_span)
            if span not in self._claimed and is_llm_span(span)
        ]
        # One that is current nowhere belongs to this call only where it can belong to no other.
        return (
            self._claim_once(beside[0])
            if len(beside) == 1 and _matches_model(beside[0], model)
            else None
        )

    def _claim_once(self, span: Span) -> Span | None:
        token = object()
        return span if self._claimed.setdefault(span, token) is token else None


def _matches_model(span: Span, model: str | None) -> bool:
    """Whether `span` may be of a call to `model`: it may name none, or leave out host and version (Bedrock's)."""
    given, later = _span_attributes(span)
    named = next(
        (str(said) for name in _MODEL_ATTRIBUTES if (said := given.get(name, later.get(name)))), ""
    )
    return f"{named}:" in f"{model or ''}:"  # `gpt-5` is not `gpt-5-mini`, but may be `us.gpt-5:0`


def set_call_attributes(
    span: Span, call: Call, settings: Settings, *, is_own_span: bool, already_set: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Writes what is known of `call`: all of it on our own span, on somebody's only what they lack and what is ours.

    Returns what it wrote, with what was written `already_set`; of that, only what has changed since is written again.
    """
    standard = {**read_attributes(STANDARD_ATTRIBUTES, call), **call.context_attributes}
    if settings.legacy_names:
        standard |= read_attributes(LEGACY_ATTRIBUTES, call)
    if not is_own_span:
        given: Mapping[str, Any] = getattr(span, "attributes", None) or {}
        present: Mapping[str, Any] = {
            name: value for name, value in given.items() if name not in already_set
        }
        if present.keys() & _CACHE_WRITE_ALIASES:
            present = {**present, **dict.fromkeys(_CACHE_WRITE_ALIASES)}
        standard = {name: value for name, value in standard.items() if name not in present}
    found = standard | read_attributes(PROMPTCACHE_ATTRIBUTES, call)
    short = shortfall_tokens(call, settings.target)
    if short is not None:
        found[SHORTFALL_TOKENS] = short
    if more := {name: value for name, value in found.items() if already_set.get(name) != value}:
        span.set_attributes(more)
    if is_own_span and call.error_type is not None:
        span.set_status(StatusCode.ERROR)
    return {**already_set, **found}


_CACHE_WRITE_ALIASES: Final = frozenset(
    {GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS, GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS}
)
"""Two names of one fact: where a foreign span has either, adding the other would count it twice."""
