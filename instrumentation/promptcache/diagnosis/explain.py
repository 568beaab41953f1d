"""Usage x structure x rules -> what was missed and why. Evidence first: without missing tokens there is no reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from promptcache.diagnosis.compare import FORM_HINT, SECTION_ORDER, Difference
from promptcache.diagnosis.memory import CacheParams, PastCall
from promptcache.diagnosis.miss_reasons import REASON_OF_PARAM
from promptcache.model import Cost, Usage
from promptcache.providers.cache_rules import CacheRule

_ESTIMATE_TOLERANCE: Final = 0.25
"""How far an estimate of tokens may be off before it is believed to show a miss."""
_MINIMUM_SAFETY_FACTOR: Final = 1.3
"""How many times the minimum an estimate must reach before the prefix is believed to be long enough."""
_REPEATED_BREAKS: Final = 3
"""After so many breaks in a row at one place, a change that proves nothing by itself does."""
_REPEATED_EXPIRIES: Final = 5
"""After so many lapses in a row the prefix is simply used too rarely."""
EXPIRED: Final = ("ttl", 0)
"""The place of a break in time."""
_LEVEL_ORDER: Final[Mapping[str, int]] = {**SECTION_ORDER, "none": len(SECTION_ORDER)}


@final
@dataclass(slots=True)
class RelatedCall:
    """An earlier call beside the present one.

    By bytes: `shared_tokens` is the size of the common prefix and `removed_tokens` what the earlier call has and the present one does
    not, both in tokens as estimated; `added_share` is the share of the present one that stands behind the break and is not in
    the earlier one. `cache_key_count` counts the different cache keys seen at the end of the common prefix.
    """

    past_call: PastCall
    difference: Difference
    shared_tokens: int
    removed_tokens: int
    added_share: float = 0.0
    cache_key_count: int = 1


@final
@dataclass(slots=True)
class Evidence:
    """The present call and all that is known about it.

    `has_implicit_breakpoint` says that the provider sets breakpoints by itself; `minimum_tokens` is the number of tokens from which on a prompt
    is believed to be cached; `concurrent_calls` are calls with the same beginning that had
    not answered when this one was sent; `requests_this_minute` counts the requests of the minute, `new_message_blocks` the new message blocks.
    """

    call: PastCall
    rule: CacheRule
    usage: Usage
    has_implicit_breakpoint: bool
    minimum_tokens: int
    related_calls: Sequence[RelatedCall] = ()
    concurrent_calls: Sequence[RelatedCall] = ()
    requests_this_minute: int = 0
    new_message_blocks: int = 0


@final
@dataclass(slots=True)
class Explanation:
    """Why tokens were missed. `missed_tokens` is their number, `difference` gives the place where there is one."""

    reason: str
    missed_tokens: int
    confidence: float
    related_call: RelatedCall | None = None
    location: Difference | None = None


def explain_miss(case: Evidence) -> Explanation | None:
    """The best explanation of what was not read; None where nothing was missed."""
    best: Explanation | None = None
    for relative in case.related_calls:
        missed = _missed_tokens(case, relative)
        if missed > _tolerance_tokens(case, relative) and (
            best is None or missed > best.missed_tokens
        ):
            best = _explain_related_call(case, relative, missed) or best
    return best or _concurrent_cold_race(case)


def cached_tokens(trace: PastCall, rule: CacheRule, least: int, lost: int = 0) -> int:
    """The tokens that a call left in the provider's cache, less `removed_tokens`: as reported, or its input rounded down."""
    if rule.bills_writes or trace.cache_write_tokens:
        return trace.cache_read_tokens + (trace.cache_write_tokens or 0) - lost
    return max(
        trace.cache_read_tokens - lost,
        _round_to_granularity(trace.input_tokens - lost, rule, least),
    )


def _round_to_granularity(tokens: int, rule: CacheRule, least: int) -> int:
    """How many of the first `tokens` of a prompt can stand in the cache."""
    whole = tokens - tokens % rule.granularity
    return whole if whole >= least else 0


