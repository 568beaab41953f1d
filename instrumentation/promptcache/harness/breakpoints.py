"""Choose the breakpoints of a request: where they are needed, how many, and with which TTL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple, final

from promptcache.harness.caching_style import CachingStyle
from promptcache.harness.names import TTL, Layer
from promptcache.harness.prompt_error import PromptError
from promptcache.model import TTL_SECONDS

Place = Literal["static", "shared", "previous", "latest"]
"""Where a breakpoint of ours stands: at the end of the static or the shared layer, of the previous
turn, or of the latest turn."""

LAYER_OF_PLACE: Final[dict[Place, Layer]] = {
    "static": "static",
    "shared": "shared",
    "previous": "history",
    "latest": "history",
}
_DROPPED_FIRST: Final[tuple[Place, ...]] = ("shared", "static", "previous", "latest")
"""The order in which breakpoints are given up for those of the caller: what a later one of the
same request can replace goes first."""


@final
class Candidate(NamedTuple):
    """A place at which a breakpoint may stand. `tokens` estimates the prefix that ends there."""

    place: Place
    tokens: int


@final
class Breakpoint(NamedTuple):
    """A breakpoint with its position in the request: section, item and part, as numbers.

    `place` is None for a breakpoint that the caller set.
    """

    position: tuple[int, ...]
    ttl: TTL
    place: Place | None = None


def choose_places(
    candidates: Iterable[Candidate], style: CachingStyle, free_slots: int
) -> tuple[tuple[Place, ...], tuple[str, ...]]:
    """Return the places that get a breakpoint, and a note for each that gets none."""
    notes: list[str] = []
    chosen: list[Place] = []
    for place, tokens in candidates:
        if tokens < style.minimum_tokens:
            notes.append(
                f"no breakpoint at the end of {place}: at most {tokens} tokens, and the model "
                f"caches from {style.minimum_tokens} ({style.source})"
            )
        else:
            chosen.append(place)
    for place in _DROPPED_FIRST:
        if len(chosen) <= max(0, free_slots):
            break
        if place in chosen:
            chosen.remove(place)
            notes.append(f"no breakpoint at the end of {place}: your own use the free ones")
    return tuple(chosen), tuple(notes)


def order_ttls(breakpoints: Sequence[Breakpoint]) -> dict[Place, TTL]:
    """Return the TTLs of our breakpoints such that none is longer than one before it.

    Anthropic refuses a longer TTL after a shorter one. The caller's TTLs stay: ours become as long
    as the longest that follows, and at most as long as the caller's before them.
    """
    if len({one.ttl for one in breakpoints}) < 2:  # nearly always
        return {one.place: one.ttl for one in breakpoints if one.place is not None}
    ordered = sorted(breakpoints, key=lambda one: one.position)
    ttls: list[TTL] = [one.ttl for one in ordered]
    longest = ttls[-1]
    for index in reversed(range(len(ordered))):
        if ordered[index].place is not None:
            ttls[index] = _longer(ttls[index], longest)
        longest = _longer(ttls[index], longest)
    settled: dict[Place, TTL] = {}
    shortest: TTL = "12h"
    for one, ttl in zip(ordered, ttls, strict=True):
        if one.place is None:
            shortest = _shorter(shortest, one.ttl)
        else:
            settled[one.place] = _shorter(ttl, shortest)
    return settled


def _longer(one: TTL, other: TTL) -> TTL:
    return one if TTL_SECONDS[one] >= TTL_SECONDS[other] else other


def _shorter(one: TTL, other: TTL) -> TTL:
    return one if TTL_SECONDS[one] <= TTL_SECONDS[other] else other


def check_own_breakpoints(own: Sequence[Breakpoint], style: CachingStyle) -> None:
    """Raise PromptError if the provider would refuse the caller's own breakpoints."""
    if len(own) > style.max_breakpoints:
        problem = f"{len(own)} of your own, and a request takes {style.max_breakpoints}"
        raise PromptError("breakpoints", problem)
    for one in own:
        if one.ttl not in style.ttls:
            problem = f"of your own: {one.ttl}, and the model offers {', '.join(style.ttls)}"
            raise PromptError("breakpoints", problem)
    if style.breakpoints == "looked_back" and not _has_ordered_ttls(own):
        raise PromptError("breakpoints", "of your own: a longer TTL stands after a shorter one")


def _has_ordered_ttls(breakpoints: Sequence[Breakpoint]) -> bool:
    seconds = [TTL_SECONDS[one.ttl] for one in sorted(breakpoints, key=lambda one: one.position)]
    return seconds == sorted(seconds, reverse=True)
