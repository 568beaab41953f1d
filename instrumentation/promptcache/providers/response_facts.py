"""Merge the facts of a stream's events into those of the response."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from promptcache.model import MAX_CHOICES, ResponseFacts

NO_FACTS: Final = ResponseFacts()
"""The facts before the first event."""


def merge_facts(earlier: ResponseFacts, later: ResponseFacts) -> ResponseFacts:
    """Return both combined.

    The later value wins unless it is None. Counters are cumulative, so a later counter replaces an
    earlier one of the same name. Finish reasons are concatenated. A flag is set if either has it.
    """
    if earlier is NO_FACTS:
        return later
    if later is NO_FACTS:
        return earlier
    values: dict[str, Any] = {}
    for name in ResponseFacts._fields:
        before, after = getattr(earlier, name), getattr(later, name)
        if name in _MERGE_FUNCTIONS:
            values[name] = _MERGE_FUNCTIONS[name](before, after)
        else:
            values[name] = before if after is None else after
    return ResponseFacts(**values)


def _merge_mappings(before: Mapping[str, Any], after: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**before, **after} if before and after else before or after


def _any_of(before: bool, after: bool) -> bool:
    return before or after


_MERGE_FUNCTIONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "finish_reasons": lambda before, after: (before + after)[:MAX_CHOICES],
    "usage_counters": _merge_mappings,
    "tool_uses": _merge_mappings,
    "has_content": _any_of,
    "is_terminal": _any_of,
    "is_batch": _any_of,
}
