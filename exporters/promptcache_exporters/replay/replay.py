"""Replay traffic under a policy, and add up tokens and money."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, final

from promptcache.providers.cache_rules import CacheRule
from promptcache_exporters.replay.cache_model import (
    AutomaticPrefixCache,
    CacheModel,
    CacheUse,
    Mark,
    MarkedPrefixCache,
    make_unlimited_cache,
    seconds_of_ttl,
)
from promptcache_exporters.replay.policy import Policy
from promptcache_exporters.replay.reuse import find_reused_depths
from promptcache_exporters.replay.traffic import (
    Breakpoint,
    PrefixTree,
    RecordedCall,
    TokenPrices,
    Traffic,
)
from promptcache_exporters.replay.without_break import remove_break

Progress = Callable[[int, int], None]
"""Called with the number of calls that are done, and of all calls."""
_PROGRESS_STEP: Final = 10_000


class PolicyError(ValueError):
    """No provider would accept the requests of this policy."""


@final
@dataclass
class Outcome:
    """What the calls would have used and cost under `policy`.

    `usd_by_conversation` has the cost of each conversation, pings included. `exact_calls` counts
    the calls whose read tokens are within one step of the recorded ones.
    """

    policy: Policy
    calls: int = 0
    input_tokens: int = 0
    read_tokens: int = 0
    exact_calls: int = 0
    pings: int = 0
    usd: float = 0.0
    usd_by_conversation: dict[Hashable, float] = field(default_factory=dict[Hashable, float])

    @property
    def hit_rate(self) -> float:
        """The share of the input tokens that were read from the cache, in 0..1."""
        return self.read_tokens / self.input_tokens if self.input_tokens else 0.0

    @property
    def usd_range(self) -> tuple[float, float]:
        """The cost with the fewest and with the most tokens that the target may count."""
        low, high = self.policy.target.token_range if self.policy.target else (1.0, 1.0)
        return self.usd * low, self.usd * high

    @property
    def exact_share(self) -> float:
        """The share of the calls that read what was recorded, in 0..1."""
        return self.exact_calls / self.calls if self.calls else 1.0


def replay(traffic: Traffic, policy: Policy, on_progress: Progress | None = None) -> Outcome:
    """Return what `traffic` would have cost under `policy`.

    Raises PolicyError for requests that a provider would refuse, and for a break that the record
    does not have.
    """
    if policy.without:
        try:
            traffic = remove_break(traffic, policy.without)
        except ValueError as error:
            raise PolicyError(str(error)) from None
    if policy.marks == "reused":
        traffic = _mark_what_is_reused(traffic, policy)
    run = _Replay(traffic, policy)
    total = len(traffic.calls)
    for number, (call, end) in enumerate(zip(traffic.calls, traffic.end_nodes, strict=True)):
        run.play(call, end)
        if on_progress is not None and number % _PROGRESS_STEP == 0:
            on_progress(number, total)
    run.end_pings()
    return run.outcome


@dataclass(slots=True)
class _LastUse:
    """The last call of a conversation, whose prefix pings keep warm."""

    call: RecordedCall
    end: int
    prices: TokenPrices
    cache: CacheModel
    rule: CacheRule


class _Replay:
    """One run. It keeps a cache for each cache of the record."""

    def __init__(self, traffic: Traffic, policy: Policy) -> None:
        self.outcome = Outcome(policy)
        self._traffic, self._policy, self._tree = traffic, policy, traffic.tree
        self._caches: dict[Hashable, CacheModel] = {}
        self._last_uses: dict[Hashable, _LastUse] = {}

    def play(self, call: RecordedCall, end: int) -> None:
        """Serve one call, and count what it costs."""
        policy, target = self._policy, self._policy.target
        rule, prices = (target.rule, target.prices) if target else (call.rule, call.prices)
        factor = target.token_factor if target else 1.0
        cache = self._cache_of(call, rule)
        if policy.pings is not None:
            self._ping_until(call.conversation, call.started_at)
            self._last_uses[call.conversation] = _LastUse(call, end, prices, cache, rule)
        use = CacheUse(0, {})
        if policy.caching != "off":
            marks = place_marks(call, end, self._tree, policy, rule, prices)
            use = cache.use(end, marks, call.started_at, call.visible_at)
        self._count(call, use, prices, factor)

    def end_pings(self) -> None:
        """Count the pings after the last call of each conversation, up to the end of the window."""
        if self._traffic.calls:
            window_end = self._traffic.calls[-1].started_at
            for conversation in list(self._last_uses):
                self._ping_until(conversation, window_end)

    def _cache_of(self, call: RecordedCall, rule: CacheRule) -> CacheModel:
        cache = self._caches.get(call.cache)
        if cache is None:
            make: Callable[[PrefixTree, CacheRule], CacheModel] = AutomaticPrefixCache
            if self._policy.caching == "unlimited":
                make = make_unlimited_cache
            elif rule.bills_writes:
                make = MarkedPrefixCache
            cache = self._caches[call.cache] = make(self._tree, rule)
        return cache

    def _count(self, call: RecordedCall, use: CacheUse, prices: TokenPrices, factor: float) -> None:
        outcome, step = self.outcome, max(call.rule.granularity, 1)
        outcome.calls += 1
        outcome.input_tokens += call.input_tokens
        outcome.read_tokens += use.read_tokens
        outcome.exact_calls += abs(use.read_tokens - call.read_tokens) <= step
        written = sum(use.write_tokens.values())
        usd = (
            (call.input_tokens - use.read_tokens - written) * prices.input
            + use.read_tokens * prices.read
            + sum(prices.writes[ttl] * tokens for ttl, tokens in use.write_tokens.items())
        ) * factor + call.output_tokens * prices.output * factor
        self._add_usd(call.conversation, usd)

    def _add_usd(self, conversation: Hashable, usd: float) -> None:
        by_conversation = self.outcome.usd_by_conversation
        by_conversation[conversation] = by_conversation.get(conversation, 0.0) + usd
        self.outcome.usd += usd

    def _ping_until(self, conversation: Hashable, at: float) -> None:
        """Count the pings between the conversation's last call and `at`, and their effect."""
        last, pings = self._last_uses.get(conversation), self._policy.pings
        if last is None or pings is None:
            return
        tokens = self._tree.tokens[last.end]
        count = min(pings.count, math.ceil((at - last.call.started_at) / pings.seconds) - 1)
        if count <= 0 or tokens < pings.min_tokens:
            return
        factor = self._policy.target.token_factor if self._policy.target else 1.0
        usd = count * (tokens * last.prices.read + last.prices.output) * factor
        self.outcome.pings += count
        self._add_usd(conversation, usd)
        seconds = _ttl_seconds_of_tail(last.call, self._policy, last.rule)
        last.cache.extend(last.end, last.call.started_at + count * pings.seconds + seconds)


