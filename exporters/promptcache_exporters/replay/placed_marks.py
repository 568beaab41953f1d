"""Where the breakpoints of a call stand under a policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from promptcache.providers.cache_rules import CacheRule, requested_or_default_ttl_seconds
from promptcache_exporters.replay.cache_model import Mark
from promptcache_exporters.replay.policy import Policy
from promptcache_exporters.replay.traffic import CallKind, LayerMark, TokenPrices, Traffic

DEFAULT_TTL: Final = "5m"


class PolicyError(ValueError):
    """No provider would accept the requests of this policy."""


class KindPlan(NamedTuple):
    """What a policy makes of the calls of one kind.

    `rule` and `prices` are those of the record, or of the policy's model. The breakpoints stand as
    recorded, or at the end, or at the static end and the end. Recorded reads are exact up to
    `step` tokens.
    """

    rule: CacheRule
    prices: TokenPrices
    marks: tuple[Mark, ...]
    are_recorded: bool
    with_static: bool
    tail_seconds: float
    step: int

    def place(self, traffic: Traffic, number: int) -> Sequence[int]:
        """Return the nodes of the breakpoints of a call."""
        if self.are_recorded:
            starts = traffic.mark_starts
            return traffic.mark_nodes[starts[number] : starts[number + 1]]
        end = traffic.end_nodes[number]
        if not self.with_static:
            return (end,)
        return (traffic.static_nodes[number], end)


def plan_kind(kind: CallKind, policy: Policy) -> KindPlan:
    """Return the breakpoints of a kind of calls under `policy`; none where writes are not billed.

    Raises PolicyError if a longer TTL follows a shorter one, or if writes of a TTL have no price.
    """
    target = policy.target
    rule, prices = (target.rule, target.prices) if target else (kind.rule, kind.prices)
    are_recorded = _are_recorded(kind, policy, rule)
    with_static = _has_static_mark(kind, policy, rule)
    layer_marks: Sequence[LayerMark] = ()
    if rule.bills_writes and policy.caching == "on":
        layer_marks = kind.marks if are_recorded else _marks_of_layers(kind, with_static)
    marks: list[Mark] = []
    for layer, recorded_ttl in layer_marks:
        mark = _make_mark(policy, prices, rule, kind, (layer, recorded_ttl))
        if marks and mark.seconds > marks[-1].seconds:
            raise PolicyError(
                f"{policy.name}: a breakpoint of {mark.ttl} after one of {marks[-1].ttl} is "
                "refused: the longer TTL must come first"
            )
        marks.append(mark)
    tail_ttl = policy.ttls.get("messages", kind.last_ttl)
    tail_seconds = requested_or_default_ttl_seconds(rule, tail_ttl)
    step = max(kind.rule.granularity, 1)
    return KindPlan(rule, prices, tuple(marks), are_recorded, with_static, tail_seconds, step)


def _are_recorded(kind: CallKind, policy: Policy, rule: CacheRule) -> bool:
    """Return whether breakpoints stay where they are. Some caches place their own without any."""
    if policy.marks == "reused":
        return True
    return policy.marks == "recorded" and bool(kind.marks or rule.caches_on_request)


def _has_static_mark(kind: CallKind, policy: Policy, rule: CacheRule) -> bool:
    is_wanted = policy.marks == "static,tail" or (policy.marks == "recorded" and rule.marks_system)
    return is_wanted and bool(kind.static_layer) and kind.end_layer == "messages"


def _marks_of_layers(kind: CallKind, with_static: bool) -> list[LayerMark]:
    ttls = {mark.layer: mark.ttl for mark in kind.marks}
    layers = [kind.static_layer, kind.end_layer] if with_static else [kind.end_layer]
    return [LayerMark(layer, ttls.get(layer, kind.last_ttl or DEFAULT_TTL)) for layer in layers]


def _make_mark(
    policy: Policy, prices: TokenPrices, rule: CacheRule, kind: CallKind, place: tuple[str, str]
) -> Mark:
    layer, recorded_ttl = place
    ttl = policy.ttls.get(layer, recorded_ttl)
    if ttl != policy.ttls.get(layer) and ttl not in prices.writes:
        ttl = next(iter(prices.writes), ttl)  # another model has TTLs of its own
    if ttl not in prices.writes:
        raise PolicyError(f"{policy.name}: the model has no price for writes of {ttl}")
    reach = rule.lookback or 1
    if not kind.marks and policy.marks == "recorded":
        reach = rule.implicit_lookback + 1
    seconds = requested_or_default_ttl_seconds(rule, ttl)
    return Mark(ttl, seconds, reach, prices.writes[ttl])
