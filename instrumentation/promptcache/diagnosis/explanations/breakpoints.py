"""Misses because of the breakpoints: nothing changed, but the request does not reach the cache
entry.

These reasons apply only where the provider reports cache writes.
"""

from __future__ import annotations

from promptcache.diagnosis.caching import find_readable_depth
from promptcache.diagnosis.evidence import CacheMiss, Evidence
from promptcache.diagnosis.explanation import Explanation, MissLocation
from promptcache.diagnosis.memory import PastCall
from promptcache.providers.cache_rules import CacheRule


def has_too_many_breakpoints(call: PastCall, rule: CacheRule) -> bool:
    """Return whether the request has more breakpoints than the provider allows."""
    return len(call.breakpoint_depths) > rule.max_breakpoints


def explain_by_too_many_breakpoints(
    evidence: Evidence, miss: CacheMiss | None
) -> Explanation | None:
    """Explain a miss by more breakpoints than the provider allows."""
    if miss is None or not _only_breakpoints_can_explain(evidence, miss):
        return None
    if not has_too_many_breakpoints(evidence.call, evidence.rule):
        return None
    return Explanation("too_many_breakpoints", miss.missed_tokens, 0.9, miss.related_call)


def explain_by_missing_static_breakpoint(
    evidence: Evidence, miss: CacheMiss | None
) -> Explanation | None:
    """Explain a branch whose static prefix ends without a breakpoint.

    Its only breakpoint is behind content that varies, so each call writes all and reads nothing.
    """
    if miss is None or not _only_breakpoints_can_explain(evidence, miss):
        return None
    related, usage = miss.related_call, evidence.usage
    if related.difference.kind != "branch":
        return None
    shared_blocks, static_depth = related.difference.shared_blocks, evidence.call.static_depth
    call, past_call = evidence.call, related.past_call
    is_marked, was_marked = (
        any(static_depth <= depth <= shared_blocks for depth in one.breakpoint_depths)
        for one in (call, past_call)
    )
    if was_marked and not is_marked:  # a later breakpoint may look back to there
        found = find_readable_depth(call, past_call, shared_blocks, evidence.rule)
        is_marked = found >= max(static_depth, 1)
    is_mostly_read = evidence.cache_read_tokens * 2 > related.shared_tokens
    if shared_blocks < static_depth or is_marked or not usage.cache_write_tokens or is_mostly_read:
        return None
    is_repeated = related.past_call.cache_read_tokens == 0 and related.past_call.break_count
    return Explanation(
        "breakpoint_missing_on_static",
        miss.missed_tokens,
        0.95 if is_repeated else 0.7,
        related,
        MissLocation(related.difference.section, related.difference.index),
    )


def explain_by_unreachable_breakpoint(
    evidence: Evidence, miss: CacheMiss | None
) -> Explanation | None:
    """Explain a growing conversation whose breakpoints do not reach back to the last cache
    entry."""
    if miss is None or not _only_breakpoints_can_explain(evidence, miss):
        return None
    if miss.related_call.difference.kind != "extends":
        return None
    if evidence.call.has_implicit_breakpoint and not evidence.call.breakpoint_depths:
        return _explain_by_unreachable_implicit_breakpoint(evidence, miss)
    return _explain_by_unreachable_explicit_breakpoint(evidence, miss)


def _only_breakpoints_can_explain(evidence: Evidence, miss: CacheMiss) -> bool:
    """Return whether nothing but the breakpoints can explain the miss."""
    return (
        evidence.rule.bills_writes
        and evidence.usage.cache_write_tokens is not None
        and miss.related_call.difference.kind in ("extends", "branch")
        and not evidence.has_changed_params(miss.related_call)
    )


def _explain_by_unreachable_implicit_breakpoint(
    evidence: Evidence, miss: CacheMiss
) -> Explanation | None:
    rule, read = evidence.rule, evidence.usage.cache_read_tokens
    if evidence.new_message_blocks >= (rule.lookback or rule.implicit_lookback + 1):
        return _build_messages_explanation("lookback_exceeded", miss, 0.8)
    if read and read == miss.related_call.past_call.cache_read_tokens:
        return _build_messages_explanation("breakpoint_missing_on_static", miss, 0.7)
    return None


def _explain_by_unreachable_explicit_breakpoint(
    evidence: Evidence, miss: CacheMiss
) -> Explanation | None:
    call, past_call = evidence.call, miss.related_call.past_call
    lookback, is_implicit = evidence.rule.lookback, evidence.call.has_implicit_breakpoint
    has_entry_at_end = is_implicit or not past_call.breakpoint_depths
    entry_depth = past_call.depth if has_entry_at_end else past_call.breakpoint_depths[-1]
    depths = (*call.breakpoint_depths, call.depth) if is_implicit else call.breakpoint_depths
    distances = [depth - entry_depth for depth in depths if depth >= entry_depth]
    if not distances or (lookback is None and min(distances)):
        return _build_messages_explanation("breakpoint_missing_on_static", miss, 0.9)
    if lookback is not None and min(distances) >= lookback:
        return _build_messages_explanation("lookback_exceeded", miss, 0.95)
    return None


def _build_messages_explanation(reason: str, miss: CacheMiss, confidence: float) -> Explanation:
    return Explanation(
        reason, miss.missed_tokens, confidence, miss.related_call, MissLocation("messages")
    )
