"""Misses because the cache entry expired."""

from __future__ import annotations

from typing import Final

from promptcache.diagnosis.evidence import CacheMiss, Evidence
from promptcache.diagnosis.explanation import Explanation
from promptcache.diagnosis.streaks import EXPIRY_LOCATION

_REPEATED_EXPIRIES: Final = 5
"""After this many expiries in a row, the prefix is used too rarely."""


def explain_by_expiry(evidence: Evidence, miss: CacheMiss | None) -> Explanation | None:
    """Explain a miss after an idle time longer than the TTL, with the same parameters.

    A read in spite of a structural break shows that the entry had not expired.
    """
    if miss is None:
        return None
    related, past_call = miss.related_call, miss.related_call.past_call
    idle_seconds = evidence.call.started_at - past_call.started_at
    if idle_seconds <= past_call.ttl_seconds or evidence.has_changed_params(related):
        return None
    if related.difference.kind == "break" and evidence.usage.cache_read_tokens:
        return None
    is_rare = (
        past_call.break_location == EXPIRY_LOCATION
        and past_call.break_count + 1 >= _REPEATED_EXPIRIES
    )
    reason = "low_volume" if is_rare else "ttl_expired"
    return Explanation(reason, miss.missed_tokens, evidence.rule.expiry_confidence, related)
