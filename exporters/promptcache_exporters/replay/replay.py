"""Replay traffic under a policy, and add up tokens and money."""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, final

from promptcache.providers.cache_rules import CacheRule
from promptcache_exporters.replay.cache_model import (
    NO_USE,
    AutomaticPrefixCache,
    CacheUse,
    MarkedPrefixCache,
    UnlimitedCache,
)
from promptcache_exporters.replay.early_eviction import (
    DRAWS,
    MAX_RETURNS,
    Return,
    fit_early_eviction,
)
from promptcache_exporters.replay.placed_marks import (
    DEFAULT_TTL,
    KindPlan,
    PolicyError,
    plan_kind,
)
from promptcache_exporters.replay.policy import Policy
from promptcache_exporters.replay.prefix_tree import ROOT
from promptcache_exporters.replay.reuse import find_reused_nodes
from promptcache_exporters.replay.traffic import LayerMark, Traffic, layer_at
from promptcache_exporters.replay.without_break import remove_break

Progress = Callable[[int], None]
"""Called with the number of calls that are done."""
_PROGRESS_STEP: Final = 10_000
_DRAW_STEP: Final = 5_003
"""Between the draws of two calls: prime to `DRAWS`."""


@final
@dataclass
class Outcome:
    """What the calls would have used and cost under `policy`.

    `usd_by_conversation` has the cost of each conversation, pings included, in the order of the
    traffic's. `exact_calls` counts the calls whose read tokens are within one step of the recorded.
    """

    policy: Policy
    calls: int = 0
    input_tokens: int = 0
    read_tokens: int = 0
    exact_calls: int = 0
    pings: int = 0
    usd_by_conversation: array[float] = field(default_factory=lambda: array("d"))

    @property
    def usd(self) -> float:
        """The cost of all calls and pings."""
        return math.fsum(self.usd_by_conversation)

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
    for numbers in _iterate_steps(traffic):
        run.play(numbers)
        if on_progress is not None:
            on_progress(numbers.stop)
    run.end_pings()
    return run.outcome


def _iterate_steps(traffic: Traffic) -> Iterator[range]:
    """Yield the numbers of all calls, some thousands at once."""
    for first in range(0, len(traffic), _PROGRESS_STEP):
        yield range(first, min(first + _PROGRESS_STEP, len(traffic)))


def observe_early_eviction(traffic: Traffic) -> Traffic:
    """Return the traffic with how long the entries of its record live, if that can be known."""
    run = _Replay(traffic, Policy())
    run.returns = []
    for numbers in _iterate_steps(traffic):
        run.play(numbers)
        if len(run.returns) >= MAX_RETURNS:
            break
    return traffic.with_early_eviction(fit_early_eviction(run.returns))


