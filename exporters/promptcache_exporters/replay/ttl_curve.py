"""Hit rate and cost over the TTL, in one pass over the gaps between uses of a prefix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from promptcache.model import TTL_SECONDS
from promptcache_exporters.replay.policy import Policy
from promptcache_exporters.replay.replay import place_marks
from promptcache_exporters.replay.traffic import ROOT, RecordedCall, TokenPrices, Traffic

CURVE_SECONDS: Final = (60, 120, 300, 600, 1200, 1800, 3600, 7200, 21_600, 43_200, 86_400)


class CurvePoint(NamedTuple):
    """The hit rate (0..1) and the cost in USD if every entry lived for so many seconds.

    `is_offered` says that a provider of the record sells this TTL. Other points are billed like the
    next longer TTL, or the longest one.
    """

    seconds: int
    hit_rate: float
    usd: float
    is_offered: bool


def compute_ttl_curve(traffic: Traffic, seconds: Sequence[int] = CURVE_SECONDS) -> list[CurvePoint]:
    """Return a point for each TTL of `seconds`, which ascend. Breakpoints are as recorded."""
    read, usd = [0] * len(seconds), [0.0] * len(seconds)
    last_used: dict[int, float] = {}
    offered: set[int] = set()
    for call, end in zip(traffic.calls, traffic.end_nodes, strict=True):
        tree = traffic.tree
        ends = [end]
        if call.rule.bills_writes:
            marks = place_marks(call, end, tree, Policy(), call.rule, call.prices)
            ends = [
                mark.node for mark in marks if tree.tokens[mark.node] >= call.rule.minimum_tokens
            ]
            offered |= {TTL_SECONDS[ttl] for ttl in call.prices.writes if ttl in TTL_SECONDS}
        reads = _read_tokens_by_ttl(traffic, call, ends, last_used, seconds)
        written_end = max((tree.tokens[node] for node in ends), default=0)
        for at, tokens in enumerate(reads):
            read[at] += tokens
            usd[at] += _usd_of_call(call, tokens, written_end, seconds[at])
        _remember_uses(traffic, call, ends, last_used)
    total = sum(call.input_tokens for call in traffic.calls) or 1
    return [
        CurvePoint(ttl, read[at] / total, usd[at], ttl in offered) for at, ttl in enumerate(seconds)
    ]


def _read_tokens_by_ttl(
    traffic: Traffic,
    call: RecordedCall,
    ends: Sequence[int],
    last_used: dict[int, float],
    seconds: Sequence[int],
) -> list[int]:
    """Return what the call reads under each TTL. A longer TTL never reads less."""
    tree, reads = traffic.tree, [0] * len(seconds)
    for end in ends:
        node = end
        first = len(seconds)  # the TTLs from here on have found a deeper entry
        while node != ROOT and first:
            used = last_used.get(node)
            if used is not None:
                gap = call.started_at - used
                while first and gap < seconds[first - 1]:
                    first -= 1
                    reads[first] = max(reads[first], _readable(call, tree.tokens[node]))
            node = tree.parents[node]
    return reads


def _readable(call: RecordedCall, tokens: int) -> int:
    if tokens < call.rule.minimum_tokens:
        return 0
    return tokens - tokens % max(1, call.rule.granularity)


def _remember_uses(
    traffic: Traffic, call: RecordedCall, ends: Sequence[int], last_used: dict[int, float]
) -> None:
    for end in ends:
        node = end
        while node != ROOT:
            last_used[node] = call.started_at
            if call.rule.bills_writes:  # an entry is at a breakpoint only
                break
            node = traffic.tree.parents[node]


def _usd_of_call(call: RecordedCall, read: int, written_end: int, seconds: int) -> float:
    prices = call.prices
    written = max(0, written_end - read) if call.rule.bills_writes else 0
    plain = call.input_tokens - read - written
    return (
        plain * prices.input
        + read * prices.read
        + written * _write_price(prices, seconds)
        + call.output_tokens * prices.output
    )


def _write_price(prices: TokenPrices, seconds: int) -> float:
    """Return the price of writes that live for at least so long, or of the longest ones."""
    known = sorted((TTL_SECONDS[ttl], price) for ttl, price in prices.writes.items())
    longer = [price for length, price in known if length >= seconds]
    return longer[0] if longer else known[-1][1] if known else prices.input
