"""The prices of one model per token, and how a table entry becomes them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

METADATA_KEYS: Final = frozenset({"tier", "from", "hours", "days", "except", "source", "date"})
"""The keys of a table entry that are not prices."""
_EMPTY: Final[Mapping[str, float]] = MappingProxyType({})
_MILLION: Final = 1e6
_DECIMAL_PLACES: Final = 18
"""Far below the last digit of any price: 0.2 USD a million is 2e-07, not 2.0000000000000002e-07."""


class Rates(NamedTuple):
    """The prices of one model in one tier, region, period and context band, in USD per token.

    None means that the vendor does not publish the price. `cache_write_prices` is by TTL, the
    vendor's default TTL first. `modality_prices` has prices such as `audio.input`, which replace
    the price of the class. `tool_prices` is in USD per use, `storage_price` in USD per token-hour.
    `source` and `date` say which list has the price and when it was compiled, `valid_from` since
    when the price holds.
    """

    input_price: float | None
    cache_read_price: float | None
    output_price: float | None
    cache_write_prices: Mapping[str, float] = _EMPTY
    modality_prices: Mapping[str, float] = _EMPTY
    tool_prices: Mapping[str, float] = _EMPTY
    storage_price: float | None = None
    source: str = ""
    date: str | None = None
    valid_from: str | None = None


def build_rates(
    entry: Mapping[str, Any], band_index: int, region_factor: float, source: str, date: str | None
) -> Rates:
    """Return the rates of a table entry (spec, section 6) in its context band number `band_index`.

    `region_factor` is the uplift of the region. It multiplies token prices, not tools and storage.
    """
    class_prices: dict[str, float] = {}
    groups: dict[str, dict[str, float]] = {"write": {}, "tools": {}, "modality": {}}
    for key, value in entry.items():
        if key in METADATA_KEYS:
            continue
        price = _price_in_band(value, band_index)
        head, _, tail = key.partition(".")
        if head == "tools":
            groups["tools"][tail] = price / 1000
            continue
        scaled = price if key == "storage" else price * region_factor
        token_price = round(scaled / _MILLION, _DECIMAL_PLACES)
        if not tail:
            class_prices[key] = token_price
        elif head == "write":
            groups["write"][tail] = token_price
        else:
            groups["modality"][key] = token_price
    return Rates(
        class_prices.get("input"),
        class_prices.get("read"),
        class_prices.get("output"),
        MappingProxyType(groups["write"]),
        MappingProxyType(groups["modality"]),
        MappingProxyType(groups["tools"]),
        class_prices.get("storage"),
        entry.get("source", source),
        entry.get("date", date),
        entry.get("from"),
    )


def _price_in_band(banded_price: float | list[float], band_index: int) -> float:
    """Return the price in a band of `[price, start, price above it, ...]`, or the only price."""
    if not isinstance(banded_price, list):
        return banded_price
    return banded_price[2 * min(band_index, len(banded_price) // 2)]


def context_band_starts(entry: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the input sizes above which the next context band of an entry begins, ascending."""
    starts = {
        int(start)
        for key, price in entry.items()
        if key not in METADATA_KEYS and isinstance(price, list)
        for start in cast("list[float]", price)[1::2]
    }
    return tuple(sorted(starts))
