"""Format prices and amounts as price lists print them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from promptcache.prices.book import PricePlan
from promptcache.prices.rates import Rates
from promptcache.prices.table import PricePeriod

UNIT_NAMES: Final = {
    "usd_per_million": "per million tokens",
    "usd_per_million_token_hours": "per million token-hours",
    "usd_per_thousand_uses": "per 1,000 uses",
}
"""The unit of each group of prices in the JSON output."""


def round_usd(value: float) -> float:
    """Round an amount to 15 places, where binary arithmetic leaves its errors."""
    return round(value, 15)


def format_usd(value: float) -> str:
    """Format an amount with all its digits, at least two of them after the point."""
    whole, _, fraction = f"{value:.15f}".rstrip("0").partition(".")
    return f"{whole}.{fraction:<02}"


def group_prices_by_unit(rates: Rates) -> dict[str, dict[str, float]]:
    """Return the prices by unit (a key of UNIT_NAMES) and name, as price lists print them."""
    token_prices: dict[str, float | None] = {
        "input": rates.input_price,
        "read": rates.cache_read_price,
        "output": rates.output_price,
        **{f"write.{ttl}": price for ttl, price in rates.cache_write_prices.items()},
        **rates.modality_prices,
    }
    tool_prices = {f"tools.{name}": price for name, price in rates.tool_prices.items()}
    groups: tuple[tuple[Mapping[str, float | None], float], ...] = (
        (token_prices, 1e6),
        ({"storage": rates.storage_price}, 1e6),
        (tool_prices, 1e3),
    )
    return {
        unit: {key: round(price * size, 9) for key, price in group.items() if price is not None}
        for unit, (group, size) in zip(UNIT_NAMES, groups, strict=True)
    }


def describe_price(plan: PricePlan, period: PricePeriod, input_tokens: int) -> dict[str, Any]:
    """Return the prices for an input of this size with their source, for the JSON output."""
    rates = period.rates_for_input(input_tokens)
    starts = [start for start in period.band_starts if input_tokens > start]
    return {
        "model": plan.row.id if plan.row else None,
        "tier": plan.tier,
        "source": rates.source,
        "date": rates.date,
        "since": rates.valid_from,
        "above": max(starts, default=None),
        **group_prices_by_unit(rates),
    }
