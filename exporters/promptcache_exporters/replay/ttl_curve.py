"""Hit rate and cost over the TTL, in one pass over the gaps between uses of a prefix."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from math import inf
from typing import Final, NamedTuple

from promptcache.model import TTL_SECONDS
from promptcache.providers.cache_rules import CacheRule
from promptcache_exporters.replay.placed_marks import plan_kind
from promptcache_exporters.replay.policy import Policy
from promptcache_exporters.replay.traffic import CallKind, TokenPrices, Traffic

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
    gaps = _Gaps(traffic, seconds)
    read, usd = [0] * len(seconds), [0.0] * len(seconds)
    write_prices = [[_write_price(kind.prices, ttl) for ttl in seconds] for kind in traffic.kinds]
    for number, kind in enumerate(traffic.kind):
        reads, written_end = gaps.read_next_call(number)
        prices, write_price = traffic.kinds[kind].prices, write_prices[kind]
        tokens = traffic.input_tokens[number]
        output_usd = traffic.output_tokens[number] * prices.output
        for at, found in enumerate(reads):
            written = max(0, written_end - found)
            read[at] += found
            usd[at] += (tokens - found - written) * prices.input + found * prices.read
            usd[at] += written * write_price[at] + output_usd
    total = sum(traffic.input_tokens) or 1
    offered = {TTL_SECONDS[ttl] for ttl in list_offered_ttls(traffic.kinds)}
    return [
        CurvePoint(ttl, read[at] / total, usd[at], ttl in offered) for at, ttl in enumerate(seconds)
    ]


def list_offered_ttls(kinds: Iterable[CallKind]) -> list[str]:
    """Return the TTLs whose writes have a price where writes are billed, the shortest first."""
    found = {ttl for kind in kinds if kind.rule.bills_writes for ttl in kind.prices.writes}
    return sorted(found & TTL_SECONDS.keys(), key=TTL_SECONDS.__getitem__)


class _Gaps:
    """When each prefix was used last, call after call."""

    def __init__(self, traffic: Traffic, seconds: Sequence[int]) -> None:
        self._traffic, self._seconds = traffic, seconds
        self._plans = [plan_kind(kind, Policy()) for kind in traffic.kinds]
        self._last_used = array("d", [-inf]) * len(traffic.tree)

    def read_next_call(self, number: int) -> tuple[list[int], int]:
        """Return what the call reads under each TTL, and where its last billed write ends."""
        traffic, plan = self._traffic, self._plans[self._traffic.kind[number]]
        tokens, at = traffic.tree.tokens, traffic.started_at[number]
        if not plan.rule.bills_writes:
            end = traffic.end_nodes[number]
            reads = self._read_tokens_by_ttl([end], plan.rule, at)
            self._remember(traffic.tree.iterate_to_root(end), at)
            return reads, 0
        nodes = [
            node for node in plan.place(traffic, number) if tokens[node] >= plan.rule.minimum_tokens
        ]
        reads = self._read_tokens_by_ttl(nodes, plan.rule, at)
        self._remember(nodes, at)  # an entry is at a breakpoint only
        return reads, max((tokens[node] for node in nodes), default=0)

    def _remember(self, nodes: Iterable[int], at: float) -> None:
        for node in nodes:
            self._last_used[node] = at

    def _read_tokens_by_ttl(self, ends: Sequence[int], rule: CacheRule, at: float) -> list[int]:
        """Return what a call reads under each TTL. A longer TTL never reads less."""
        tree, seconds = self._traffic.tree, self._seconds
        reads = [0] * len(seconds)
        for end in ends:
            first = len(seconds)  # the TTLs from here on have found a deeper entry
            for node in tree.iterate_to_root(end):
                gap = at - self._last_used[node]
                while first and gap < seconds[first - 1]:
                    first -= 1
                    reads[first] = max(reads[first], _readable(rule, tree.tokens[node]))
                if not first:
                    break
        return reads


def _readable(rule: CacheRule, tokens: int) -> int:
    if tokens < rule.minimum_tokens:
        return 0
    return tokens - tokens % max(1, rule.granularity)


def _write_price(prices: TokenPrices, seconds: int) -> float:
    """Return the price of writes that live for at least so long, or of the longest ones."""
    known = sorted((TTL_SECONDS[ttl], price) for ttl, price in prices.writes.items())
    longer = [price for length, price in known if length >= seconds]
    return longer[0] if longer else known[-1][1] if known else prices.input
