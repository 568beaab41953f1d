"""Whose span a call is, and what is written on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final
from weakref import WeakKeyDictionary, ref

from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Span, SpanContext, StatusCode, get_current_span

from promptcache.attributes import (
    LEGACY,
    OPERATION,
    OWN,
    REQUEST_MODEL,
    SHORTFALL_TOKENS,
    STANDARD,
    USAGE_WRITE,
    USAGE_WRITE_LEGACY,
    read,
    shortfall,
)
from promptcache.model import Call
from promptcache.settings import Settings

TRACER: Final = "promptcache"
"""What our own tracer is called."""
_LLM_OPERATIONS: Final = frozenset({"chat", "generate_content", "text_completion"})
_LLM_MARKS: Final[Mapping[str, frozenset[str]]] = {
    OPERATION: _LLM_OPERATIONS,
    "openinference.span.kind": frozenset({"LLM"}),
    "llm.request.type": frozenset({"chat", "completion"}),
    "langfuse.observation.type": frozenset({"generation"}),
}
"""What other instrumentations, and SDKs that trace themselves, write on an LLM span and on no other."""
_LLM_NAMES: Final = (
    ("openinference.instrumentation.bedrock", "bedrock.invoke_model"),
    ("openlit.instrumentation.", "chat "),
)
"""How tracer and span are called where the marks come only once the call is over."""
_MODELS: Final = (REQUEST_MODEL, "llm.model_name", "langfuse.observation.model.name")


def _told(span: Span) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The attributes of `span`, and those that OpenInference keeps to itself until the span ends."""
    return getattr(span, "attributes", None) or {}, getattr(
        span, "_self_important_attributes", None
    ) or {}


def _tracer(span: Span) -> str:
    return str(getattr(getattr(span, "instrumentation_scope", None), "name", ""))


def describes_llm_call(span: Span) -> bool:
    """Whether another instrumentation, or the SDK itself, opened `span` for one LLM call."""
    given, later = _told(span)
    for name, values in _LLM_MARKS.items():
        if given.get(name, later.get(name)) in values:
            return True
    tracer = _tracer(span)
    for whose, name in _LLM_NAMES:
        if tracer.startswith(whose):
            return str(getattr(span, "name", "")).startswith(name)
    return False


_begun: ContextVar[tuple[ref[Span], ...]] = ContextVar("promptcache-begun", default=())
_REMEMBERED: Final = 8
_LOOKED_THROUGH: Final = 32


def begun(span: Span) -> None:
    """Remembers that `span` began in this context: runs for every span of the application, hence looks at none.

    Only when there are too many are the last few kept that are open.
    """
    kept = _begun.get()
    if len(kept) >= _LOOKED_THROUGH:
        kept = tuple(one for one in kept if (known := one()) is not None and known.is_recording())[
            -_REMEMBERED:
        ]
    _begun.set((*kept, ref(span)))


def _beside(around: Span) -> Iterator[Span]:
    """Others' open spans that began here under `around`, which is current: those that nobody made current in turn."""
    current = around.get_span_context()
    for kept in _begun.get():
        span = kept()
        if (
            span is not None
            and span is not around
            and span.is_recording()
            and _tracer(span) != TRACER
        ):
            parent: SpanContext | None = getattr(span, "parent", None)
            if (parent.span_id if parent is not None else 0) == current.span_id:
                yield span


def _ends_early(span: Span) -> bool:
    """Whether whoever opened `span` ends it as soon as a stream begins, before anything is known of it."""
    return "logfire.span_type" in (getattr(span, "attributes", None) or {})


def welcome() -> bool:
    """Whether a call made now may be looked at: telemetry is not suppressed, or only inside somebody's LLM span.

    Logfire suppresses others there, lest there be a second span; we write on the one that it has.
    """
    return is_instrumentation_enabled() or describes_llm_call(get_current_span())


class Claims:
    """Which foreign LLM spans already stand for a call: a second call inside one is not that span's."""

    def __init__(self) -> None:
        self._taken: WeakKeyDictionary[Span, object] = WeakKeyDictionary()

    def take(self, around: Span, model: str | None, *, stream: bool = False) -> Span | None:
        """Somebody's LLM span that is recording and free: the one `around` the call, or beside it."""
        if (
            around.is_recording()
            and describes_llm_call(around)
            and not (stream and _ends_early(around))
        ):
            return self._free(around)
        if not _begun.get():
            return None
        beside = [
            span for span in _beside(around) if span not in self._taken and describes_llm_call(span)
        ]
        # One that is current nowhere belongs to this call only where it can belong to no other.
        return self._free(beside[0]) if len(beside) == 1 and _fits(beside[0], model) else None

    def _free(self, span: Span) -> Span | None:
        token = object()
        return span if self._taken.setdefault(span, token) is token else None


def _fits(span: Span, model: str | None) -> bool:
    """Whether `span` may be of a call to `model`: it may name none, or leave out host and version (Bedrock's)."""
    given, later = _told(span)
    named = next((str(said) for name in _MODELS if (said := given.get(name, later.get(name)))), "")
    return f"{named}:" in f"{model or ''}:"  # `gpt-5` is not `gpt-5-mini`, but may be `us.gpt-5:0`


def publish(
    span: Span, call: Call, settings: Settings, *, own: bool, before: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Writes what is known of `call`: all of it on our own span, on somebody's only what they lack and what is ours.

    Returns what it wrote, with what was written `before`; of that, only what has changed since is written again.
    """
    standard = {**read(STANDARD, call), **call.ambient}
    if settings.legacy_names:
        standard |= read(LEGACY, call)
    if not own:
        given: Mapping[str, Any] = getattr(span, "attributes", None) or {}
        present: Mapping[str, Any] = {
            name: value for name, value in given.items() if name not in before
        }
        if present.keys() & _WRITTEN:
            present = {**present, **dict.fromkeys(_WRITTEN)}
        standard = {name: value for name, value in standard.items() if name not in present}
    found = standard | read(OWN, call)
    short = shortfall(call, settings.target)
    if short is not None:
        found[SHORTFALL_TOKENS] = short
    if more := {name: value for name, value in found.items() if before.get(name) != value}:
        span.set_attributes(more)
    if own and call.error is not None:
        span.set_status(StatusCode.ERROR)
    return {**before, **found}


_WRITTEN: Final = frozenset({USAGE_WRITE, USAGE_WRITE_LEGACY})
"""Two names of one fact: where a foreign span has either, adding the other would count it twice."""