class _Replay:
    """One run, with a cache of each kind."""

    def __init__(self, traffic: Traffic, policy: Policy) -> None:
        """Plan the calls of each kind. Raise PolicyError if no provider would accept them."""
        self._traffic, self._policy, self._tree = traffic, policy, traffic.tree
        self._plans = [plan_kind(kind, policy) for kind in traffic.kinds]
        self._factor = policy.target.token_factor if policy.target else 1.0
        self._usd_by_conversation = array("d", [0.0]) * len(traffic.conversations.values)
        self._marked = MarkedPrefixCache(self._tree)
        self._automatic = AutomaticPrefixCache(self._tree)
        self._unlimited = UnlimitedCache(self._tree)
        self._is_record = policy.is_record
        self.returns: list[Return] | None = None
        """What calls found, if somebody wants to know it."""
        self._last_calls = array("i", [-1]) * len(traffic.conversations.values)
        self.outcome = Outcome(
            policy,
            len(traffic),
            sum(traffic.input_tokens),
            usd_by_conversation=self._usd_by_conversation,
        )

    def play(self, numbers: range) -> None:
        """Serve some calls, and count what they cost."""
        traffic, plans, usd_by_conversation = self._traffic, self._plans, self._usd_by_conversation
        first, behind = numbers.start, numbers.stop
        columns = zip(
            traffic.kind[first:behind],
            traffic.conversation[first:behind],
            traffic.input_tokens[first:behind],
            traffic.output_tokens[first:behind],
            traffic.read_tokens[first:behind],
            strict=True,
        )
        has_pings, use = self._policy.pings is not None, self._use
        read_tokens = exact_calls = 0
        for number, values in enumerate(columns, numbers.start):
            kind, conversation, input_tokens, output_tokens, recorded = values
            plan = plans[kind]
            if has_pings:
                self._ping_until(conversation, traffic.started_at[number])
                self._last_calls[conversation] = number
            read, written, write_usd = use(plan, number)
            read_tokens += read
            exact_calls += -plan.step <= read - recorded <= plan.step
            prices = plan.prices
            usd_by_conversation[conversation] += (
                (input_tokens - read - written) * prices.input
                + read * prices.read
                + write_usd
                + output_tokens * prices.output
            ) * self._factor
        self.outcome.read_tokens += read_tokens
        self.outcome.exact_calls += exact_calls

    def end_pings(self) -> None:
        """Count the pings after the last call of each conversation, up to the end of the window."""
        if self._policy.pings is not None and len(self._traffic):
            for conversation in range(len(self._last_calls)):
                self._ping_until(conversation, self._traffic.started_at[-1])

    def _use(self, plan: KindPlan, number: int) -> CacheUse:
        traffic, rule = self._traffic, plan.rule
        at, visible_at = traffic.started_at[number], traffic.visible_at[number]
        if self._policy.caching == "off":
            return NO_USE
        if self._policy.caching == "unlimited":
            node = self._unlimited.use(traffic.end_nodes[number], at, visible_at)
            return self._tree.tokens[node], 0, 0.0
        if rule.bills_writes:
            return self._use_marked(plan, number)
        node = self._automatic.use(traffic.end_nodes[number], rule.ttl_seconds, at, visible_at)
        return _round_down(self._tree.tokens[node], rule), 0, 0.0

    def _use_marked(self, plan: KindPlan, number: int) -> CacheUse:
        traffic, cache, least = self._traffic, self._marked, plan.rule.minimum_tokens
        nodes, at = plan.place(traffic, number), traffic.started_at[number]
        lifetimes = traffic.early_eviction.lifetimes
        if self._is_record and (lifetimes or self.returns is not None):
            read = traffic.read_tokens[number]
            found = cache.observe_return(nodes, plan.marks, at, read, plan.step)
            if self.returns is None:
                deque(found, maxlen=0)
            else:
                self.returns.extend(found)
        use = cache.use(nodes, plan.marks, least, at, traffic.visible_at[number])
        if lifetimes and not self._is_record:
            first, count = number * _DRAW_STEP, len(nodes) + 1
            drawn = [lifetimes[(first + place) % DRAWS] for place in range(count)]
            cache.shorten_lifetimes(nodes, at, drawn)
        return use

    def _ping_until(self, conversation: int, at: float) -> None:
        """Count the pings between the conversation's last call and `at`, and their effect."""
        number, pings = self._last_calls[conversation], self._policy.pings
        if number < 0 or pings is None:
            return
        traffic = self._traffic
        plan, started_at = self._plans[traffic.kind[number]], traffic.started_at[number]
        count = min(pings.count, math.ceil((at - started_at) / pings.seconds) - 1)
        tokens = self._tree.tokens[traffic.end_nodes[number]]
        cached = self._cached_tokens(plan, number)
        if count <= 0 or not cached or cached < pings.min_tokens:
            return
        if pings.seconds < plan.tail_seconds:
            prices = plan.prices
            usd = cached * prices.read + (tokens - cached) * prices.input + prices.output
            self.outcome.pings += count
            self._usd_by_conversation[conversation] += count * usd * self._factor
            self._keep_warm(plan, number, count * pings.seconds)

    def _cached_tokens(self, plan: KindPlan, number: int) -> int:
        """Return how many tokens the cache has of a call's prompt."""
        nodes: Sequence[int] = (self._traffic.end_nodes[number],)
        if plan.rule.bills_writes:
            nodes = plan.place(self._traffic, number)
        return _round_down(max((self._tree.tokens[node] for node in nodes), default=0), plan.rule)

    def _keep_warm(self, plan: KindPlan, number: int, later: float) -> None:
        """Let the last ping come `later` than the start of the call."""
        traffic = self._traffic
        at = traffic.started_at[number]
        if plan.rule.bills_writes:
            first = self._policy.pings.seconds if self._policy.pings else 0.0
            self._marked.extend(plan.place(traffic, number), at, first, later)
        else:
            until = at + later + plan.rule.ttl_seconds
            self._automatic.extend(traffic.end_nodes[number], until)


def _round_down(tokens: int, rule: CacheRule) -> int:
    if tokens < rule.minimum_tokens:
        return 0
    return tokens - tokens % rule.granularity


def _mark_what_is_reused(traffic: Traffic, policy: Policy) -> Traffic:
    """Return the traffic with breakpoints at the ends of what another call shares."""
    seconds = [plan_kind(kind, policy).tail_seconds for kind in traffic.kinds]
    depths = traffic.tree.depths
    other = traffic.copy_without_nodes(traffic.tree)
    for number, node in enumerate(find_reused_nodes(traffic, seconds)):
        kind, nodes = traffic.kinds[traffic.kind[number]], traffic.nodes_of(number)
        static = nodes.static if 0 < depths[nodes.static] < depths[node] else ROOT
        marked = [place for place in (static, node) if place != ROOT]
        ttl = kind.last_ttl or DEFAULT_TTL
        layers = [
            layer_at(depths[place], nodes.tools_depth, depths[nodes.static]) for place in marked
        ]
        marks = tuple([LayerMark(layer, ttl) for layer in layers])
        number_of_kind = other.number_of_kind(kind._replace(marks=marks))
        other.add_nodes(number_of_kind, nodes._replace(marks=marked))
    return other
