"""When a cache write pays, and which TTL is the cheapest. Pure; the formulas are in `docs/specs/cost.md`, section 9."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from promptcache.model import TTL_SECONDS
from promptcache.prices.rates import Rates

_ROUNDING_TOLERANCE: Final = 1e-9
"""Keeps a ratio that is whole in decimal from falling on the wrong side of it in binary."""


@final
@dataclass(frozen=True, slots=True)
class CachingOption:
    """What caching with one TTL costs at a request rate. `ttl` is `none` for not caching, `stored` for a named cache of
    one hour, made anew each hour.

    `hit_rate` is the share of requests that find the prefix; `usd_per_token` is USD per prefix token and request; `requests_until_write_pays` is
    the first number of requests within the TTL, the writing one included (but not the making of a stored cache), that
    is cheaper than not caching.
    """

    ttl: str
    hit_rate: float
    usd_per_token: float
    pays_after: int | None


def first_integer_above(bound: float) -> int:
    """The smallest number of requests above `bound`."""
    return max(1, math.floor(bound + _ROUNDING_TOLERANCE) + 1)


def requests_until_write_pays(
    input_price: float, cache_read_price: float, cache_write_price: float
) -> int | None:
    """After how many requests (one write, the rest reads) a write has paid: the first N > (w - r) / (1 - r).

    None where reading saves nothing, so that no write ever pays.
    """
    return (
        first_integer_above(
            (cache_write_price - cache_read_price) / (input_price - cache_read_price)
        )
        if cache_read_price < input_price
        else None
    )


def requests_until_storage_pays(
    input_price: float, cache_read_price: float, storage_price: float, hours: float = 1.0
) -> int | None:
    """How many requests within `hours` make a stored cache pay: N > (p_in + hours * s) / (p_in - p_read).

    The cache is created once, at the input price; `storage_price` is USD per token-hour.
    """
    return (
        first_integer_above(
            (input_price + hours * storage_price) / (input_price - cache_read_price)
        )
        if cache_read_price < input_price
        else None
    )


def expected_hit_rate(requests_per_hour: float, ttl: str, *, steady: bool) -> float:
    """The share of requests that come within the TTL of the one before: for steady traffic all or none of them,
    for independent arrivals 1 - exp(-rate x TTL), as every use starts the TTL anew."""
    seconds = TTL_SECONDS[ttl]
    if steady:
        return 1.0 if requests_per_hour * seconds >= 3600 else 0.0
    return -math.expm1(-requests_per_hour * seconds / 3600)


def compare_caching_options(
    rates: Rates, requests_per_hour: float, *, steady: bool = False
) -> list[CachingOption]:
    """Every TTL that has a price, a stored cache, and not caching, cheapest first; on a tie the shorter TTL."""
    p_in, p_read = rates.input_price or 0.0, rates.cache_read_price
    found = [CachingOption("none", 0.0, p_in, None)]
    for ttl, p_write in _prices_of_known_ttls(rates.cache_write_prices).items():
        if p_read is not None:
            hits = expected_hit_rate(requests_per_hour, ttl, steady=steady)
            found.append(
                CachingOption(
                    ttl,
                    hits,
                    hits * p_read + (1 - hits) * p_write,
                    requests_until_write_pays(p_in, p_read, p_write),
                )
            )
    if rates.storage_price is not None and p_read is not None and requests_per_hour > 0:
        cost = (p_in + rates.storage_price) / requests_per_hour + p_read
        found.append(
            CachingOption(
                "stored", 1.0, cost, requests_until_storage_pays(p_in, p_read, rates.storage_price)
            )
        )
    return sorted(found, key=lambda choice: choice.usd_per_token)


def is_caching_automatic(rates: Rates) -> bool:
    """Whether reading is cheaper and nothing is charged for writing or keeping: the provider caches by itself."""
    cheaper = (
        rates.input_price is not None
        and rates.cache_read_price is not None
        and rates.cache_read_price < rates.input_price
    )
    return cheaper and not rates.cache_write_prices and rates.storage_price is None


def _prices_of_known_ttls(writes: Mapping[str, float]) -> dict[str, float]:
    return {ttl: writes[ttl] for ttl in TTL_SECONDS if ttl in writes}
