"""Models of the two kinds of caches: those that bill writes, and those that cache everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Final, NamedTuple, Protocol, final

from promptcache.providers.cache_rules import CacheRule, requested_or_default_ttl_seconds
from promptcache_exporters.replay.traffic import ROOT, PrefixTree


class Mark(NamedTuple):
    """A breakpoint at a node of the tree. `ttl` is its name, `seconds` its length.

    It finds an entry at its own place, or up to `reach` - 1 blocks before it.
    """

    node: int
    ttl: str
    seconds: float
    reach: int


class CacheUse(NamedTuple):
    """What one call read and wrote, in tokens. Writes are by TTL."""

    read_tokens: int
    write_tokens: Mapping[str, int]


class CacheModel(Protocol):
    """A cache that serves one call after the other."""

    def use(self, end: int, marks: Sequence[Mark], at: float, visible_at: float) -> CacheUse:
        """Serve the prompt `end` that starts at `at`, and keep it from `visible_at` on."""
        ...

    def extend(self, end: int, until: float) -> None:
        """Keep the prefixes of `end` that are in the cache until then."""
        ...


@final
class MarkedPrefixCache:
    """A cache with entries at breakpoints only, whose writes are billed.

    A read keeps an entry for its TTL, counted from the start of the request.
    """

    def __init__(self, tree: PrefixTree, rule: CacheRule) -> None:
        self._tree, self._rule = tree, rule
        self._entries: Final[dict[int, tuple[float, float, float]]] = {}
        """Node -> (visible from, expires at, seconds of its TTL)."""

    def use(self, end: int, marks: Sequence[Mark], at: float, visible_at: float) -> CacheUse:
        tree, entries = self._tree, self._entries
        found = max(
            (self._find_entry(mark, at) for mark in marks),
            key=tree.depths.__getitem__,
            default=ROOT,
        )
        writes: dict[str, int] = {}
        position = tree.tokens[found]
        for mark in sorted(marks, key=lambda mark: tree.depths[mark.node]):
            tokens = tree.tokens[mark.node]
            if tokens < self._rule.minimum_tokens:
                continue
            entry = entries.get(mark.node)
            if entry is not None and entry[0] <= at < entry[1]:
                entries[mark.node] = (entry[0], at + entry[2], entry[2])
            elif tokens > position:
                writes[mark.ttl] = writes.get(mark.ttl, 0) + tokens - position
                position = tokens
                entries[mark.node] = (visible_at, at + mark.seconds, mark.seconds)
        if found != ROOT:
            seen, _, seconds = entries[found]
            entries[found] = (seen, at + seconds, seconds)
        return CacheUse(tree.tokens[found], writes)

    def extend(self, end: int, until: float) -> None:
        node = end
        while node != ROOT:
            if (entry := self._entries.get(node)) is not None:
                self._entries[node] = (entry[0], max(entry[1], until), entry[2])
            node = self._tree.parents[node]

    def _find_entry(self, mark: Mark, at: float) -> int:
        """Return the deepest entry that a breakpoint finds, or the root."""
        node = mark.node
        for _ in range(mark.reach):
            entry = self._entries.get(node)
            if entry is not None and entry[0] <= at < entry[1]:
                return node
            node = self._tree.parents[node]
            if node == ROOT:
                break
        return ROOT


@final
class AutomaticPrefixCache:
    """A cache that keeps each prefix that it has seen, without a price for writing."""

    def __init__(self, tree: PrefixTree, rule: CacheRule, *, seconds: float | None = None) -> None:
        self._tree, self._rule = tree, rule
        self._seconds = rule.ttl_seconds if seconds is None else seconds
        self._used: Final[dict[int, tuple[float, float]]] = {}
        """Node -> (visible from, expires at)."""

    def use(self, end: int, marks: Sequence[Mark], at: float, visible_at: float) -> CacheUse:
        tree, used = self._tree, self._used
        node, read = end, 0
        while node != ROOT:
            known = used.get(node)
            if not read and known is not None and known[0] <= at <= known[1]:
                read = self._round_down(tree.tokens[node])
            is_alive = known is not None and at <= known[1]
            seen = known[0] if known is not None and is_alive else visible_at
            used[node] = (seen, at + self._seconds)
            node = tree.parents[node]
        return CacheUse(read, {})

    def extend(self, end: int, until: float) -> None:
        node = end
        while node != ROOT:
            if (known := self._used.get(node)) is not None:
                self._used[node] = (known[0], max(known[1], until))
            node = self._tree.parents[node]

    def _round_down(self, tokens: int) -> int:
        if tokens < self._rule.minimum_tokens:
            return 0
        return tokens - tokens % self._rule.granularity


def make_unlimited_cache(tree: PrefixTree, rule: CacheRule) -> CacheModel:
    """Return a cache that forgets nothing, has no minimum and does not round."""
    free = rule._replace(minimum_tokens=0, granularity=1)
    return AutomaticPrefixCache(tree, free, seconds=inf)


def seconds_of_ttl(rule: CacheRule, ttl: str) -> float:
    """Return the length of a TTL."""
    return requested_or_default_ttl_seconds(rule, ttl)
