"""Find the cheapest way to place breakpoints by trying all, on the emulator.

Tries every subset of layer ends (static, shared, previous turn, latest turn), each TTL, and on GPT
the provider's own breakpoint. Imports nothing of the harness, so that it can judge it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, NamedTuple

from promptcache_emulator.clock import Clock
from promptcache_emulator.engine import Emulator
from tests.oracle.api_variants import Variant
from tests.oracle.layout_requests import build_request
from tests.oracle.layout_workloads import Call, answer_parts, question_parts

PLACES: Final = ("static", "shared", "previous", "latest")
READ: Final = 0.1
WRITE: Final[Mapping[str, float]] = {"5m": 1.25, "1h": 2.0, "30m": 1.25, "12h": 2.5}


class Policy(NamedTuple):
    """Where breakpoints stand, with the TTL of the static layer and of all others."""

    places: tuple[str, ...]
    head_ttl: str
    tail_ttl: str
    is_implicit: bool = False

    def ttl_of(self, place: str) -> str | None:
        """Return the TTL of the breakpoint at a place, None if there is none."""
        if place not in self.places:
            return None
        return self.head_ttl if place in ("static", "shared") else self.tail_ttl


@dataclass
class Meter:
    """Sends requests to an emulator and sums what they cost, relative to plain input."""

    variant: Variant

    def __post_init__(self) -> None:
        self.clock = Clock(self.variant.start)
        self.emulator = Emulator(self.clock, self.variant.rules)

    def send(self, model: str, body: Mapping[str, Any]) -> None:
        """Send a request. Fail if the provider refuses it."""
        path = self.variant.path.format(model=model)
        raw = json.dumps(body).encode()
        response, _ = self.emulator.handle_request("POST", path, raw, {"x-api-key": "k"}, {})
        assert response.status == 200, response.body
        response.commit()

    def relative_cost(self) -> float:
        results = [record.result for record in self.emulator.records]
        cost = sum(
            result.uncached_tokens
            + READ * result.cache_read_tokens
            + sum(WRITE[ttl] * count for ttl, count in result.cache_write_by_ttl.items())
            for result in results
        )
        return cost / sum(result.input_tokens for result in results)


def policies(variant: Variant, places: Iterable[str]) -> Iterator[Policy]:
    """Yield every policy of an API that differs from the others at the places of a workload."""
    subsets = [
        chosen for size in range(5) for chosen in combinations(places, size) if variant.marks
    ]
    for chosen in subsets:
        has_head = not {"static", "shared"}.isdisjoint(chosen)
        has_tail = not {"previous", "latest"}.isdisjoint(chosen)
        for at, head in enumerate(variant.marks if has_head else variant.marks[:1]):
            # A longer TTL may not stand behind a shorter one.
            tails = variant.marks[: at + 1] if has_head else variant.marks
            for tail in tails if has_tail else tails[:1]:
                yield Policy(chosen, head, tail)
    if variant.form in ("chat", "responses") or not variant.marks:
        yield Policy((), "", "", is_implicit=True)


def find_optimum(variant: Variant, calls: Iterable[Call]) -> tuple[float, Policy]:
    """Return the lowest relative cost, and the policy that reaches it."""
    listed = list(calls)
    places = ["static", *(["shared"] if listed[0].shared else [])]
    has_turns = len({call.conversation for call in listed}) < len(listed)
    places += ["previous", "latest"] if has_turns else ["latest"]
    return min(
        (run_policy(variant, listed, policy), policy) for policy in policies(variant, places)
    )


def run_policy(variant: Variant, calls: Iterable[Call], policy: Policy) -> float:
    """Return what the calls cost under a policy, relative to plain input."""
    meter = Meter(variant)
    histories: dict[int, list[tuple[str, list[str]]]] = {}
    for call in calls:
        meter.clock.advance(call.gap)
        history = histories.setdefault(call.conversation, [])
        marks = {place: ttl for place in PLACES if (ttl := policy.ttl_of(place))}
        body = build_request(variant, call, history, marks, is_implicit=policy.is_implicit)
        meter.send(variant.models[call.model], body)
        parts = [call.context] if call.context else []
        history.append(("user", [*parts, *question_parts(call)]))
        history.append(("assistant", answer_parts(call)))
    return meter.relative_cost()