def _mark_what_is_reused(traffic: Traffic, policy: Policy) -> Traffic:
    """Return the traffic with breakpoints at the ends of what another call shares."""
    rule = policy.target.rule if policy.target else None

    def seconds_of(call: RecordedCall) -> float:
        return _ttl_seconds_of_tail(call, policy, rule or call.rule)

    depths = find_reused_depths(traffic, seconds_of)
    return Traffic(
        replace(call, breakpoints=_breakpoints_up_to(call, depth))
        for call, depth in zip(traffic.calls, depths, strict=True)
    )


def _breakpoints_up_to(call: RecordedCall, depth: int) -> tuple[Breakpoint, ...]:
    ttl = call.breakpoints[-1].ttl if call.breakpoints else "5m"
    static = call.static_depth if 0 < call.static_depth < depth else 0
    return tuple([Breakpoint(place, ttl) for place in (static, depth) if place])


def _ttl_seconds_of_tail(call: RecordedCall, policy: Policy, rule: CacheRule) -> float:
    recorded = call.breakpoints[-1].ttl if call.breakpoints else ""
    return seconds_of_ttl(rule, policy.ttls.get("messages", recorded))


def place_marks(
    call: RecordedCall,
    end: int,
    tree: PrefixTree,
    policy: Policy,
    rule: CacheRule,
    prices: TokenPrices,
) -> list[Mark]:
    """Return the breakpoints of a call under `policy`; none where writes are not billed.

    Raises PolicyError if a longer TTL follows a shorter one, or if writes of a TTL have no price.
    """
    marks: list[Mark] = []
    for place in _places(call, policy, rule) if rule.bills_writes else ():
        ttl = policy.ttls.get(call.layer_at(place.depth), place.ttl)
        if ttl != policy.ttls.get(call.layer_at(place.depth)) and ttl not in prices.writes:
            ttl = next(iter(prices.writes), ttl)  # another model has TTLs of its own
        if ttl not in prices.writes:
            raise PolicyError(f"{policy.name}: the model has no price for writes of {ttl}")
        reach = rule.lookback or 1
        if not call.breakpoints and policy.marks == "recorded":
            reach = rule.implicit_lookback + 1
        node = tree.ancestor_at(end, place.depth)
        mark = Mark(node, ttl, seconds_of_ttl(rule, ttl), reach)
        if marks and mark.seconds > marks[-1].seconds:
            raise PolicyError(
                f"{policy.name}: a breakpoint of {ttl} after one of {marks[-1].ttl} is refused: "
                "the longer TTL must come first"
            )
        marks.append(mark)
    return marks


def _places(call: RecordedCall, policy: Policy, rule: CacheRule) -> list[Breakpoint]:
    """Return the places of breakpoints. Some caches place their own if a request has none."""
    if policy.marks == "reused":
        return list(call.breakpoints)
    if policy.marks == "recorded" and (call.breakpoints or rule.caches_on_request):
        return list(call.breakpoints)
    with_static = policy.marks == "static,tail"
    if policy.marks == "recorded":
        with_static = rule.marks_system
    ttls: Mapping[str, str] = {call.layer_at(it.depth): it.ttl for it in call.breakpoints}
    last = call.breakpoints[-1].ttl if call.breakpoints else "5m"
    depths = [call.static_depth] if with_static and call.static_depth else []
    if len(call.links) not in depths:
        depths.append(len(call.links))
    return [Breakpoint(depth, ttls.get(call.layer_at(depth), last)) for depth in depths]
