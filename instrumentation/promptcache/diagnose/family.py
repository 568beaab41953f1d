"""From call to call of one family: which earlier call stands for it, and how often it broke at one place."""

from __future__ import annotations

from collections.abc import Sequence

from promptcache.diagnose.judge import LAPSED, Finding, Relative
from promptcache.memory import Trace


def closest(found: Sequence[Relative], finding: Finding | None) -> Relative | None:
    """The relative that explains the miss, else the one that shares most; another program's is none."""
    if finding is not None and finding.relative is not None:
        return finding.relative
    kin = [
        item
        for item in found
        if item.difference.kind != "branch" or item.difference.shared >= item.trace.static
    ]
    return max(
        kin,
        key=lambda item: (item.difference.kind != "branch", item.difference.shared),
        default=None,
    )


def count(trace: Trace, relative: Relative, place: tuple[str, int] | None) -> None:
    """How often in a row the family broke at one place; a call that broke nowhere hands the count on."""
    before = relative.trace
    if place is None and before.place != LAPSED:
        trace.place, trace.streak = before.place, before.streak
    elif place is not None:
        trace.place, trace.streak = place, before.streak + 1 if before.place == place else 1


def place(finding: Finding | None, relative: Relative) -> tuple[str, int] | None:
    """Where the call broke with its relative: section and index, or a name for what is no place in the prompt."""
    difference = relative.difference
    if finding is not None and finding.reason in ("ttl_expired", "low_volume"):
        return LAPSED
    # Reads that stay pinned while a conversation grows are no break: they hand the count on.
    if (
        finding is not None
        and finding.reason == "breakpoint_missing_on_static"
        and difference.kind != "extends"
    ):
        return "breakpoint", 0
    return (difference.section or "", difference.index or 0) if difference.kind == "break" else None
