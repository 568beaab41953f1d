"""How far prompts are shared with other calls, known only in hindsight."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from promptcache_exporters.replay.traffic import ROOT, RecordedCall, Traffic


def find_reused_depths(traffic: Traffic, seconds_of: Callable[[RecordedCall], float]) -> list[int]:
    """Return for each call how many of its blocks another call has within its TTL.

    The other call comes later, and could read them, or came earlier, and has written them.
    `seconds_of` returns the TTL of a call.
    """
    pairs = list(zip(traffic.calls, traffic.end_nodes, strict=True))
    earlier = _find_shared_depths(traffic, pairs, seconds_of)
    later = _find_shared_depths(traffic, pairs[::-1], seconds_of)[::-1]
    return [max(pair) for pair in zip(earlier, later, strict=True)]


def _find_shared_depths(
    traffic: Traffic,
    pairs: Iterable[tuple[RecordedCall, int]],
    seconds_of: Callable[[RecordedCall], float],
) -> list[int]:
    """Return how many blocks each call shares with one before it in the order of `pairs`."""
    tree, last_used, depths = traffic.tree, dict[int, float](), list[int]()
    for call, end in pairs:
        seconds, node, depth = seconds_of(call), end, 0
        while node != ROOT:
            used = last_used.get(node)
            if not depth and used is not None and abs(used - call.started_at) < seconds:
                depth = tree.depths[node]
            last_used[node] = call.started_at
            node = tree.parents[node]
        depths.append(depth)
    return depths
