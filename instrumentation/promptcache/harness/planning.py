"""Make a plan: compare the ways to cache each layer, and take the one that is never far off.

The rules behind the numbers, with plain input as 1, a read as r and a write as w: a layer that is
used again within its lifetime with probability q costs `q r + (1 - q) w` for each call. So a
breakpoint pays if q > (w - 1) / (w - r). Where documentation contradicts itself, an option counts
with its cost in the worst reading.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple, final

from promptcache.harness.arrivals import Arrivals
from promptcache.harness.caching_style import CachingStyle
from promptcache.harness.names import TTL, Layer
from promptcache.harness.plan import LayerPlan, Option
from promptcache.model import TTL_SECONDS
from promptcache.prices.rates import Rates

PLAIN: Final = "no caching"
_PING_INTERVAL: Final = 0.93
"""Share of a TTL after which a ping is sent: 280 s of 300 s, as keep-warm tools in the field do."""
_MAX_PINGS: Final = 12
_WORTH_WHILE: Final = 0.98
"""Pings that save less than 2 % are not worth the code that sends them."""


@final
class RelativePrices(NamedTuple):
    """Prices as shares of plain input."""

    read: float
    writes: Mapping[str, float]

    @classmethod
    def find(cls, rates: Rates | None, style: CachingStyle) -> RelativePrices | None:
        """Return the list prices; for a model without any, the multipliers of the documentation.

        The result is None if the list has no price of input or of reads, or if nothing is
        documented.
        """
        if rates is None:
            if style.read_multiplier is None:
                return None
            return cls(style.read_multiplier, style.write_multipliers)
        if not rates.input_price or rates.cache_read_price is None:
            return None
        writes = {ttl: price / rates.input_price for ttl, price in rates.cache_write_prices.items()}
        return cls(rates.cache_read_price / rates.input_price, writes)


def plan_layer(
    layer: Layer,
    tokens: int,
    style: CachingStyle,
    prices: RelativePrices | None,
    arrivals: Arrivals,
    default: TTL | None = None,
    growth: float = 0.0,
) -> LayerPlan:
    """Return the cheapest way to cache a layer in the worst documented case.

    `tokens` is an upper estimate. Without prices the TTL is `default`. `growth` is the share of the
    layer that each call adds and writes anew.
    """
    if tokens < style.minimum_tokens:
        reason = f"too short: the model caches from {style.minimum_tokens} tokens"
        return LayerPlan(layer, tokens, None, 0.0, 1.0, reason, style.source)
    if prices is None:
        reason = "no price is known, so nothing was compared: the provider's default"
        return LayerPlan(layer, tokens, default, 0.0, 1.0, reason, style.source)
    if style.breakpoints == "automatic":
        return _plan_automatic(layer, tokens, style, prices, arrivals)
    options = sorted(
        _options(style, prices, arrivals, growth),
        key=lambda option: (option.relative_cost, TTL_SECONDS[option.ttl] if option.ttl else 0),
    )
    best = options[0]
    reason = _reason(options, style, prices)
    return LayerPlan(
        layer,
        tokens,
        best.ttl,
        best.hit_rate,
        best.relative_cost,
        reason,
        style.source,
        tuple(options),
    )


def _options(
    style: CachingStyle, prices: RelativePrices, arrivals: Arrivals, growth: float = 0.0
) -> list[Option]:
    options = [Option(PLAIN, None, 0.0, 1.0, 1.0)]
    for ttl in style.ttls:
        if ttl not in prices.writes:
            continue
        hit_rate = arrivals.share_within(TTL_SECONDS[ttl])
        write = prices.writes[ttl]
        cost = hit_rate * prices.read + (1 - hit_rate) * write
        cost = (cost + growth * write) / (1 + growth)
        options.append(Option(f"breakpoint, {ttl}", ttl, hit_rate, cost, cost))
    if style.breakpoints == "exact" and style.ttls[0] in prices.writes:
        # OpenAI's guide of July 2026: the provider's own breakpoint is at the end of the latest
        # message, and each call writes its whole prompt anew. The later guide adds one at the end
        # of the developer block. Neither is certain.
        best = min(option.best_cost for option in options[1:])
        worst = prices.writes[style.ttls[0]]
        options.append(Option("the provider's own breakpoint", None, 0.0, worst, best))
    return options


def _reason(options: list[Option], style: CachingStyle, prices: RelativePrices) -> str:
    best = options[0]
    if best.ttl is None:
        needed = _calls_per_hour_to_pay(style, prices)
        shortest = f", and a breakpoint pays from {needed:.2g} calls an hour" if needed else ""
        return f"rare or unique: the next use comes too late to pay for the write{shortest}"
    others = [option for option in options[1:] if option.name != best.name]
    compared = ", ".join(f"{option.name} {option.relative_cost:.3f}" for option in others)
    return f"{best.relative_cost:.3f} of plain input; compared: {compared}"


def _calls_per_hour_to_pay(style: CachingStyle, prices: RelativePrices) -> float | None:
    """Return the smallest rate of independent calls at which a write pays."""
    rates: list[float] = []
    for ttl in style.ttls:
        write = prices.writes.get(ttl)
        if write is None or write <= prices.read:
            continue
        needed = (write - 1) / (write - prices.read)
        if needed < 1:
            rates.append(-math.log1p(-needed) * 3600 / TTL_SECONDS[ttl])
    return min(rates, default=None)


def _plan_automatic(
    layer: Layer, tokens: int, style: CachingStyle, prices: RelativePrices, arrivals: Arrivals
) -> LayerPlan:
    hit_rate = arrivals.share_within(style.ttl_seconds)
    best = hit_rate * prices.read + 1 - hit_rate
    option = Option("the provider caches by itself", None, hit_rate, 1.0, best)
    reason = (
        "the provider caches by itself and writes are free, so there is nothing to choose; hits "
        f"are not guaranteed: {best:.3f} of plain input if they come"
    )
    return LayerPlan(layer, tokens, None, hit_rate, best, reason, style.source, (option,))


def judge_pings(style: CachingStyle, prices: RelativePrices | None, arrivals: Arrivals) -> str:
    """Return whether pings that keep a prefix warm cost less than the best breakpoint."""
    if prices is None or style.breakpoints == "automatic":
        return "no: nothing is known that a ping could keep"
    best_plain = min(option.relative_cost for option in _options(style, prices, arrivals))
    best_pinged, ttl, pings = min(
        (_cost_with_pings(ttl, count, prices, arrivals), ttl, count)
        for ttl in style.ttls
        if ttl in prices.writes
        for count in range(1, _MAX_PINGS + 1)
    )
    figures = (
        f"up to {pings} after a use, with {ttl}: {best_pinged:.3f} of plain input; without pings "
        f"{best_plain:.3f}"
    )
    return f"{'yes' if best_pinged < _WORTH_WHILE * best_plain else 'no'}; {figures}"


def _cost_with_pings(ttl: TTL, pings: int, prices: RelativePrices, arrivals: Arrivals) -> float:
    """Return the cost of a call and the pings before it. A ping reads the prefix."""
    lifetime = TTL_SECONDS[ttl]
    interval = _PING_INTERVAL * lifetime
    sent = sum(1 - arrivals.share_within(number * interval) for number in range(1, pings + 1))
    hit_rate = arrivals.share_within(pings * interval + lifetime)
    return prices.read * (sent + hit_rate) + (1 - hit_rate) * prices.writes[ttl]