def _missed_tokens(case: Evidence, relative: RelatedCall) -> int:
    trace, difference = relative.past_call, relative.difference
    if difference.kind in ("branch", "shortened"):
        reusable = min(
            relative.shared_tokens,
            cached_tokens(trace, case.rule, case.minimum_tokens) or relative.shared_tokens,
        )
    else:
        reusable = cached_tokens(
            trace, case.rule, case.minimum_tokens, _tokens_not_in_this_call(case, relative)[0]
        )
        pinned = [
            one.past_call.cache_read_tokens
            for one in case.related_calls
            if one.past_call.is_read_stuck
        ]
        if pinned and (
            difference.kind == "break"
            or not trace.is_read_stuck
            or _has_other_params(case, relative)
        ):
            reusable = min(
                reusable, max(pinned)
            )  # what was written beyond, nobody was ever seen to read
    return _round_to_granularity(
        min(reusable, case.usage.input_tokens), case.rule, case.minimum_tokens
    ) - (case.usage.cache_read_tokens or 0)


def _tokens_not_in_this_call(case: Evidence, relative: RelatedCall) -> tuple[int, int]:
    """The earlier call's tokens that the present one does not have, and how many tokens of that are an estimate.

    Both calls' totals are known, so only the smaller of what went and what came need be estimated by its bytes: an
    image, for one, has tokens that its bytes do not tell.
    """
    trace, fresh = relative.past_call, round(relative.added_share * case.usage.input_tokens)
    if relative.removed_tokens <= fresh or trace.cache_params.model != case.call.cache_params.model:
        return relative.removed_tokens, relative.removed_tokens
    return max(0, trace.input_tokens - case.usage.input_tokens + fresh), fresh


def _tolerance_tokens(case: Evidence, relative: RelatedCall) -> float:
    """How many tokens may be missing without a meaning: rounding, and the error of an estimate."""
    rounding = case.rule.granularity if case.rule.granularity > 1 else 0
    if relative.difference.kind == "extends":
        return rounding
    if relative.difference.kind == "break":
        return rounding + _ESTIMATE_TOLERANCE * _tokens_not_in_this_call(case, relative)[1]
    whole = relative.difference.shared_blocks == case.call.depth
    least = (
        case.rule.minimum_tokens * (1.0 if whole else _MINIMUM_SAFETY_FACTOR)
        - (case.usage.cache_read_tokens or 0)
        - 1
    )
    return rounding + max(0.0 if whole else _ESTIMATE_TOLERANCE * relative.shared_tokens, least)


def _explain_related_call(case: Evidence, relative: RelatedCall, missed: int) -> Explanation | None:
    difference = relative.difference
    explained = _expired(case, relative, missed) or _parameter_changed(case, relative, missed)
    if difference.kind == "break":
        return _structural_break(case, relative, missed, explained)
    if explained or difference.kind == "shortened":
        return explained
    if _has_other_params(case, relative):
        return None
    return _breakpoint_problem(case, relative, missed) or _provider_side(case, relative, missed)


def _structural_break(
    case: Evidence, relative: RelatedCall, missed: int, explained: Explanation | None
) -> Explanation | None:
    """A structural break, unless something before it explains more or another program explains it as well."""
    difference = relative.difference
    if explained is not None and (
        explained.reason not in ("ttl_expired", "low_volume") or not case.usage.cache_read_tokens
    ):
        return explained
    often = (
        relative.past_call.break_count
        if relative.past_call.break_location == (difference.section, difference.index)
        else 0
    )
    if (
        difference.is_ambiguous
        and not difference.is_same_conversation
        and often + 1 < _REPEATED_BREAKS
    ):
        return None
    if difference.hint == FORM_HINT and not _read_ends_at_change(case, relative):
        return Explanation("unknown", missed, 0.3, relative)
    confidence = 0.9 if often else 0.7 if difference.reason == "volatile_token" else 0.95
    return Explanation(difference.reason or "unknown", missed, confidence, relative, difference)


