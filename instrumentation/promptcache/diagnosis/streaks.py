"""Follow a family of calls: which earlier call a call continues, and how often it broke at one
location."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from promptcache.diagnosis.evidence import RelatedCall
from promptcache.diagnosis.explanation import Explanation
from promptcache.diagnosis.memory import PastCall

EXPIRY_LOCATION: Final = ("ttl", 0)
"""Pseudo location of misses caused by expiry."""

_BREAKPOINT_LOCATION: Final = ("breakpoint", 0)
"""Pseudo location of misses caused by a missing breakpoint."""


def choose_continued_call(
    related_calls: Sequence[RelatedCall], explanation: Explanation | None
) -> RelatedCall | None:
    """Return the related call that explains the miss, else the one with the longest common prefix.

    A branch counts only if it shares the static prefix, because it is another program otherwise.
    """
    if explanation is not None and explanation.related_call is not None:
        return explanation.related_call
    if len(related_calls) == 1 and related_calls[0].difference.kind == "extends":
        return related_calls[0]
    candidates = [
        related
        for related in related_calls
        if related.difference.kind != "branch"
        or related.difference.shared_blocks >= related.past_call.static_depth
    ]
    return max(
        candidates,
        key=lambda related: (
            related.difference.kind != "branch",
            related.difference.shared_blocks,
        ),
        default=None,
    )


def update_break_count(
    call: PastCall, related: RelatedCall, location: tuple[str, int] | None
) -> None:
    """Count consecutive breaks at the same location; a call without a break keeps the count."""
    before = related.past_call
    if location is not None:
        is_repeat = before.break_location == location
        call.break_location = location
        call.break_count = before.break_count + 1 if is_repeat else 1
    elif before.break_location != EXPIRY_LOCATION:
        call.break_location, call.break_count = before.break_location, before.break_count


def find_break_location(
    explanation: Explanation | None, related: RelatedCall
) -> tuple[str, int] | None:
    """Return where the call broke: section and index, or a pseudo location; None without a
    break."""
    difference = related.difference
    if explanation is not None and explanation.reason in ("ttl_expired", "low_volume"):
        return EXPIRY_LOCATION
    # Reads that stay stuck while a conversation grows are no break, so they keep the count.
    if (
        explanation is not None
        and explanation.reason == "breakpoint_missing_on_static"
        and difference.kind != "extends"
    ):
        return _BREAKPOINT_LOCATION
    if difference.kind != "break":
        return None
    return difference.section or "", difference.index or 0
