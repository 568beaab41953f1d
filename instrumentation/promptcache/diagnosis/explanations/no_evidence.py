"""The reasons that remain when no other one applies."""

from __future__ import annotations

from promptcache.diagnosis.compare import FORM_HINT
from promptcache.diagnosis.evidence import CacheMiss, Evidence
from promptcache.diagnosis.explanation import Explanation
from promptcache.diagnosis.explanations.provider_side import is_prefix_and_params_unchanged


def explain_as_unknown(evidence: Evidence, miss: CacheMiss | None) -> Explanation | None:
    """Report a miss without evidence of its reason: content and parameters are the same.

    The content may have another form if the read does not end there.
    """
    if miss is None:
        return None
    related = miss.related_call
    is_other_form = related.difference.kind == "break" and related.difference.hint == FORM_HINT
    if not is_other_form and not is_prefix_and_params_unchanged(evidence, miss):
        return None
    return Explanation("unknown", miss.missed_tokens, 0.3, related)


def explain_as_cold_start(evidence: Evidence, miss: CacheMiss | None) -> Explanation | None:
    """Explain a call that read nothing and has no related call of which it missed tokens."""
    if miss is not None or evidence.usage.cache_read_tokens:
        return None
    return Explanation("cold_start", None, 0.5)
