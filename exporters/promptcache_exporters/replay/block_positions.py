"""Find where the blocks of prompts end, in tokens."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import inf
from typing import Final

from promptcache.providers.cache_rules import requested_or_default_ttl_seconds
from promptcache_exporters.replay.traffic import RecordedCall

_MAX_READ_ERROR: Final = 0.2
"""How far a place estimated by size may be from a read that ended there, as a share of the read."""


class BlockPositions:
    """Where blocks end, in tokens.

    A call ends at its input tokens. Its writes end at its last breakpoint, and those of the longest
    TTL at the last breakpoint that asks for it. A read ends where an earlier call had a breakpoint.
    A breakpoint that a call in time did not read is below the cache's minimum, if it is near it.
    """

    def __init__(self) -> None:
        self._known_ends: dict[Hashable, int] = {}
        self._marked: dict[Hashable, tuple[float, float]] = {}
        """Key of a breakpoint -> when its entry is visible, and when it expires."""
        self._unread: set[Hashable] = set()

    def learn(self, call: RecordedCall, sizes: Sequence[int]) -> None:
        """Remember what the usage of a call says. Calls come in the order of their starts."""
        keys = [(call.cache, link) for link in call.links]
        self._known_ends.setdefault(keys[-1], call.input_tokens)
        written = sum(call.write_tokens.values())
        if call.breakpoints and written:
            last = keys[call.breakpoints[-1].depth - 1]
            self._known_ends.setdefault(last, call.read_tokens + written)
            ttl = call.breakpoints[0].ttl
            depth = max(mark.depth for mark in call.breakpoints if mark.ttl == ttl)
            if ttl in call.write_tokens:
                end = call.read_tokens + call.write_tokens[ttl]
                self._known_ends.setdefault(keys[depth - 1], end)
        if call.read_tokens and call.rule.bills_writes:
            self._learn_from_read(call, keys, sizes)
        elif call.rule.bills_writes:
            self._unread.update(key for key in keys if self._is_alive(key, call.started_at))
        for mark in call.breakpoints:
            seconds = requested_or_default_ttl_seconds(call.rule, mark.ttl)
            self._marked[keys[mark.depth - 1]] = (call.visible_at, call.started_at + seconds)

    def _is_alive(self, key: Hashable, at: float) -> bool:
        visible_at, expires_at = self._marked.get(key, (inf, 0.0))
        return visible_at <= at < expires_at

    def _learn_from_read(
        self, call: RecordedCall, keys: Sequence[Hashable], sizes: Sequence[int]
    ) -> None:
        ends = self.locate_ends(call, sizes)
        places = [
            (abs(end - call.read_tokens), key)
            for key, end in zip(keys, ends, strict=True)
            if key in self._marked
        ]
        if places:
            distance, key = min(places, key=lambda place: place[0])
            if distance <= _MAX_READ_ERROR * call.read_tokens:
                self._known_ends.setdefault(key, call.read_tokens)

    def locate_ends(self, call: RecordedCall, sizes: Sequence[int]) -> tuple[int, ...]:
        """Return the end of each block in tokens: known, or shared by size between known ends."""
        ends: list[int] = []
        start, waiting = 0, list[int]()
        for link, size in zip(call.links, sizes, strict=True):
            waiting.append(size)
            known = self._known_ends.get((call.cache, link))
            if known is not None:
                ends += _share(start, max(start, known), waiting)
                start, waiting = max(start, known), []
        self._lower_unread_ends(call, ends)
        return tuple(ends)

    def _lower_unread_ends(self, call: RecordedCall, ends: list[int]) -> None:
        """Put estimated ends of what nobody could read below the minimum of the cache."""
        least = call.rule.minimum_tokens
        for at, link in enumerate(call.links):
            key = (call.cache, link)
            is_near = least <= ends[at] <= (1 + _MAX_READ_ERROR) * least
            if is_near and key in self._unread and key not in self._known_ends:
                ends[: at + 1] = [min(end, least - 1) for end in ends[: at + 1]]


def _share(start: int, end: int, sizes: Sequence[int]) -> list[int]:
    """Return the ends of blocks between two token positions, in proportion to their sizes."""
    total, position, ends = sum(sizes), 0, list[int]()
    for size in sizes:
        position += size
        ends.append(start + round((end - start) * position / total))
    return ends
