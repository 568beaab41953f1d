"""Whose span a call is, and what is written on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Span, StatusCode, get_current_span

from .attributes import (
    LEGACY,
    OPERATION,
    OWN,
    SHORTFALL_TOKENS,
    STANDARD,
    USAGE_WRITE,
    USAGE_WRITE_LEGACY,
    read,
    shortfall,
)
from .model import Call
from .settings import Settings

_LLM_OPERATIONS: Final = frozenset({"chat", "generate_content", "text_completion"})
_LLM_MARKS: Final[Mapping[str, frozenset[str]]] = {
    OPERATION: _LLM_OPERATIONS,
    "openinference.span.kind": frozenset({"LLM"}),
    "llm.request.type": frozenset({"chat", "completion"}),
    "langfuse.observation.type": frozenset({"generation"}),
}
"""What other instrumentations, and SDKs that trace themselves, write on an LLM span and on no other."""


def describes_llm_call(span: Span) -> bool:
    """Whether another instrumentation, or the SDK itself, opened `span` for one LLM call."""
    given: Mapping[str, Any] = getattr(span, "attributes", None) or {}
    # OpenInference keeps the kind to itself until the span ends, where it was not given when the span began.
    later: Mapping[str, Any] = getattr(span, "_self_important_attributes", None) or {}
    return any(given.get(name, later.get(name)) in values for name, values in _LLM_MARKS.items())


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

    def take(self, span: Span, *, stream: bool = False) -> bool:
        """Whether `span` is somebody's LLM span, recording and free; it then belongs to the caller."""
        if not span.is_recording() or not describes_llm_call(span) or (stream and _ends_early(span)):
            return False
        token = object()
        return self._taken.setdefault(span, token) is token


def publish(span: Span, call: Call, settings: Settings, *, own: bool, before: Mapping[str, Any]) -> Mapping[str, Any]:
    """Writes what is known of `call`: all of it on our own span, on somebody's only what they lack and what is ours.

    Returns what it wrote, with what was written `before`; of that, only what has changed since is written again.
    """
    standard = {**read(STANDARD, call), **call.ambient}
    if settings.legacy_names:
        standard |= read(LEGACY, call)
    if not own:
        given: Mapping[str, Any] = getattr(span, "attributes", None) or {}
        present: Mapping[str, Any] = {name: value for name, value in given.items() if name not in before}
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
