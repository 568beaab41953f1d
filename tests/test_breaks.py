"""The labelled breaks, a seed of each: the whole score is `make diagnosis-score`."""

from __future__ import annotations

import pytest

from tests.breaks.more_mutators import mutators
from tests.breaks.score import HELD_OUT, Tally, good, main, share, tallies, total


@pytest.mark.parametrize("name", sorted(mutators()))
def test_a_break_is_found_named_and_placed(name: str) -> None:
    found = total(tallies([HELD_OUT + 77], only=name))
    assert found.blamed == 0
    assert share(found.cause, found.broken) >= 0.95
    assert share(found.region, found.placed) >= 0.95
    assert share(found.near, found.located) == 1.0
    assert name.startswith("=") or name == "tool choice" or found.broken


def test_there_are_enough_mutators() -> None:
    assert sum(not name.startswith("=") for name in mutators()) >= 25


@pytest.mark.parametrize(
    "rules",
    ["minimum=1536", "stretch=0.5", "endings=8,lookback=8", "implicit=latest", "implicit=pinned"],
)
def test_a_provider_that_departs_from_its_documentation_leads_to_no_false_blame(rules: str) -> None:
    for name in ("time", "TTL lapse", "lookback", "= unbroken", "= auxiliary calls"):
        assert total(tallies([HELD_OUT + 78], rules, name)).blamed == 0


def test_the_score_is_a_command_with_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "uuid", "--seeds", "1", "--rules", ""]) == 0
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .startswith("region 1.0000  cause 1.0000  false blame 0")
    )


def test_the_goals_can_be_missed() -> None:
    assert good(Tally())
    assert not good(Tally(broken=10, cause=9))
    assert not good(Tally(blamed=1))
    assert not good(Tally(placed=10, region=9))
    assert not good(Tally(exact=[0.02]))
    assert not good(Tally(estimated=[0.2]))
