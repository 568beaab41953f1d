"""How far prompts are shared with other calls, known only in hindsight."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from math import inf

from promptcache_exporters.replay.prefix_tree import ROOT
from promptcache_exporters.replay.traffic import Traffic


def find_reused_nodes(traffic: Traffic, seconds_of_kinds: list[float]) -> list[int]:
    """Return for each call the longest prefix that another call has within its TTL.

    The other call comes later, and could read it, or came earlier, and has written it.
    `seconds_of_kinds` has the TTL of each kind of call.
    """
    depths = traffic.tree.depths
    numbers = range(len(traffic))
    earlier = _find_shared_nodes(traffic, numbers, seconds_of_kinds)
    later = _find_shared_nodes(traffic, reversed(numbers), seconds_of_kinds)
    later.reverse()
    return [max(pair, key=depths.__getitem__) for pair in zip(earlier, later, strict=True)]


def _find_shared_nodes(
    traffic: Traffic, numbers: Iterable[int], seconds_of_kinds: list[float]
) -> list[int]:
    """Return the longest prefix that each call shares with one before it in `numbers`."""
    tree, last_used, found = traffic.tree, array("d", [inf]) * len(traffic.tree), list[int]()
    for number in numbers:
        at, seconds = traffic.started_at[number], seconds_of_kinds[traffic.kind[number]]
        shared = ROOT
        for node in tree.iterate_to_root(traffic.end_nodes[number]):
            if shared == ROOT and abs(last_used[node] - at) < seconds:
                shared = node
            last_used[node] = at
        found.append(shared)
    return found
