"""Misses whose cause lies in how the provider routes and shares its caches."""

from __future__ import annotations

from promptcache.diagnosis.evidence import CacheMiss, Evidence, RelatedCall
from promptcache.diagnosis.explanation import Explanation, MissLocation
from promptcache.diagnosis.missed_tokens import (
    estimate_tokens_left_in_cache,
    missed_tokens_tolerance,
)


def is_prefix_and_params_unchanged(evidence: Evidence, miss: CacheMiss) -> bool:
    """Return whether neither content nor parameters explain the miss.

    A branch of which something was read is left out: the rest of its estimate may be wrong.
    """
    kind = miss.related_call.difference.kind
    if kind == "branch" and evidence.usage.cache_read_tokens:
        return False
    return kind in ("extends", "branch") and not evidence.has_changed_params(miss.related_call)


def explain_by_routing_overflow(evidence: Evidence, miss: CacheMiss | None) -> Explanation | None:
    """Explain a miss by more requests of this prefix a minute than one machine serves."""
    limit = evidence.rule.overflow_rpm
    if miss is None or limit is None or evidence.requests_this_minute <= limit:
        return None
    if not is_prefix_and_params_unchanged(evidence, miss):
        return None
    return Explanation("routing_overflow", miss.missed_tokens, 0.6, miss.related_call)


def explain_by_concurrent_call(evidence: Evidence, miss: CacheMiss | None) -> Explanation | None:
    """Explain a miss by a call with the same beginning that was still running at the start.

    Once the concurrent call has ended, only the tokens that it left in the cache count.
    """
    if not evidence.concurrent_calls or (
        miss is not None and not is_prefix_and_params_unchanged(evidence, miss)
    ):
        return None
    largest, lost_to = 0, None
    for concurrent in evidence.concurrent_calls:
        missed = _tokens_missed_of_concurrent_call(evidence, concurrent)
        if (
            concurrent.past_call.cache_params is evidence.call.cache_params
            and missed > missed_tokens_tolerance(evidence, concurrent)
            and missed > largest
        ):
            largest, lost_to = missed, concurrent
    return Explanation("concurrent_cold_race", largest, 0.9, lost_to) if lost_to else None


def _tokens_missed_of_concurrent_call(evidence: Evidence, concurrent: RelatedCall) -> int:
    rule, past_call = evidence.rule, concurrent.past_call
    reusable = concurrent.shared_tokens
    if past_call.input_tokens:
        reusable = min(
            reusable, estimate_tokens_left_in_cache(past_call, rule, evidence.minimum_tokens)
        )
    rounded = reusable // rule.granularity * rule.granularity
    return rounded - max(evidence.cache_read_tokens, past_call.cache_read_tokens)


def explain_by_changed_cache_scope(
    evidence: Evidence, miss: CacheMiss | None
) -> Explanation | None:
    """Explain a miss by a conversation that went on under another credential, host or provider."""
    other, usage = evidence.call_in_other_cache, evidence.usage
    if miss is not None or other is None or usage.cache_read_tokens:
        return None
    if evidence.call.started_at - other.started_at > other.ttl_seconds:
        return None
    cached = estimate_tokens_left_in_cache(other, evidence.rule, evidence.rule.minimum_tokens)
    missed = min(cached, usage.input_tokens)
    return (
        Explanation("scope_changed", missed, 0.8, None, MissLocation("params")) if missed else None
    )
