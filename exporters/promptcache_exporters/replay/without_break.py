"""Take a break out of recorded traffic: what if the block that changes had stayed the same.

A break is named by its reason (`volatile_token`), by its place (`system[0]`) or by the line of the
application that made the call (`app.py:41`). In each family that broke so, the block at the place
of the break counts as the same in all calls. The blocks behind it are told apart by their sections
and sizes alone, since their links cover the changed block too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from typing import Final, NamedTuple

from promptcache_exporters.replay.prefix_tree import ROOT, PrefixTree
from promptcache_exporters.replay.traffic import (
    CallNodes,
    RecordedMiss,
    Traffic,
    layer_at,
)

_UNCHANGED: Final = "~"
Places = frozenset[tuple[str, int]]
"""The sections of changed blocks, and their indexes there."""


class NamedBreak(NamedTuple):
    """A break of the record: where, why, in which line, and how many tokens it missed."""

    place: str
    reason: str
    call_site: str
    missed_tokens: int


def list_breaks(traffic: Traffic) -> list[NamedBreak]:
    """Return the breaks of the record, the one that missed most tokens first."""
    missed: defaultdict[int, int] = defaultdict(int)
    for miss, tokens in zip(traffic.miss, traffic.missed_tokens, strict=True):
        missed[miss] += tokens
    named = [(traffic.misses.values[miss], tokens) for miss, tokens in missed.items() if tokens]
    found = [
        NamedBreak(miss.place, miss.reason, miss.call_site, tokens)
        for miss, tokens in named
        if miss.place
    ]
    return sorted(found, key=lambda one: (-one.missed_tokens, one))


def remove_break(traffic: Traffic, name: str) -> Traffic:
    """Return the traffic as if the blocks of the named break had stayed the same.

    Raises ValueError if no call of the record has this break.
    """
    places: defaultdict[int, set[tuple[str, int]]] = defaultdict(set)
    named = {at for at, miss in enumerate(traffic.misses.values) if _is_named(miss, name)}
    for family, number in zip(traffic.family, traffic.miss, strict=True):
        if number in named:
            miss = traffic.misses.values[number]
            places[family].add((miss.section, miss.block_index))
    if not places:
        raise ValueError(f"no call of the record broke at, because of or in {name!r}")
    mender = _Mender(traffic, {family: frozenset(them) for family, them in places.items()})
    other = traffic.copy_without_nodes(mender.tree)
    for number in range(len(traffic)):
        other.add_nodes(traffic.kind[number], mender.mend(number))
    return other


def _is_named(miss: RecordedMiss, name: str) -> bool:
    site = miss.call_site
    is_named = name in (miss.reason, miss.place, site) or site.endswith(f"/{name}")
    return bool(miss.section) and is_named


class _Mender:
    """Finds the prefixes of calls in a tree that does not depend on the blocks at some places."""

    def __init__(self, traffic: Traffic, places_of_families: dict[int, Places]) -> None:
        self.tree: Final[PrefixTree] = traffic.tree.copy()
        self._traffic = traffic
        self._places = places_of_families
        self._mended: dict[tuple[Hashable, int], int] = {}
        """The cache, the depths of changed blocks, and a node -> its node without the changes."""
        self._known: dict[Hashable, int] = {}

    def mend(self, number: int) -> CallNodes:
        """Return the places of a call in the tree."""
        traffic, nodes = self._traffic, self._traffic.nodes_of(number)
        family = traffic.family[number]
        static_depth = traffic.tree.depths[nodes.static]
        starts = {"tools": 0, "system": nodes.tools_depth, "messages": static_depth}
        places = self._places.get(family, ())
        depths = frozenset([starts[section] + index + 1 for section, index in places])
        if not any(depth <= traffic.tree.depths[nodes.end] for depth in depths):
            return nodes
        cache = traffic.families.values[family][0]
        scope = (cache, depths, nodes.tools_depth, static_depth)

        def mend_node(node: int) -> int:
            return self._mend_node(node, scope)

        marks = [mend_node(node) for node in nodes.marks]
        return CallNodes(mend_node(nodes.end), mend_node(nodes.static), nodes.tools_depth, marks)

    def _mend_node(self, end: int, scope: tuple[Hashable, frozenset[int], int, int]) -> int:
        cache, changed, tools_depth, static_depth = scope
        tree, mended, path = self.tree, self._mended, list[int]()
        found = ROOT
        for node in tree.iterate_to_root(end):
            if tree.depths[node] < min(changed):
                found = node
                break
            if (scope, node) in mended:
                found = mended[scope, node]
                break
            path.append(node)
        for node in reversed(path):
            depth, size = tree.depths[node], tree.sizes[node]
            block = (
                _UNCHANGED
                if depth in changed
                else (layer_at(depth, tools_depth, static_depth), size)
            )
            key = (cache, found, block)
            if key not in self._known:
                self._known[key] = tree.add_block(found, tree.tokens[node], size)
            found = mended[scope, node] = self._known[key]
        return found
