"""The reasons of a cache miss, in the order of their precedence (docs/specs/diagnosis.md,
"Reasons").

Each entry of `EXPLANATIONS` is a row of the specification's table. It receives the evidence and one
miss: a related call and the tokens that the present call missed of it. The miss is None after all
related calls were tried. To add a reason, write such a function, add it here, and add a row to
`miss_reasons.py` and to the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from promptcache.diagnosis.evidence import CacheMiss, Evidence
from promptcache.diagnosis.explanation import Explanation
from promptcache.diagnosis.explanations.breakpoints import (
    explain_by_missing_static_breakpoint,
    explain_by_too_many_breakpoints,
    explain_by_unreachable_breakpoint,
)
from promptcache.diagnosis.explanations.expiry import explain_by_expiry
from promptcache.diagnosis.explanations.no_evidence import explain_as_cold_start, explain_as_unknown
from promptcache.diagnosis.explanations.params import (
    explain_by_changed_parameter,
    explain_by_per_user_cache_key,
)
from promptcache.diagnosis.explanations.provider_side import (
    explain_by_changed_cache_scope,
    explain_by_concurrent_call,
    explain_by_routing_overflow,
)
from promptcache.diagnosis.explanations.structure import explain_by_changed_content
from promptcache.diagnosis.explanations.uncached import (
    explain_by_caching_not_requested,
    explain_by_prompt_below_minimum,
)
from promptcache.diagnosis.missed_tokens import find_misses

Explain: TypeAlias = Callable[[Evidence, "CacheMiss | None"], "Explanation | None"]

EXPLANATIONS: Final[tuple[Explain, ...]] = (
    explain_by_caching_not_requested,
    explain_by_prompt_below_minimum,
    explain_by_expiry,
    explain_by_changed_parameter,
    explain_by_changed_content,
    explain_by_per_user_cache_key,
    explain_by_too_many_breakpoints,
    explain_by_missing_static_breakpoint,
    explain_by_unreachable_breakpoint,
    explain_by_routing_overflow,
    explain_by_concurrent_call,
    explain_by_changed_cache_scope,
    explain_as_unknown,
    explain_as_cold_start,
)

EXPLANATIONS_IF_CACHED: Final = tuple(
    explanation
    for explanation in EXPLANATIONS
    if explanation not in (explain_by_caching_not_requested, explain_by_prompt_below_minimum)
)
"""The explanations without those for which the provider caches nothing."""


def find_best_explanation(
    evidence: Evidence, explanations: tuple[Explain, ...] = EXPLANATIONS
) -> Explanation | None:
    """Return the first of `explanations` that applies; None if nothing was missed.

    Where several related calls were missed, the explanation with the most missed tokens counts; of
    equal ones that of the latest call, since an older entry may have expired besides.
    """
    misses = sorted(find_misses(evidence), key=_start_of_related_call, reverse=True)
    if evidence.usage.cache_read_tokens and not misses and not evidence.concurrent_calls:
        return None
    best: Explanation | None = None
    for miss in misses:
        if best is None or miss.missed_tokens > (best.missed_tokens or 0):
            best = _first_explanation_that_applies(evidence, miss, explanations) or best
    return best or _first_explanation_that_applies(evidence, None, explanations)


def _start_of_related_call(miss: CacheMiss) -> float:
    return miss.related_call.past_call.started_at


def _first_explanation_that_applies(
    evidence: Evidence, miss: CacheMiss | None, explanations: tuple[Explain, ...]
) -> Explanation | None:
    for explanation in explanations:
        if (found := explanation(evidence, miss)) is not None:
            return found
    return None
