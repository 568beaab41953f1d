"""When a cache write pays, and which TTL is the cheapest. Pure. See `docs/specs/cost.md`, section
9."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from promptcache.model import TTL_SECONDS
from promptcache.prices.rates import Rates

_ROUNDING_TOLERANCE: Final = 1e-9
"""A ratio that is a whole number in decimal may be slightly less or more in binary."""


@final
@dataclass(frozen=True, slots=True)
class CachingOption:
    """The cost of caching with one TTL at a given request rate.

    `ttl` is `none` for no caching, `stored` for an explicit cache of one hour that is created anew
    each hour. `hit_rate` is the share of requests that find the prefix. `usd_per_token` is USD per
    prefix token and request. `pays_after` is the first number of requests within the TTL that is
    cheaper than no caching, None if there is none. It includes the writing request, but not the
    creation of a stored cache.
    """

    ttl: str
    hit_rate: float
    usd_per_token: float
    pays_after: int | None


def min_requests_above(bound: float) -> int:
    """Return the smallest whole number of requests above `bound`, at least 1."""
    return max(1, math.floor(bound + _ROUNDING_TOLERANCE) + 1)


def requests_until_write_pays(
    input_price: float, cache_read_price: float, cache_write_price: float
) -> int | None:
    """Return the first number of requests, N > (w - r) / (1 - r), for which a cache write pays.

    One of the requests writes, the others read. The result is None if reads save nothing.
    """
    if cache_read_price >= input_price:
        return None
    saved_by_read = input_price - cache_read_price
    return min_requests_above((cache_write_price - cache_read_price) / saved_by_read)


def requests_until_storage_pays(
    input_price: float, cache_read_price: float, storage_price: float, hours: float = 1.0
) -> int | None:
    """Return the first number of requests within `hours` for which a stored cache pays.

    N > (p_in + hours * s) / (p_in - p_read). The cache is created once, at the input price.
    `storage_price` is in USD per token-hour. The result is None if reads save nothing.
    """
    if cache_read_price >= input_price:
        return None
    saved_by_read = input_price - cache_read_price
    return min_requests_above((input_price + hours * storage_price) / saved_by_read)


def expected_hit_rate(requests_per_hour: float, ttl: str, *, steady: bool) -> float:
    """Return the share of requests that arrive within the TTL of the request before.

    Every use starts the TTL anew. For steady traffic all or no requests find the cache, for
    independent arrivals 1 - exp(-rate x TTL).
    """
    seconds = TTL_SECONDS[ttl]
    if steady:
        return 1.0 if requests_per_hour * seconds >= 3600 else 0.0
    return -math.expm1(-requests_per_hour * seconds / 3600)


def compare_caching_options(
    rates: Rates, requests_per_hour: float, *, steady: bool = False
) -> list[CachingOption]:
    """Return the options, the cheapest first: no caching, each TTL with a price, a stored cache.

    Of two options with the same cost the shorter TTL comes first.
    """
    input_price, read_price = rates.input_price or 0.0, rates.cache_read_price
    options = [CachingOption("none", 0.0, input_price, None)]
    if read_price is None:
        return options
    for ttl, write_price in _prices_of_known_ttls(rates.cache_write_prices).items():
        hit_rate = expected_hit_rate(requests_per_hour, ttl, steady=steady)
        cost = hit_rate * read_price + (1 - hit_rate) * write_price
        pays_after = requests_until_write_pays(input_price, read_price, write_price)
        options.append(CachingOption(ttl, hit_rate, cost, pays_after))
    if rates.storage_price is not None and requests_per_hour > 0:
        cost = (input_price + rates.storage_price) / requests_per_hour + read_price
        pays_after = requests_until_storage_pays(input_price, read_price, rates.storage_price)
        options.append(CachingOption("stored", 1.0, cost, pays_after))
    return sorted(options, key=lambda option: option.usd_per_token)


def is_caching_automatic(rates: Rates) -> bool:
    """Return whether the provider caches by itself.

    That is so if reads are cheaper than plain input, and writes and storage cost nothing.
    """
    is_read_cheaper = (
        rates.input_price is not None
        and rates.cache_read_price is not None
        and rates.cache_read_price < rates.input_price
    )
    return is_read_cheaper and not rates.cache_write_prices and rates.storage_price is None


def _prices_of_known_ttls(write_prices: Mapping[str, float]) -> dict[str, float]:
    return {ttl: write_prices[ttl] for ttl in TTL_SECONDS if ttl in write_prices}
