"""The harness costs what the best of all placements costs. `make harness-bench` has all cases."""

from __future__ import annotations

import pytest

from promptcache.harness.names import Wire
from tests.oracle.harness_regret import run_harness
from tests.oracle.layout_optimum import Policy, find_optimum, run_policy
from tests.oracle.layout_workloads import WORKLOADS


@pytest.mark.parametrize(
    ("wire", "name"), [("anthropic", "chat with a clock"), ("responses", "one-shot RAG")]
)
def test_the_harness_is_within_two_per_cent_of_the_optimum(wire: Wire, name: str) -> None:
    optimum, _ = find_optimum(wire, WORKLOADS[name]())
    assert run_harness(wire, WORKLOADS[name]()) <= 1.02 * optimum


@pytest.mark.parametrize("rules", ["implicit=latest", "implicit=developer", "implicit=pinned"])
def test_the_harness_does_not_depend_on_the_reading_of_implicit_mode(rules: str) -> None:
    calls = list(WORKLOADS["one-shot RAG"]())
    costs = {rule: run_harness("responses", calls, rule) for rule in (rules, "implicit=latest")}
    assert len({round(cost, 3) for cost in costs.values()}) == 1
    implicit = run_policy("responses", calls, Policy((), "30m", "30m", is_implicit=True), rules)
    assert costs[rules] < implicit