def _read_ends_at_change(case: Evidence, relative: RelatedCall) -> bool:
    """Whether the read shows that the provider told the two forms apart: it goes as far as the change, no further."""
    read = case.usage.cache_read_tokens or 0
    return (
        0
        < read
        <= relative.shared_tokens
        + case.rule.granularity
        + _ESTIMATE_TOLERANCE * relative.shared_tokens
    )


def _expired(case: Evidence, relative: RelatedCall, missed: int) -> Explanation | None:
    idle = case.call.started_at - relative.past_call.started_at
    if idle <= relative.past_call.ttl_seconds or _has_other_params(case, relative):
        return None
    rare = (
        relative.past_call.break_location == EXPIRED
        and relative.past_call.break_count + 1 >= _REPEATED_EXPIRIES
    )
    return Explanation(
        "low_volume" if rare else "ttl_expired", missed, case.rule.expiry_confidence, relative
    )


def changed_params(new: CacheParams, old: CacheParams) -> list[tuple[str, str]]:
    """The parameters that differ between two scopes, each with the level that it invalidates; the strongest first."""
    found: list[tuple[str, str]] = [("model", "tools")] if new.model != old.model else []
    here, there = ({param[0]: param for param in scope.params} for scope in (new, old))
    names = [name for name in {**there, **here} if here.get(name) != there.get(name)]
    found += [(name, (here.get(name) or there[name])[2]) for name in names]
    return sorted(
        (item for item in found if item[1] != "none"), key=lambda item: _LEVEL_ORDER[item[1]]
    )


def _has_other_params(case: Evidence, relative: RelatedCall) -> bool:
    return bool(changed_params(case.call.cache_params, relative.past_call.cache_params))


def _parameter_changed(case: Evidence, relative: RelatedCall, missed: int) -> Explanation | None:
    """The parameter that took the prefix out of the cache, if it did so before the structure could."""
    found = changed_params(case.call.cache_params, relative.past_call.cache_params)
    difference = relative.difference
    if not found:
        here, there = case.call.response_model, relative.past_call.response_model
        if difference.kind == "extends" and here and there and here != there:
            return Explanation(
                "model_changed", missed, 0.7, relative, _location(difference, "model")
            )
        return None
    name, level = found[0]
    reason = "model_changed" if name == "model" else REASON_OF_PARAM.get(name, "param_changed")
    if difference.kind == "branch":
        shared_by_users = (
            reason == "cache_key_changed"
            and len(found) == 1
            and relative.cache_key_count >= _REPEATED_BREAKS
        )
        return (
            Explanation(
                "per_user_key_or_prefix", missed, 0.85, relative, _location(difference, "params")
            )
            if shared_by_users
            else None
        )
    if difference.kind == "break" and (
        SECTION_ORDER[difference.section or "messages"] < _LEVEL_ORDER[level]
        or difference.reason == reason
    ):
        return None
    if reason == "image_changed":
        hint = (
            "image_added"
            if any(param[0] == name for param in case.call.cache_params.params)
            else "image_removed"
        )
        return Explanation(
            reason, missed, 0.9, relative, _location(difference, "messages").but(hint=hint)
        )
    return Explanation(
        reason,
        missed,
        0.95 if name == "model" else 0.9,
        relative,
        _location(difference, "model" if name == "model" else "params"),
    )


def _location(difference: Difference, section: str) -> Difference:
    return Difference(difference.kind, difference.shared_blocks, section=section)


