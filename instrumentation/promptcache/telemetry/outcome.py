"""Keep the outcome of a call and its tokens in agreement."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from promptcache.model import Usage, Verdict

_WITHOUT_READS: Final = ("miss", "cold", "not_requested", "below_minimum", "unreported")
_WITH_REPORTED_READS: Final = ("hit", "partial", "miss", "cold", "not_requested", "below_minimum")


def fit_outcome(verdict: Verdict, usage: Usage | None) -> Verdict:
    """Return the verdict with an outcome that agrees with the usage that is published beside it.

    A verdict is made with the first usage of a stream; a later one may add or correct the reads.
    """
    if usage is None:
        return verdict
    reads, outcome = usage.cache_read_tokens, verdict.outcome
    if reads is None and outcome in _WITH_REPORTED_READS:
        return Verdict("unreported", prefix_family=verdict.prefix_family)
    if reads and outcome in _WITHOUT_READS:
        if outcome == "miss" and verdict.missed_tokens:
            return replace(verdict, outcome="partial")
        return Verdict("hit", prefix_family=verdict.prefix_family)
    if reads == 0 and outcome == "partial":
        return replace(verdict, outcome="miss")
    if reads == 0 and outcome in ("hit", "unreported"):
        return Verdict("cold", prefix_family=verdict.prefix_family)
    return verdict
