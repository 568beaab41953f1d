"""Misses because the content of the prompt changed before its end."""

from __future__ import annotations

from typing import Final

from promptcache.diagnosis.compare import FORM_HINT
from promptcache.diagnosis.evidence import CacheMiss, Evidence
from promptcache.diagnosis.explanation import Explanation, MissLocation
from promptcache.diagnosis.missed_tokens import ESTIMATE_TOLERANCE

_REPEATED_BREAKS: Final = 3
"""From this many breaks in a row at one location on, an ambiguous change counts as a break."""


def explain_by_changed_content(evidence: Evidence, miss: CacheMiss | None) -> Explanation | None:
    """Explain a miss by changed tools, system prompt or history.

    An ambiguous change (it could be another program) counts only if it repeats at one location. The
    same text in another form counts only if the read ends there.
    """
    if miss is None or miss.related_call.difference.kind != "break":
        return None
    related, difference = miss.related_call, miss.related_call.difference
    location = (difference.section, difference.index)
    past_call = related.past_call
    repeats = past_call.break_count if past_call.break_location == location else 0
    if (
        difference.is_ambiguous
        and not difference.is_same_conversation
        and repeats + 1 < _REPEATED_BREAKS
    ):
        return None
    if difference.hint == FORM_HINT and not _read_ends_at_change(evidence, miss):
        return None
    confidence = 0.7 if difference.reason == "volatile_token" else 0.95
    return Explanation(
        difference.reason or "unknown",
        miss.missed_tokens,
        0.9 if repeats else confidence,
        related,
        MissLocation(difference.section, difference.index, difference.offset, difference.hint),
    )


def _read_ends_at_change(evidence: Evidence, miss: CacheMiss) -> bool:
    """Return whether the read ends at the change: the provider then distinguishes the two forms."""
    shared_tokens = miss.related_call.shared_tokens
    error = evidence.rule.granularity + ESTIMATE_TOLERANCE * shared_tokens
    return 0 < evidence.cache_read_tokens <= shared_tokens + error