def _breakpoint_problem(case: Evidence, relative: RelatedCall, missed: int) -> Explanation | None:
    """Nothing changed: did the request ask for what was there?"""
    rule, usage, trace = case.rule, case.usage, relative.past_call
    difference = relative.difference
    if not rule.bills_writes or usage.cache_write_tokens is None:
        return None
    if len(case.call.breakpoint_depths) > rule.max_breakpoints:
        return Explanation("too_many_breakpoints", missed, 0.9, relative)
    if difference.kind == "branch":
        return _static_breakpoint_missing(case, relative, missed)
    written = (
        trace.depth
        if case.has_implicit_breakpoint or not trace.breakpoint_depths
        else trace.breakpoint_depths[-1]
    )
    place = Difference("extends", difference.shared_blocks, section="messages")
    if case.has_implicit_breakpoint and not case.call.breakpoint_depths:
        if case.new_message_blocks >= (rule.lookback or rule.implicit_lookback + 1):
            return Explanation("lookback_exceeded", missed, 0.8, relative, place)
        pinned = usage.cache_read_tokens and usage.cache_read_tokens == trace.cache_read_tokens
        return (
            Explanation("breakpoint_missing_on_static", missed, 0.7, relative, place)
            if pinned
            else None
        )
    looking = (
        (*case.call.breakpoint_depths, case.call.depth)
        if case.has_implicit_breakpoint
        else case.call.breakpoint_depths
    )
    reach = [mark - written for mark in looking if mark >= written]
    if not reach or (rule.lookback is None and min(reach)):
        return Explanation("breakpoint_missing_on_static", missed, 0.9, relative, place)
    if rule.lookback is not None and min(reach) >= rule.lookback:
        return Explanation("lookback_exceeded", missed, 0.95, relative, place)
    return None


def _static_breakpoint_missing(
    case: Evidence, relative: RelatedCall, missed: int
) -> Explanation | None:
    """The trap: a static prefix without a breakpoint, so that a varying tail writes everything and reads nothing."""
    shared = relative.difference.shared_blocks
    ended = [
        m
        for m in (*case.call.breakpoint_depths, *relative.past_call.breakpoint_depths)
        if m <= shared and m >= case.call.static_depth
    ]
    if (
        ended
        or not case.usage.cache_write_tokens
        or (case.usage.cache_read_tokens or 0) * 2 > relative.shared_tokens
    ):
        return None
    confidence = (
        0.95
        if relative.past_call.cache_read_tokens == 0 and relative.past_call.break_count
        else 0.7
    )
    return Explanation(
        "breakpoint_missing_on_static", missed, confidence, relative, relative.difference
    )


def _provider_side(case: Evidence, relative: RelatedCall, missed: int) -> Explanation | None:
    if case.usage.cache_read_tokens and relative.difference.kind == "branch":
        return None
    if case.rule.overflow_rpm is not None and case.requests_this_minute > case.rule.overflow_rpm:
        return Explanation("routing_overflow", missed, 0.6, relative)
    return _concurrent_cold_race(case) or Explanation("unknown", missed, 0.3, relative)


def _concurrent_cold_race(case: Evidence) -> Explanation | None:
    """Calls with the same prefix that had not answered when this one was sent; what they left counts, once known."""
    best: Explanation | None = None
    for rival in case.concurrent_calls:
        there = (
            min(rival.shared_tokens, cached_tokens(rival.past_call, case.rule, case.minimum_tokens))
            if rival.past_call.input_tokens
            else rival.shared_tokens
        )
        missed = there // case.rule.granularity * case.rule.granularity - max(
            case.usage.cache_read_tokens or 0, rival.past_call.cache_read_tokens
        )
        if (
            rival.past_call.cache_params is case.call.cache_params
            and missed > _tolerance_tokens(case, rival)
            and (not best or missed > best.missed_tokens)
        ):
            best = Explanation("concurrent_cold_race", missed, 0.9, rival)
    return best


# Money


def compute_wasted_usd(usage: Usage, cost: Cost | None, missed: int) -> float | None:
    """What the missed tokens cost too much: what was written again at its price, the rest at the plain one.

    Never more than the call's input cost; None where a price is not known.
    """
    if cost is None or cost.input_price is None or cost.cache_read_price is None:
        return None
    rest, total, spent = (
        missed,
        0.0,
        usage.uncached_tokens * cost.input_price
        + (usage.cache_read_tokens or 0) * cost.cache_read_price,
    )
    for ttl, count in usage.cache_write_by_ttl.items():
        price = cost.cache_write_prices.get(ttl, cost.input_price)
        again = min(rest, count)
        total += again * (price - cost.cache_read_price)
        spent += count * price
        rest -= again
    return max(0.0, min(total + rest * (cost.input_price - cost.cache_read_price), spent))
