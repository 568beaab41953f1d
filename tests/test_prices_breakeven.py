"""Break-even requests equal the worked examples, and hit rates equal a simulation."""

from __future__ import annotations

import random

import pytest

from promptcache.prices.breakeven import (
    compare_caching_options,
    expected_hit_rate,
    requests_until_storage_pays,
    requests_until_write_pays,
)
from promptcache.prices.rates import Rates


@pytest.mark.parametrize(("write", "number"), [(1.25, 2), (2, 3), (2.5, 3), (1, 2), (0.05, 1)])
def test_requests_until_a_write_pays(write: float, number: int) -> None:
    """S0-breakeven: 1.25x pays with 2 requests, 2x and 2.5x with 3, at reads of 0.1x."""
    assert requests_until_write_pays(3e-6, 0.3e-6, write * 3e-6) == number


def test_an_equal_price_needs_one_more_request() -> None:
    """(w - r) / (1 - r) = 2 exactly: two requests cost the same, the third saves."""
    assert requests_until_write_pays(1.0, 0.5, 1.5) == 3


def test_reads_without_discount_never_pay() -> None:
    assert requests_until_write_pays(1.0, 1.0, 1.25) is None
    assert requests_until_storage_pays(1.0, 1.0, 1.0) is None


def test_requests_until_a_stored_cache_pays() -> None:
    """S1-gemini31pro: N > (2 + 4.5) / (2 - 0.2) = 3.61, so 4 requests within the hour."""
    assert requests_until_storage_pays(2.0, 0.2, 4.5) == 4
    assert requests_until_storage_pays(2.0, 0.2, 4.5, hours=2) == 7


def simulate_hit_rate(per_hour: float, seconds: int) -> float:
    """Return the share of independent requests that hit. Each request starts the TTL again."""
    source = random.Random(4711)
    gaps = [source.expovariate(per_hour / 3600) for _ in range(40_000)]
    return sum(gap <= seconds for gap in gaps) / len(gaps)


@pytest.mark.parametrize(
    ("ttl", "seconds"), [("5m", 300), ("30m", 1800), ("1h", 3600), ("12h", 43_200)]
)
@pytest.mark.parametrize("per_hour", [0.05, 1, 12, 200])
def test_the_expected_hit_rate_of_independent_requests(
    ttl: str, seconds: int, per_hour: float
) -> None:
    assert expected_hit_rate(per_hour, ttl, steady=False) == pytest.approx(
        simulate_hit_rate(per_hour, seconds), abs=0.01
    )


CLAUDE = Rates(3e-6, 0.3e-6, 15e-6, {"5m": 3.75e-6, "1h": 6e-6})
OPENAI = Rates(2e-6, 0.2e-6, 10e-6, {"30m": 2.5e-6, "12h": 5e-6})


@pytest.mark.parametrize(
    ("rates", "per_hour", "steady", "best"),
    [
        (CLAUDE, 0.1, False, "none"),
        (CLAUDE, 12, False, "1h"),
        (CLAUDE, 12, True, "5m"),  # exactly every five minutes is within the TTL
        (CLAUDE, 11.9, True, "1h"),
        (CLAUDE, 0.9, True, "none"),
        (CLAUDE, 500, False, "5m"),
        (OPENAI, 2, True, "30m"),
        (OPENAI, 0.1, True, "12h"),
        (OPENAI, 0.5, False, "12h"),
        (OPENAI, 0.01, False, "none"),
        (Rates(1e-6, None, 2e-6, {"5m": 1e-6}), 9, False, "none"),
    ],
)
def test_the_cheapest_ttl_comes_first(
    rates: Rates, per_hour: float, steady: bool, best: str
) -> None:
    options = compare_caching_options(rates, per_hour, steady=steady)
    assert options[0].ttl == best
    assert [option.usd_per_token for option in options] == sorted(
        option.usd_per_token for option in options
    )
