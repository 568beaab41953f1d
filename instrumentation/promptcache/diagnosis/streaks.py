"""From call to call of one family: which earlier call stands for it, and how often it broke at one place."""

from __future__ import annotations

from collections.abc import Sequence

from promptcache.diagnosis.explain import EXPIRED, Explanation, RelatedCall
from promptcache.diagnosis.memory import PastCall


def best_related_call(
    found: Sequence[RelatedCall], finding: Explanation | None
) -> RelatedCall | None:
    """The relative that explains the miss, else the one that shares most; another program's is none."""
    if finding is not None and finding.related_call is not None:
        return finding.related_call
    kin = [
        item
        for item in found
        if item.difference.kind != "branch"
        or item.difference.shared_blocks >= item.past_call.static_depth
    ]
    return max(
        kin,
        key=lambda item: (item.difference.kind != "branch", item.difference.shared_blocks),
        default=None,
    )


def count_repeats(trace: PastCall, relative: RelatedCall, location: tuple[str, int] | None) -> None:
    """How often in a row the family broke at one place; a call that broke nowhere hands the count on."""
    before = relative.past_call
    if location is None and before.break_location != EXPIRED:
        trace.break_location, trace.break_count = before.break_location, before.break_count
    elif location is not None:
        trace.break_location, trace.break_count = (
            location,
            before.break_count + 1 if before.break_location == location else 1,
        )


def break_location(finding: Explanation | None, relative: RelatedCall) -> tuple[str, int] | None:
    """Where the call broke with its relative: section and index, or a name for what is no place in the prompt."""
    difference = relative.difference
    if finding is not None and finding.reason in ("ttl_expired", "low_volume"):
        return EXPIRED
    # Reads that stay pinned while a conversation grows are no break: they hand the count on.
    if (
        finding is not None
        and finding.reason == "breakpoint_missing_on_static"
        and difference.kind != "extends"
    ):
        return "breakpoint", 0
    return (difference.section or "", difference.index or 0) if difference.kind == "break" else None
