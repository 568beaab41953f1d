"""Models of the two kinds of caches: those that bill writes, and those that cache everything.

A node of the tree belongs to one cache of the record, so one model serves all of them. Its state is
in columns with one entry a node.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from math import inf
from typing import Final, NamedTuple, final

from promptcache_exporters.replay.early_eviction import Return
from promptcache_exporters.replay.prefix_tree import ROOT, PrefixTree


class Mark(NamedTuple):
    """A breakpoint of a policy: the name, length and price of a written token of its TTL.

    It finds an entry at its own place, or up to `reach` - 1 blocks before it.
    """

    ttl: str
    seconds: float
    reach: int
    price: float


CacheUse = tuple[int, int, float]
"""What one call read and wrote, in tokens, and the cost of its writes in USD."""
NO_USE: Final[CacheUse] = (0, 0, 0.0)


@final
class MarkedPrefixCache:
    """A cache with entries at breakpoints only, whose writes are billed.

    A read keeps an entry for its TTL, counted from the start of the request.
    """

    def __init__(self, tree: PrefixTree) -> None:
        self._tree = tree
        self._visible_at = array("d", [inf]) * len(tree)
        self._expires_at = array("d", [0.0]) * len(tree)
        self._seconds = array("d", [0.0]) * len(tree)
        self._found = ROOT

    def use(
        self,
        nodes: Sequence[int],
        marks: Sequence[Mark],
        minimum_tokens: int,
        at: float,
        visible_at: float,
    ) -> CacheUse:
        """Serve a prompt with `marks` at `nodes`. Keep it from `visible_at` on."""
        visible, expires, seconds = self._visible_at, self._expires_at, self._seconds
        tokens = self._tree.tokens
        found = self._found = self._find_entry(nodes, marks, at)
        read = position = tokens[found]
        usd = 0.0
        for node, mark in zip(nodes, marks, strict=True):
            end = tokens[node]
            if end < minimum_tokens:
                continue
            if visible[node] <= at < expires[node]:
                expires[node] = at + seconds[node]
            elif end > position:
                usd += (end - position) * mark.price
                position = end
                visible[node], expires[node] = visible_at, at + mark.seconds
                seconds[node] = mark.seconds
        if found != ROOT:
            expires[found] = at + seconds[found]
        return read, position - read, usd

    def observe_return(
        self, nodes: Sequence[int], marks: Sequence[Mark], at: float, read_tokens: int, step: int
    ) -> Iterator[Return]:
        """Evict what the record did not read although it should have, before `use`.

        Yield each entry that was looked for.
        """
        while (found := self._find_entry(nodes, marks, at)) != ROOT:
            has_found = self._tree.tokens[found] <= read_tokens + step
            yield Return(1 - (self._expires_at[found] - at) / self._seconds[found], has_found)
            if has_found:
                break
            self._expires_at[found] = at

    def shorten_lifetimes(
        self, nodes: Sequence[int], at: float, lifetimes: Sequence[float]
    ) -> None:
        """After `use`, let the entries that it renewed live for these shares of their TTLs."""
        for node, share in zip((*nodes, self._found), lifetimes, strict=True):
            if self._expires_at[node] == at + self._seconds[node]:
                self._expires_at[node] = at + share * self._seconds[node]

    def extend(self, nodes: Sequence[int], at: float, first: float, later: float) -> None:
        """Read the entries at `nodes` again `first` after `at`, and at last `later` than it."""
        for node in nodes:
            if at + first < self._expires_at[node]:
                until = at + later + self._seconds[node]
                self._expires_at[node] = max(self._expires_at[node], until)

    def _find_entry(self, nodes: Sequence[int], marks: Sequence[Mark], at: float) -> int:
        """Return the deepest entry that a breakpoint finds, or the root."""
        visible, expires = self._visible_at, self._expires_at
        parents, depths = self._tree.parents, self._tree.depths
        found = ROOT
        for place in range(len(nodes) - 1, -1, -1):
            node = nodes[place]
            if depths[node] <= depths[found]:
                break
            for _ in range(marks[place].reach):
                if visible[node] <= at < expires[node]:
                    if depths[node] > depths[found]:
                        found = node
                    break
                node = parents[node]
                if node == ROOT:
                    break
        return found


@final
class AutomaticPrefixCache:
    """A cache that keeps each prefix that it has seen, without a price for writing."""

    def __init__(self, tree: PrefixTree) -> None:
        self._tree = tree
        self._visible_at = array("d", [inf]) * len(tree)
        self._expires_at = array("d", [-inf]) * len(tree)

    def use(self, end: int, seconds: float, at: float, visible_at: float) -> int:
        """Serve the prompt `end`, keep it for `seconds`, and return the longest known prefix."""
        visible, expires, parents = self._visible_at, self._expires_at, self._tree.parents
        node, found = end, ROOT
        while node != ROOT:
            if at > expires[node]:
                visible[node] = visible_at
            elif found == ROOT and visible[node] <= at:
                found = node
            expires[node] = at + seconds
            node = parents[node]
        return found

    def extend(self, end: int, until: float) -> None:
        """Keep the prefixes of `end` until then."""
        expires = self._expires_at
        for node in self._tree.iterate_to_root(end):
            if expires[node] < until:
                expires[node] = until


@final
class UnlimitedCache:
    """A cache that forgets nothing and has no minimum."""

    def __init__(self, tree: PrefixTree) -> None:
        self._tree = tree
        self._visible_at = array("d", [inf]) * len(tree)

    def use(self, end: int, at: float, visible_at: float) -> int:
        """Serve the prompt `end`, and return its longest known prefix."""
        visible = self._visible_at
        for node in self._tree.iterate_to_root(end):
            if visible[node] <= at:
                return node
            if visible[node] == inf:
                visible[node] = visible_at
        return ROOT
