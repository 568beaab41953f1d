"""The list prices of a model, for plans and warnings."""

from __future__ import annotations

import time
from functools import lru_cache

from promptcache.prices import table
from promptcache.prices.book import PriceBook
from promptcache.prices.rates import Rates


@lru_cache(maxsize=1)
def _built_in_prices() -> PriceBook:
    return PriceBook()


def find_rates(provider: str, model: str, at: float | None = None) -> Rates | None:
    """Return the standard prices of a model in USD per token at `at` (epoch seconds, default now).

    The result is None if the price list does not have the model.
    """
    row = _built_in_prices().find_price_row(provider, (model,))
    if row is None:
        return None
    periods = row.periods_of_tier(table.STANDARD_TIER, 1.0)
    period = table.latest_period_in_force(periods, time.time() if at is None else at)
    return period.rates_by_band[0] if period else None


def rewrite_cost_usd(provider: str, model: str, tokens: int, ttl: str | None) -> float | None:
    """Return what `tokens` cost more if they are processed anew instead of read from the cache.

    `ttl` is the lifetime of the entry that is written; None where writes are free.
    """
    rates = find_rates(provider, model)
    if rates is None or rates.cache_read_price is None or rates.input_price is None:
        return None
    price = rates.cache_write_prices.get(ttl or "", rates.input_price)
    return tokens * (price - rates.cache_read_price)
