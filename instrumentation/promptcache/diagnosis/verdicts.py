"""Build a call's verdict from its usage and the explanation of what it missed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from promptcache.diagnosis.explanation import Explanation
from promptcache.diagnosis.explanations.breakpoints import has_too_many_breakpoints
from promptcache.diagnosis.missed_tokens import compute_wasted_usd
from promptcache.diagnosis.pending_call import TrackedCall
from promptcache.diagnosis.provider_diagnosis import (
    choose_more_specific_reason,
    parse_provider_miss_reason,
)
from promptcache.model import Cost, Outcome, ParsedPrompt, ResponseFacts, Usage, Verdict
from promptcache.providers.cache_rules import CacheRule

_OUTCOME_OF_REASON: Final[Mapping[str, Outcome]] = {
    "caching_not_requested": "not_requested",
    "below_minimum": "below_minimum",
    "cold_start": "cold",
}
"""The outcomes of calls that read nothing. Every other reason makes the call a `miss`."""


_NEGLIGIBLE_SHARE: Final = 0.02
"""A call that missed less than this share of what was reusable is a hit."""


def build_verdict_from_usage(usage: Usage | None, has_failed: bool) -> Verdict:
    """Return the verdict of a call whose prompt could not be parsed, from its usage alone."""
    outcome = _outcome_without_diagnosis(usage, None, has_failed)
    if outcome is None:
        outcome = "hit" if usage is not None and usage.cache_read_tokens else "cold"
    return Verdict(outcome)


def build_verdict(
    tracked: TrackedCall,
    rule: CacheRule,
    usage: Usage | None,
    cost: Cost | None,
    explanation: Explanation | None,
    has_failed: bool,
) -> Verdict:
    """Return the verdict of a call. Without an explanation, a call with a reported read is a
    hit."""
    family = tracked.call.family_hash
    plain = _outcome_without_diagnosis(usage, tracked.prompt, has_failed)
    if plain is not None or usage is None:
        is_rejected = plain == "error" and has_too_many_breakpoints(tracked.call, rule)
        reason = "too_many_breakpoints" if is_rejected else None
        return Verdict(plain or "error", reason, prefix_family=family)
    if explanation is None:
        return Verdict("hit", prefix_family=family)
    if _is_negligible(explanation, rule, usage):
        missed = explanation.missed_tokens
        wasted = compute_wasted_usd(usage, cost, missed) if missed else None
        return Verdict("hit", missed_tokens=missed, wasted_usd=wasted, prefix_family=family)
    outcome: Outcome = "partial"
    if not usage.cache_read_tokens:
        outcome = _OUTCOME_OF_REASON.get(explanation.reason, "miss")
    location, missed_tokens = explanation.location, explanation.missed_tokens
    return Verdict(
        outcome,
        explanation.reason,
        location.section,
        location.index,
        location.offset,
        location.hint,
        missed_tokens,
        compute_wasted_usd(usage, cost, missed_tokens) if missed_tokens else None,
        explanation.confidence,
        "local",
        prefix_family=family,
        parameter=explanation.parameter,
    )


def _is_negligible(explanation: Explanation, rule: CacheRule, usage: Usage) -> bool:
    """Return whether a call missed less than one step, or less than 2 % of what was reusable."""
    missed, read = explanation.missed_tokens, usage.cache_read_tokens
    if not read or missed is None:
        return False
    return missed < max(rule.granularity, _NEGLIGIBLE_SHARE * (missed + read))


def _outcome_without_diagnosis(
    usage: Usage | None, prompt: ParsedPrompt | None, has_failed: bool
) -> Outcome | None:
    """Return the outcome of a call that needs no diagnosis; None for all others."""
    if usage is None and has_failed:
        return "error"
    if usage is None or usage.cache_read_tokens is None:
        return "unreported"
    return "prewarm" if prompt is not None and prompt.is_prewarm else None


def prefer_provider_reason(verdict: Verdict, facts: ResponseFacts) -> Verdict:
    """Return the verdict with the provider's own reason, where the response gives one.

    The provider's reason wins, unless ours says the same more exactly.
    """
    if verdict.outcome not in ("partial", "miss", "cold"):
        return verdict
    word = parse_provider_miss_reason(facts.provider_diagnostics)
    if word is None:
        return verdict
    reason = choose_more_specific_reason(word, verdict.reason)
    return replace(verdict, reason=reason, confidence=0.98, source="provider", provider_reason=word)
