"""The outcome of a call agrees with the tokens that are published beside it."""

from __future__ import annotations

import pytest

from promptcache.model import Usage, Verdict
from promptcache.model.verdict import OUTCOMES
from promptcache.telemetry.outcome import fit_outcome

OUTCOMES_BY_READS = {
    None: {"unreported", "error", "prewarm"},
    0: {"miss", "cold", "not_requested", "below_minimum", "error", "prewarm"},
    320: {"hit", "partial", "error", "prewarm"},
}


@pytest.mark.parametrize("missed_tokens", [None, 500])
@pytest.mark.parametrize("reads", OUTCOMES_BY_READS)
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_outcome_agrees_with_its_tokens(
    outcome: str, reads: int | None, missed_tokens: int | None
) -> None:
    usage = Usage(1000, 1000 - (reads or 0), reads, None)
    verdict = Verdict(outcome, "unknown", missed_tokens=missed_tokens, prefix_family="f")  # type: ignore[arg-type]
    fitted = fit_outcome(verdict, usage)
    assert fitted.outcome in OUTCOMES_BY_READS[reads]
    assert fitted.prefix_family == "f"
    if outcome in OUTCOMES_BY_READS[reads]:
        assert fitted is verdict
    if fitted.outcome in ("hit", "unreported") and fitted is not verdict:
        assert (fitted.reason, fitted.missed_tokens) == (None, None)


def test_a_call_without_usage_keeps_its_verdict() -> None:
    verdict = Verdict("error")
    assert fit_outcome(verdict, None) is verdict
