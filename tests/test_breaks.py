"""Diagnose one seed of each labelled break. `make diagnosis-score` prints the full score."""

from __future__ import annotations

import pytest

from tests.breaks.more_mutators import mutators
from tests.breaks.score import (
    HELD_OUT_SEED,
    Tally,
    main,
    meets_goals,
    share,
    sum_tallies,
    tally_mutators,
)


@pytest.mark.parametrize("name", sorted(mutators()))
def test_reason_and_place_of_a_break_are_diagnosed(name: str) -> None:
    tally = sum_tallies(tally_mutators([HELD_OUT_SEED + 77], only=name))
    assert tally.blamed == 0
    assert share(tally.cause, tally.broken) >= 0.95
    assert share(tally.region, tally.placed) >= 0.95
    assert share(tally.near, tally.located) == 1.0
    assert name.startswith("=") or name == "tool choice" or tally.broken


def test_there_are_at_least_25_mutators() -> None:
    assert sum(not name.startswith("=") for name in mutators()) >= 25


@pytest.mark.parametrize(
    "rules",
    ["minimum=1536", "stretch=0.5", "endings=8,lookback=8", "implicit=latest", "implicit=pinned"],
)
def test_undocumented_cache_behaviour_causes_no_false_blame(rules: str) -> None:
    for name in ("time", "TTL lapse", "lookback", "= unbroken", "= auxiliary calls"):
        assert sum_tallies(tally_mutators([HELD_OUT_SEED + 78], rules, name)).blamed == 0


def test_the_score_command_prints_the_score_and_returns_zero(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--only", "uuid", "--seeds", "1", "--rules", ""]) == 0
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .startswith("region 1.0000  cause 1.0000  false blame 0")
    )


def test_a_tally_below_any_goal_is_not_good() -> None:
    assert meets_goals(Tally())
    assert not meets_goals(Tally(broken=10, cause=9))
    assert not meets_goals(Tally(blamed=1))
    assert not meets_goals(Tally(placed=10, region=9))
    assert not meets_goals(Tally(exact=[0.02]))
    assert not meets_goals(Tally(estimated=[0.2]))
