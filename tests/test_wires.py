"""Wire JSON as the field reports it, with the right usage and the right amount of each answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from promptcache.model import Cost, Request, ResponseFacts, Usage
from promptcache.prices import PriceBook
from promptcache.providers.registry import load_routes
from promptcache.providers.response_facts import NO_FACTS, merge_facts

CASES: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "fixtures/wires.json").read_text()
)
NOW: Final = datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp()


def read_answer(case: dict[str, Any]) -> tuple[Usage | None, Cost]:
    """Return usage and cost of the events of a case, as the invocation computes them."""
    wire = next(row.wire_format for row in load_routes() if row.wire_format.name == case["wire"])
    request = Request(
        case["wire"],
        case["provider"],
        "chat",
        case["model"],
        case.get("host"),
        443,
        len(case["events"]) > 1,
        case.get("body", {}),
        b"",
        NOW,
    )
    facts: ResponseFacts = NO_FACTS
    for event in case["events"]:
        if not wire.can_skip(event) and (found := wire.parse_event(event)) is not None:
            facts = merge_facts(facts, found)
    usage = wire.parse_usage(facts)
    return usage, PriceBook().compute_cost(request, facts, usage)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['kind']}: {case['name']}")
def test_usage_and_amount_of_an_answer_are_right(case: dict[str, Any]) -> None:
    usage, cost = read_answer(case)
    assert usage is not None
    found = usage._asdict() | {"inconsistencies": list(usage.inconsistencies)}
    assert {name: found[name] for name in case["usage"]} == case["usage"]
    if "amount" in case:
        expected = case["amount"]
        assert cost.amount == (None if expected is None else pytest.approx(expected, rel=1e-12))
    assert cost.unknown_reason == case.get("unknown", cost.unknown_reason)
