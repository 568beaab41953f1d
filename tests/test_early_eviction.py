"""What entries live for is fitted from the record, and applied to every policy."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Final

import pytest

from promptcache_exporters.replay.comparison import check_replay, compute_saving
from promptcache_exporters.replay.early_eviction import Return, fit_early_eviction
from promptcache_exporters.replay.policy import Policy
from promptcache_exporters.replay.replay import observe_early_eviction, replay
from promptcache_exporters.replay.traffic import RecordedCall, Traffic
from tests.support.recorded_traffic import make_call

GAPS: Final = (30, 100, 180, 230, 250, 290, 400, 1500, 2600)
TTL_SECONDS: Final = {"5m": 300.0, "1h": 3600.0}
STRETCH: Final = 0.8
EVICTED_SHARE: Final = 0.1


def draw_lifetime(chance: random.Random) -> float:
    """Return the share of its TTL that an entry lives in a cache that keeps no promise."""
    return chance.random() * STRETCH if chance.random() < EVICTED_SHARE else STRETCH


def hold_conversation(number: int, ttl: str, gaps: list[int], seed: int) -> list[RecordedCall]:
    """Return calls of one conversation that grows by a block each, with their true usage."""
    chance, at, calls = random.Random(f"{seed} {number} {ttl}"), 10.0 * number, list[RecordedCall]()
    entries: dict[int, float] = {}
    for turn, gap in enumerate(gaps):
        links = tuple(f"{number}:{n}" for n in range(turn + 3))
        call = make_call(at, "x" * len(links))
        alive = [depth for depth, until in entries.items() if at < until]
        found = max(alive, default=0)
        read = 1000 * found
        calls.append(
            replace(
                call,
                links=links,
                conversation=number,
                read_tokens=read,
                write_tokens={ttl: call.input_tokens - read},
                breakpoints=(call.breakpoints[0]._replace(ttl=ttl),),
            )
        )
        for depth in {found, len(links)} - {0}:
            entries[depth] = at + TTL_SECONDS[ttl] * draw_lifetime(chance)
        at += gap
    return calls


def record(ttl: str, seed: int, conversations: int = 100) -> Traffic:
    """Return the traffic of a seed, as a cache that evicts early would serve it with this TTL."""
    chance = random.Random(seed)
    gaps = [[chance.choice(GAPS) for _ in range(12)] for _ in range(conversations)]
    return Traffic(
        call
        for number, of_one in enumerate(gaps)
        for call in hold_conversation(number, ttl, of_one, seed)
    )


def test_the_interval_covers_what_a_second_run_saves() -> None:
    """The TTL is stretched by 0.8, and one entry in ten is evicted early."""
    covered, widths = 0, list[float]()
    runs = 10
    for seed in range(runs):
        before = observe_early_eviction(record("5m", seed))
        as_recorded = replay(before, Policy())
        assert check_replay(before, as_recorded).has_passed
        longer = replay(before, Policy("1h", {"messages": "1h"}))
        saving = compute_saving(as_recorded, longer)
        truth = sum(before.recorded_usd) - sum(record("1h", seed).recorded_usd)
        covered += saving.lower <= truth <= saving.upper
        widths.append((saving.upper - saving.lower) / 2 / saving.usd)
    assert covered >= 0.9 * runs
    assert sorted(widths)[runs // 2] <= 0.1


def test_without_the_fit_the_record_is_not_reproduced() -> None:
    traffic = record("5m", 0)
    assert not check_replay(traffic, replay(traffic, Policy())).has_passed


def test_a_fit_needs_two_hundred_returns() -> None:
    few = [Return(0.5, number % 5 > 0) for number in range(199)]
    assert not fit_early_eviction(few).is_known
    assert not fit_early_eviction(few).lifetimes
    found = fit_early_eviction([*few, Return(0.5, has_found=False)])
    assert found.is_known
    assert found.lifetimes


def test_a_model_that_is_wrong_half_of_the_time_is_not_explained_by_eviction() -> None:
    assert not fit_early_eviction([Return(0.5, n % 2 > 0) for n in range(999)]).is_known


def test_the_drawn_lifetimes_have_the_distribution_of_the_returns() -> None:
    chance = random.Random(3)
    returns = [
        Return(age, draw_lifetime(chance) > age) for age in (chance.random() for _ in range(5000))
    ]
    lifetimes = fit_early_eviction(returns).lifetimes
    for age in (0.2, 0.5, 0.7):
        share = sum(lifetime > age for lifetime in lifetimes) / len(lifetimes)
        assert share == pytest.approx(1 - EVICTED_SHARE * age / STRETCH, abs=0.03)
    assert max(lifetimes) == pytest.approx(STRETCH, abs=0.01)
