"""The table of reasons in docs/specs/diagnosis.md, `EXPLANATIONS` and `MISS_REASONS` agree."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

from promptcache.diagnosis import diagnosis
from promptcache.diagnosis.evidence import CacheMiss, Evidence
from promptcache.diagnosis.explanation import Explanation
from promptcache.diagnosis.explanations import EXPLANATIONS, Explain, find_best_explanation
from promptcache.diagnosis.explanations.params import explain_by_changed_parameter
from promptcache.diagnosis.miss_reasons import MISS_REASONS, REASON_OF_PARAM
from tests.breaks.apis import APIS
from tests.breaks.more_mutators import mutators
from tests.breaks.run import play_conversation

SPECIFICATION = Path(__file__).parent.parent / "docs" / "specs" / "diagnosis.md"
NOT_ON_A_CALL = {"write_never_read"}
"""Reasons that are reported as a metric only, and never on a call."""


def specified_reasons() -> dict[str, set[str]]:
    """Return the reasons of each explanation, in the order of the table."""
    rows = re.findall(r"^\| \d+ \| `(\w+)` \| (.+?) \|", SPECIFICATION.read_text(), re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", reasons)) for name, reasons in rows}


def test_the_specification_lists_the_explanations_in_their_order() -> None:
    assert [*specified_reasons()] == [explanation.__name__ for explanation in EXPLANATIONS]


def test_the_specification_lists_all_miss_reasons() -> None:
    listed = set[str]().union(*specified_reasons().values())
    assert listed == {*MISS_REASONS} - NOT_ON_A_CALL
    assert {*REASON_OF_PARAM.values()} <= specified_reasons()[explain_by_changed_parameter.__name__]
    assert all(f"`{reason}`" in SPECIFICATION.read_text() for reason in NOT_ON_A_CALL)


def test_an_explanation_gives_only_the_reasons_that_are_specified_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reasons_by_explanation = defaultdict[str, set[str]](set)

    def recorded(explanation: Explain) -> Explain:
        def record(evidence: Evidence, miss: CacheMiss | None) -> Explanation | None:
            explanation_given = explanation(evidence, miss)
            if explanation_given is not None:
                reasons_by_explanation[explanation.__name__].add(explanation_given.reason)
            return explanation_given

        return record

    def explain_recorded(
        evidence: Evidence, explanations: tuple[Explain, ...] = EXPLANATIONS
    ) -> Explanation | None:
        return find_best_explanation(
            evidence, tuple(recorded(explanation) for explanation in explanations)
        )

    monkeypatch.setattr(diagnosis, "find_best_explanation", explain_recorded)
    api = next(api for api in APIS if api.writes)
    for name in mutators():
        for _ in play_conversation(name, api, seed=1):
            pass
    specified = specified_reasons()
    assert {
        name: reasons - specified[name] for name, reasons in reasons_by_explanation.items()
    } == {name: set[str]() for name in reasons_by_explanation}
    assert len(reasons_by_explanation) >= len(EXPLANATIONS) // 2
