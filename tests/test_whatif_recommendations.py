"""Pings follow a closed form, and what is recommended on one half does not lose on the other."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import pytest

from promptcache.cli.whatif_output import find_recommended
from promptcache.cli.whatif_policies import list_usual_policies
from promptcache_exporters.replay.policy import Pings, Policy
from promptcache_exporters.replay.replay import replay
from promptcache_exporters.replay.traffic import RecordedCall, Traffic
from tests.support.recorded_traffic import PRICES, make_call

PING_SECONDS: Final = 280.0
TTL_SECONDS: Final = 300.0
MAX_PINGS: Final = 8
TOKENS: Final = 2000


@dataclass(frozen=True)
class GapLaw:
    """A distribution of gaps in seconds: the share that is longer, and the gap at a quantile."""

    share_above: Callable[[float], float]
    quantile: Callable[[float], float]


LAWS: Final = {
    "exponential": GapLaw(lambda x: math.exp(-x / 600), lambda q: -600 * math.log(1 - q)),
    "uniform": GapLaw(lambda x: max(0.0, 1 - x / 1500), lambda q: 1500 * q),
    "heavy tail": GapLaw(lambda x: min(1.0, 150 / x), lambda q: 150 / (1 - q)),
}


def expected_usd(law: GapLaw, count: int) -> float:
    """Return the cost of a call and of the pings before it, by the closed form."""
    ping = TOKENS * PRICES.read + PRICES.output
    pings = sum(law.share_above(PING_SECONDS * number) for number in range(1, count + 1))
    cold = law.share_above(PING_SECONDS * count + TTL_SECONDS)
    return pings * ping + TOKENS * (PRICES.read * (1 - cold) + PRICES.writes["5m"] * cold)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_the_best_number_of_pings_is_that_of_the_closed_form(law: GapLaw) -> None:
    """The clock of the pings starts with the request: its answer takes 20 s here."""
    gaps = [law.quantile((number + 0.5) / 2000) for number in range(2000)]
    random.Random(1).shuffle(gaps)
    at, calls = 0.0, list[RecordedCall]()
    for gap in gaps:
        calls.append(make_call(at, "ab", visible_after=20.0 if gap > 20 else 0.0))
        at += gap
    traffic = Traffic(calls)
    counts = range(MAX_PINGS + 1)
    usd = [
        replay(traffic, Policy(pings=Pings(PING_SECONDS, count) if count else None)).usd
        for count in counts
    ]
    expected = [expected_usd(law, count) for count in counts]
    assert usd.index(min(usd)) == expected.index(min(expected))
    for found, wanted in zip(usd, expected, strict=True):
        assert found / len(gaps) == pytest.approx(wanted, rel=0.02)


def make_workload(seed: int) -> list[RecordedCall]:
    """Return conversations whose pauses, static parts and numbers of turns follow the seed."""
    chance = random.Random(seed)
    typical_gap = chance.choice((60, 200, 400, 900, 2500, 9000))
    shared, turns = chance.choice((1, 3, 8)), chance.choice((1, 4, 10))
    calls: list[RecordedCall] = []
    for conversation in range(120):
        at = conversation * typical_gap * chance.random() * 2
        for turn in range(turns):
            calls.append(hold_turn(at, f"s{conversation % shared}", conversation, turn))
            at += chance.expovariate(1 / typical_gap)
    return sorted(calls, key=lambda call: call.started_at)


def hold_turn(at: float, system: str, conversation: int, turn: int) -> RecordedCall:
    links = (system, *(f"{system} {conversation} {n}" for n in range(2 * turn + 1)))
    call = make_call(at, "x" * len(links))
    return replace(call, links=links, conversation=conversation)


@pytest.mark.parametrize("seed", range(10))
def test_what_is_recommended_on_one_half_does_not_lose_on_the_other(seed: int) -> None:
    """A recommendation is due where the best of the usual policies saves more than 5 %."""
    calls = make_workload(seed)
    middle = len(calls) // 2
    seen, later = Traffic(calls[:middle]), Traffic(calls[middle:])
    outcomes = [replay(seen, policy) for policy in [Policy(), *list_usual_policies(seen)]]
    recommended = find_recommended(outcomes)
    best = min(outcome.usd for outcome in outcomes)
    if recommended is None:
        assert best >= 0.95 * outcomes[0].usd
    else:
        assert replay(later, recommended.policy).usd <= replay(later, Policy()).usd
