"""Misses because a request parameter changed."""

from __future__ import annotations

from typing import Final

from promptcache.diagnosis.cache_params import LEVEL_ORDER, changed_invalidating_params
from promptcache.diagnosis.compare import PromptDifference
from promptcache.diagnosis.evidence import CacheMiss, Evidence, RelatedCall
from promptcache.diagnosis.explanation import Explanation, MissLocation
from promptcache.diagnosis.miss_reasons import REASON_OF_PARAM
from promptcache.providers.prompt import OTHER_PARAM, PARAM_NAMES

_SHARING_KEYS: Final = 3
"""From this many cache keys on a common prefix, the keys split a prefix that users share."""


def explain_by_changed_parameter(evidence: Evidence, miss: CacheMiss | None) -> Explanation | None:
    """Explain a miss by the changed parameter that invalidates the earliest section.

    It must invalidate a section at or before the break. On a branch, other parameters are another
    use of the prefix and no miss.
    """
    if miss is None or miss.related_call.difference.kind == "branch":
        return None
    related, difference = miss.related_call, miss.related_call.difference
    changed = changed_invalidating_params(
        evidence.call.cache_params, related.past_call.cache_params
    )
    if changed and changed[0][0] == "model" and is_other_lineage(evidence, related):
        return None
    if not changed:
        return _explain_by_changed_response_model(evidence, miss)
    name, level = changed[0]
    reason = _miss_reason_of_param(name)
    if difference.kind == "break" and (
        _is_break_before_level(difference, level) or difference.reason == reason
    ):
        return None
    if reason == "image_changed":
        has_image = any(param[0] == name for param in evidence.call.cache_params.params)
        location = MissLocation("messages", hint="image_added" if has_image else "image_removed")
        return Explanation(reason, miss.missed_tokens, 0.9, related, location)
    if name == "model":
        return Explanation(reason, miss.missed_tokens, 0.95, related, MissLocation("model"))
    location, parameter = MissLocation("params"), _displayed_name(name)
    return Explanation(reason, miss.missed_tokens, 0.9, related, location, parameter)


def explain_by_per_user_cache_key(evidence: Evidence, miss: CacheMiss | None) -> Explanation | None:
    """Explain a miss on a prefix that several cache keys share, if nothing but the key differs."""
    if miss is None or miss.related_call.difference.kind != "branch":
        return None
    related = miss.related_call
    changed = changed_invalidating_params(
        evidence.call.cache_params, related.past_call.cache_params
    )
    is_key_change = (
        len(changed) == 1 and _miss_reason_of_param(changed[0][0]) == "cache_key_changed"
    )
    if not is_key_change or related.cache_key_count < _SHARING_KEYS:
        return None
    return Explanation(
        "per_user_key_or_prefix",
        miss.missed_tokens,
        0.85,
        related,
        MissLocation("params"),
        _displayed_name(changed[0][0]),
    )


def is_other_lineage(evidence: Evidence, related: RelatedCall) -> bool:
    """Return whether a call to another model continues nothing: it reads that model's own cache.

    A read shows it. The same prompt once more is an ensemble, an evaluation or a fallback.
    """
    difference = related.difference
    is_repeated = difference.kind == "extends" and evidence.call.depth == related.past_call.depth
    is_continued = difference.is_same_conversation and not is_repeated
    return not is_continued or evidence.cache_read_tokens > 0


def _explain_by_changed_response_model(evidence: Evidence, miss: CacheMiss) -> Explanation | None:
    """Explain a miss by the model that the responses name, where the requests name the same."""
    related = miss.related_call
    here, there = evidence.call.response_model, related.past_call.response_model
    if related.difference.kind != "extends" or not here or not there or here == there:
        return None
    if is_other_lineage(evidence, related):
        return None
    return Explanation("model_changed", miss.missed_tokens, 0.7, related, MissLocation("model"))


def _displayed_name(param_name: str) -> str:
    return param_name if param_name in PARAM_NAMES else OTHER_PARAM


def _miss_reason_of_param(param_name: str) -> str:
    return (
        "model_changed"
        if param_name == "model"
        else REASON_OF_PARAM.get(param_name, "param_changed")
    )


def _is_break_before_level(difference: PromptDifference, level: str) -> bool:
    """Return whether a change at `level` invalidates less than the structural break."""
    return LEVEL_ORDER[difference.section or "messages"] < LEVEL_ORDER[level]
