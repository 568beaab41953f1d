"""Write a call's attributes on its span."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.trace import Span, StatusCode

from promptcache import semconv
from promptcache.model import Call
from promptcache.settings import Settings

_CACHE_WRITE_ALIASES: Final = frozenset(
    {
        semconv.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS,
        semconv.GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS,
    }
)
"""Two names of one fact. On a foreign span that has either, the other would count it twice."""
_NO_NAMES: Final[frozenset[str]] = frozenset()
_read_standard: Final = semconv.make_attribute_reader(semconv.STANDARD_ATTRIBUTES)
_read_legacy: Final = semconv.make_attribute_reader(semconv.LEGACY_ATTRIBUTES)
_read_promptcache: Final = semconv.make_attribute_reader(semconv.PROMPTCACHE_ATTRIBUTES)
_read_counts: Final = semconv.make_attribute_reader(semconv.COUNT_ATTRIBUTES)


def set_call_attributes(
    span: Span,
    call: Call,
    settings: Settings,
    *,
    is_own_span: bool,
    own_names: frozenset[str] = _NO_NAMES,
) -> None:
    """Set all attributes of `call` on `span`, and the status of a span of our own.

    Our own span gets every attribute. A foreign span gets the `promptcache.*` attributes, and of
    the standard ones those that it lacks. `own_names` are the attributes there that
    `set_count_attributes` has set.
    """
    attributes = _read_standard(call)
    attributes.update(call.context_attributes)
    if settings.legacy_names:
        attributes.update(_read_legacy(call))
    if not is_own_span:
        foreign = _foreign_names(span, own_names)
        attributes = {name: value for name, value in attributes.items() if name not in foreign}
    attributes.update(_read_promptcache(call))
    shortfall = semconv.shortfall_tokens(call, settings.target)
    if shortfall is not None:
        attributes[semconv.SHORTFALL_TOKENS] = shortfall
    span.set_attributes(attributes)
    if is_own_span and call.error_type is not None:
        span.set_status(StatusCode.ERROR)


def set_count_attributes(span: Span, call: Call, own_names: frozenset[str]) -> frozenset[str]:
    """Set the counts of a running `call` on a foreign `span`, and return the names of ours on it.

    `own_names` is what the last call of this function returned for the span.
    """
    counts = _read_counts(call)
    foreign = _foreign_names(span, own_names)
    counts = {name: value for name, value in counts.items() if name not in foreign}
    span.set_attributes(counts)
    return own_names | counts.keys()


def _foreign_names(span: Span, own_names: frozenset[str]) -> set[str]:
    """Return the names of the attributes on `span` that others have set."""
    present: Mapping[str, Any] = getattr(span, "attributes", None) or {}
    names = present.keys() - own_names
    return names | _CACHE_WRITE_ALIASES if names & _CACHE_WRITE_ALIASES else names
