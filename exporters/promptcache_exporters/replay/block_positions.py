"""Find where the blocks of prompts end, in tokens."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from math import inf
from typing import Final, NamedTuple, final

from promptcache.providers.cache_rules import CacheRule, requested_or_default_ttl_seconds
from promptcache_exporters.replay.prefix_tree import ROOT, PrefixTree

_MAX_READ_ERROR: Final = 0.2
"""How far a place estimated by size may be from a read that ended there, as a share of the read."""
_NOT_KNOWN: Final = -1


class PlacedCall(NamedTuple):
    """A call whose usage tells where blocks end.

    `end` is the node of its prompt. `mark_nodes` and `mark_ttls` are its breakpoints by depth.
    `write_tokens` are by TTL.
    """

    started_at: float
    visible_at: float
    rule: CacheRule
    end: int
    mark_nodes: Sequence[int]
    mark_ttls: Sequence[str]
    input_tokens: int
    read_tokens: int
    write_tokens: Mapping[str, int]


@final
class BlockPositions:
    """Where blocks end, in tokens.

    A call ends at its input tokens. Its writes end at its last breakpoint, and those of the longest
    TTL at the last breakpoint that asks for it. A read ends where an earlier call had a breakpoint.
    A breakpoint that a call in time did not read is below the cache's minimum, if it is near it.
    """

    def __init__(self, tree: PrefixTree) -> None:
        self._tree = tree
        self._known_ends = array("i", [_NOT_KNOWN]) * len(tree)
        self._visible_at = array("d", [inf]) * len(tree)
        self._expires_at = array("d", [0.0]) * len(tree)
        self._is_unread = bytearray(len(tree))
        self._is_placed = bytearray(len(tree))

    def learn(self, call: PlacedCall) -> None:
        """Remember what the usage of a call says. Calls come in the order of their starts."""
        self._set_end(call.end, call.input_tokens)
        written = sum(call.write_tokens.values())
        if call.mark_nodes and written:
            self._set_end(call.mark_nodes[-1], call.read_tokens + written)
            self._learn_from_longest_ttl(call)
        if call.rule.bills_writes:
            self._learn_from_read(call)
        for node, ttl in zip(call.mark_nodes, call.mark_ttls, strict=True):
            seconds = requested_or_default_ttl_seconds(call.rule, ttl)
            self._visible_at[node] = call.visible_at
            self._expires_at[node] = call.started_at + seconds

    def _set_end(self, node: int, tokens: int) -> None:
        if self._known_ends[node] == _NOT_KNOWN:
            self._known_ends[node] = tokens

    def _learn_from_longest_ttl(self, call: PlacedCall) -> None:
        ttl = call.mark_ttls[0]
        if ttl in call.write_tokens:
            pairs = zip(call.mark_nodes, call.mark_ttls, strict=True)
            last = [node for node, other in pairs if other == ttl][-1]
            self._set_end(last, call.read_tokens + call.write_tokens[ttl])

    def _learn_from_read(self, call: PlacedCall) -> None:
        if not call.read_tokens:
            for node in self._tree.iterate_to_root(call.end):
                if self._visible_at[node] <= call.started_at < self._expires_at[node]:
                    self._is_unread[node] = True
        elif not self._has_end_at(call.end, call.read_tokens):
            self._learn_from_nearest(call)

    def _has_end_at(self, end: int, tokens: int) -> bool:
        """Return whether a breakpoint is known to be exactly there."""
        for node in self._tree.iterate_to_root(end):
            known = self._known_ends[node]
            if known == tokens and self._visible_at[node] != inf:
                return True
            if _NOT_KNOWN < known < tokens:
                return False
        return False

    def _learn_from_nearest(self, call: PlacedCall) -> None:
        nodes = list(self._tree.iterate_to_root(call.end))[::-1]
        ends = self._locate_ends(nodes, ROOT, call.rule)
        places = [
            (abs(end - call.read_tokens), node)
            for node, end in zip(nodes, ends, strict=True)
            if self._visible_at[node] != inf
        ]
        if places:
            distance, node = min(places, key=lambda place: place[0])
            if distance <= _MAX_READ_ERROR * call.read_tokens:
                self._set_end(node, call.read_tokens)

    def place_blocks(self, end: int, rule: CacheRule) -> None:
        """Give the tree the tokens of the prefixes of `end` that it does not have yet."""
        tree, path = self._tree, list[int]()
        for start in tree.iterate_to_root(end):
            if self._is_placed[start] and self._known_ends[start] != _NOT_KNOWN:
                break
            path.append(start)
        else:
            start = ROOT
        path.reverse()
        for node, tokens in zip(path, self._locate_ends(path, start, rule), strict=True):
            if not self._is_placed[node]:
                self._is_placed[node] = True
                tree.tokens[node] = tokens

    def _locate_ends(self, nodes: Sequence[int], start_node: int, rule: CacheRule) -> list[int]:
        """Return the ends of blocks behind a placed one: known, or shared by size between them."""
        ends, start, waiting = list[int](), self._tree.tokens[start_node], list[int]()
        for node in nodes:
            waiting.append(self._tree.sizes[node])
            known = self._known_ends[node]
            if known != _NOT_KNOWN:
                end = max(start, known)
                ends += _share(start, end, waiting)
                start, waiting = end, []
        self._lower_unread_ends(nodes, ends, rule.minimum_tokens)
        return ends

    def _lower_unread_ends(self, nodes: Sequence[int], ends: list[int], least: int) -> None:
        """Put estimated ends of what nobody could read below the minimum of the cache."""
        for at, node in enumerate(nodes):
            is_near = least <= ends[at] <= (1 + _MAX_READ_ERROR) * least
            if is_near and self._is_unread[node] and self._known_ends[node] == _NOT_KNOWN:
                ends[: at + 1] = [min(end, least - 1) for end in ends[: at + 1]]


def _share(start: int, end: int, sizes: Sequence[int]) -> list[int]:
    """Return the ends of blocks between two token positions, in proportion to their sizes."""
    total, position, ends = sum(sizes), 0, list[int]()
    for size in sizes:
        position += size
        ends.append(start + round((end - start) * position / total))
    return ends
