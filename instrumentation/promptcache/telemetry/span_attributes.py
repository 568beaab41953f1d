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


def set_call_attributes(
    span: Span,
    call: Call,
    settings: Settings,
    *,
    is_own_span: bool,
    already_set: Mapping[str, Any],
) -> Mapping[str, Any]:
    """Set the attributes of `call` on `span`, and return all that were set up to now.

    Our own span gets every attribute. A foreign span gets the `promptcache.*` attributes, and of
    the standard ones those that it lacks. `already_set` is what earlier calls of this function
    returned for the span; an attribute that has not changed since is not set again.
    """
    standard = _standard_attributes(call, settings)
    if not is_own_span:
        foreign = _foreign_names(span, already_set)
        standard = {name: value for name, value in standard.items() if name not in foreign}
    attributes = standard | semconv.read_attributes(semconv.PROMPTCACHE_ATTRIBUTES, call)
    shortfall = semconv.shortfall_tokens(call, settings.target)
    if shortfall is not None:
        attributes[semconv.SHORTFALL_TOKENS] = shortfall
    changed = {name: value for name, value in attributes.items() if already_set.get(name) != value}
    if changed:
        span.set_attributes(changed)
    if is_own_span and call.error_type is not None:
        span.set_status(StatusCode.ERROR)
    return {**already_set, **attributes}


def _standard_attributes(call: Call, settings: Settings) -> dict[str, Any]:
    standard = semconv.read_attributes(semconv.STANDARD_ATTRIBUTES, call)
    if not settings.legacy_names:
        return {**standard, **call.context_attributes}
    legacy = semconv.read_attributes(semconv.LEGACY_ATTRIBUTES, call)
    return {**standard, **call.context_attributes, **legacy}


def _foreign_names(span: Span, already_set: Mapping[str, Any]) -> set[str]:
    """Return the names of the attributes on `span` that others have set."""
    present: Mapping[str, Any] = getattr(span, "attributes", None) or {}
    names = {name for name in present if name not in already_set}
    return names | _CACHE_WRITE_ALIASES if names & _CACHE_WRITE_ALIASES else names
