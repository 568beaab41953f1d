"""Reasons for which the provider cached nothing: the prompt could not be read from a cache
later."""

from __future__ import annotations

from typing import Final

from promptcache.diagnosis.evidence import CacheMiss, Evidence
from promptcache.diagnosis.explanation import Explanation

UNCACHED_REASONS: Final = frozenset({"caching_not_requested", "below_minimum"})

_REFUSED_WRITE_FACTOR: Final = 4
"""If caching was requested and nothing was written, a prompt counts as too short up to this
multiple of the documented minimum."""

_CLEARLY_TOO_SHORT: Final = 0.5
"""Below this part of the documented minimum a prompt counts as too short without further
evidence."""


def explain_by_caching_not_requested(evidence: Evidence, _: CacheMiss | None) -> Explanation | None:
    """Explain a call whose provider caches only on request, without a request."""
    usage = evidence.usage
    if usage.cache_read_tokens or usage.cache_write_tokens or evidence.caching_mode != "none":
        return None
    return Explanation("caching_not_requested", None, 0.95)


def explain_by_prompt_below_minimum(evidence: Evidence, _: CacheMiss | None) -> Explanation | None:
    """Explain a call with too few tokens to be cached.

    Providers lower their minimums without notice, and a first call reads nothing in any case. So a
    prompt near the minimum needs more evidence than its size.
    """
    usage, rule = evidence.usage, evidence.rule
    if usage.cache_read_tokens or usage.cache_write_tokens:
        return None
    if rule.bills_writes and usage.cache_write_tokens == 0:
        factor: float = _REFUSED_WRITE_FACTOR
    else:
        factor = 1.0 if _was_prompt_sent_within_ttl(evidence) else _CLEARLY_TOO_SHORT
    if usage.input_tokens >= rule.minimum_tokens * factor:
        return None
    return Explanation("below_minimum", None, 0.8)


def _was_prompt_sent_within_ttl(evidence: Evidence) -> bool:
    """Return whether most of this prompt was sent before, within the TTL of that call."""
    started_at, input_tokens = evidence.call.started_at, evidence.usage.input_tokens
    return any(
        2 * related.shared_tokens >= input_tokens
        and started_at - related.past_call.started_at <= related.past_call.ttl_seconds
        for related in evidence.related_calls
    )
