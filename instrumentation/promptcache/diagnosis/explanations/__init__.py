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

from promptcache.diagnosis.evidence import Evidence, Miss
from promptcache.diagnosis.explanation import Explanation
from promptcache.diagnosis.explanations.breakpoints import (
    breakpoint_out_of_reach,
    static_breakpoint_missing,
    too_many_breakpoints,
)
from promptcache.diagnosis.explanations.expiry import expired
from promptcache.diagnosis.explanations.no_evidence import cold_start, unknown
from promptcache.diagnosis.explanations.params import parameter_changed, per_user_key
from promptcache.diagnosis.explanations.provider_side import (
    concurrent_cold_race,
    routing_overflow,
    scope_changed,
)
from promptcache.diagnosis.explanations.structure import structural_break
from promptcache.diagnosis.explanations.uncached import below_minimum, caching_not_requested
from promptcache.diagnosis.missed_tokens import find_misses

Explain: TypeAlias = Callable[[Evidence, "Miss | None"], "Explanation | None"]

EXPLANATIONS: Final[tuple[Explain, ...]] = (
    caching_not_requested,
    below_minimum,
    expired,
    parameter_changed,
    structural_break,
    per_user_key,
    too_many_breakpoints,
    static_breakpoint_missing,
    breakpoint_out_of_reach,
    routing_overflow,
    concurrent_cold_race,
    scope_changed,
    unknown,
    cold_start,
)

EXPLANATIONS_IF_CACHED: Final = tuple(
    explanation
    for explanation in EXPLANATIONS
    if explanation not in (caching_not_requested, below_minimum)
)
"""The explanations without those for which the provider caches nothing."""


def explain(
    evidence: Evidence, explanations: tuple[Explain, ...] = EXPLANATIONS
) -> Explanation | None:
    """Return the first of `explanations` that applies; None if nothing was missed.

    Where several related calls were missed, the explanation with the most missed tokens counts.
    """
    misses = find_misses(evidence)
    if evidence.usage.cache_read_tokens and not misses and not evidence.concurrent_calls:
        return None
    best: Explanation | None = None
    for miss in misses:
        if best is None or miss.missed_tokens > (best.missed_tokens or 0):
            best = _explain_miss(evidence, miss, explanations) or best
    return best or _explain_miss(evidence, None, explanations)


def _explain_miss(
    evidence: Evidence, miss: Miss | None, explanations: tuple[Explain, ...]
) -> Explanation | None:
    for explanation in explanations:
        if (found := explanation(evidence, miss)) is not None:
            return found
    return None
