"""When a cache write pays, and which TTL is the cheapest. Pure; the formulas are in `docs/specs/cost.md`, section 9."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from promptcache.model import TTL_SECONDS
from promptcache.prices.algebra import Rates

_SLACK: Final = 1e-9
"""Keeps a ratio that is whole in decimal from falling on the wrong side of it in binary."""


@final
@dataclass(frozen=True, slots=True)
class Choice:
    """What caching with one TTL costs at a request rate. `ttl` is `none` for not caching, `stored` for a named cache of
    one hour, made anew each hour.

    `hits` is the share of requests that find the prefix; `cost` is USD per prefix token and request; `pays_after` is
    the first number of requests within the TTL, the writing one included (but not the making of a stored cache), that
    is cheaper than not caching.
    """

    ttl: str
    hits: float
    cost: float
    pays_after: int | None


def first_whole(above: float) -> int:
    """The smallest number of requests above `above`."""
    return max(1, math.floor(above + _SLACK) + 1)


def pays_after(p_in: float, p_read: float, p_write: float) -> int | None:
    """After how many requests (one write, the rest reads) a write has paid: the first N > (w - r) / (1 - r).

    None where reading saves nothing, so that no write ever pays.
    """
    return first_whole((p_write - p_read) / (p_in - p_read)) if p_read < p_in else None


def storage_pays(p_in: float, p_read: float, storage: float, hours: float = 1.0) -> int | None:
    """How many requests within `hours` make a stored cache pay: N > (p_in + hours * s) / (p_in - p_read).

    The cache is created once, at the input price; `storage` is USD per token-hour.
    """
    return first_whole((p_in + hours * storage) / (p_in - p_read)) if p_read < p_in else None


def hit_share(per_hour: float, ttl: str, *, steady: bool) -> float:
    """The share of requests that come within the TTL of the one before: for steady traffic all or none of them,
    for independent arrivals 1 - exp(-rate x TTL), as every use starts the TTL anew."""
    seconds = TTL_SECONDS[ttl]
    if steady:
        return 1.0 if per_hour * seconds >= 3600 else 0.0
    return -math.expm1(-per_hour * seconds / 3600)


def choices(rates: Rates, per_hour: float, *, steady: bool = False) -> list[Choice]:
    """Every TTL that has a price, a stored cache, and not caching, cheapest first; on a tie the shorter TTL."""
    p_in, p_read = rates.input or 0.0, rates.read
    found = [Choice("none", 0.0, p_in, None)]
    for ttl, p_write in _known(rates.writes).items():
        if p_read is not None:
            hits = hit_share(per_hour, ttl, steady=steady)
            found.append(
                Choice(
                    ttl,
                    hits,
                    hits * p_read + (1 - hits) * p_write,
                    pays_after(p_in, p_read, p_write),
                )
            )
    if rates.storage is not None and p_read is not None and per_hour > 0:
        cost = (p_in + rates.storage) / per_hour + p_read
        found.append(Choice("stored", 1.0, cost, storage_pays(p_in, p_read, rates.storage)))
    return sorted(found, key=lambda choice: choice.cost)


def automatic(rates: Rates) -> bool:
    """Whether reading is cheaper and nothing is charged for writing or keeping: the provider caches by itself."""
    cheaper = rates.input is not None and rates.read is not None and rates.read < rates.input
    return cheaper and not rates.writes and rates.storage is None


def _known(writes: Mapping[str, float]) -> dict[str, float]:
    return {ttl: writes[ttl] for ttl in TTL_SECONDS if ttl in writes}
