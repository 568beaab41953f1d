"""Compute the cost of a call: rates x usage. Pure. The rules are in `docs/specs/cost.md`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from promptcache.model import Cost, UnknownCostReason, Usage
from promptcache.prices.rates import Rates

_NO_WRITES: Final[Mapping[str, int]] = MappingProxyType({})
_TOKEN_CLASSES: Final = ("input", "read", "output")


class _CostsByTokenClass(NamedTuple):
    """Costs by token class in USD. `without_cache` is the input at the price of plain input."""

    input: float
    read: float
    output: float
    without_cache: float


def compute_cost_at_rates(rates: Rates, usage: Usage, requested_ttl: str | None = None) -> Cost:
    """Return the cost of `usage` at `rates`. Never raises.

    `requested_ttl` is the TTL that the request asked for, None if it asked for several. If the
    cost is not certain, `amount` is None and `unknown_reason` says why.
    """
    writes = _NO_WRITES
    if usage.cache_write_tokens:
        writes = split_writes_by_ttl(usage, rates, requested_ttl)
    reason = find_unknown_cost_reason(rates, usage, writes)
    if reason:
        return Cost(None, unknown_reason=reason, price_date=rates.date)
    costs = _compute_costs_by_token_class(rates, usage)
    tools = _server_tool_cost(rates, usage)
    if isinstance(costs, str):
        return Cost(None, unknown_reason=costs, price_date=rates.date)
    write_cost = 0.0
    for ttl, tokens in writes.items():
        write_cost += rates.cache_write_prices.get(ttl, 0.0) * tokens
    parts = {
        "input": costs.input,
        "cache_read": costs.read,
        "cache_write": write_cost,
        "output": costs.output,
    }
    if tools is None:
        return Cost(None, parts, unknown_reason="tool_fee", price_date=rates.date)
    if any(usage.server_tool_calls.values()):
        parts["tools"] = tools
    return Cost(
        costs.input + costs.read + write_cost + costs.output + tools,
        parts,
        costs.without_cache + costs.output + tools,
        rates.input_price,
        rates.cache_read_price,
        rates.cache_write_prices,
        "local",
        rates.date,
    )


def count_write_tokens_of_unknown_ttl(usage: Usage) -> int:
    """Return the number of cache write tokens that the provider reported without a TTL."""
    if not usage.cache_write_tokens:
        return 0
    by_ttl = usage.cache_write_by_ttl
    return usage.cache_write_tokens - sum(by_ttl.values()) + by_ttl.get("unknown", 0)


def split_writes_by_ttl(usage: Usage, rates: Rates, requested_ttl: str | None) -> Mapping[str, int]:
    """Return the cache write tokens by TTL.

    Tokens of unknown TTL count as `requested_ttl`. If all TTLs cost the same, any of them will do.
    """
    without_ttl = count_write_tokens_of_unknown_ttl(usage)
    if not without_ttl:
        return usage.cache_write_by_ttl
    ttl = requested_ttl or "unknown"
    if len(set(rates.cache_write_prices.values())) == 1:
        ttl = next(iter(rates.cache_write_prices))
    writes = dict(usage.cache_write_by_ttl) | {"unknown": 0}
    writes[ttl] = writes.get(ttl, 0) + without_ttl
    return writes


def find_unknown_cost_reason(
    rates: Rates, usage: Usage, write_tokens_by_ttl: Mapping[str, int]
) -> UnknownCostReason | None:
    """Return why the cost is not certain, None if it is (spec, section 4)."""
    if usage.inconsistencies or (usage.output_tokens is None and rates.output_price is not None):
        return "usage"
    if usage.uncached_tokens and _may_hide_cached_tokens(rates, usage):
        return "usage"
    if (
        (usage.input_tokens and rates.input_price is None)
        or (usage.cache_read_tokens and rates.cache_read_price is None)
        or (usage.output_tokens and rates.output_price is None)
    ):
        return "price"
    for ttl, tokens in write_tokens_by_ttl.items():
        if tokens and ttl not in rates.cache_write_prices:
            return "usage" if ttl == "unknown" and rates.cache_write_prices else "price"
    return None


def _may_hide_cached_tokens(rates: Rates, usage: Usage) -> bool:
    """Return whether some of the uncached tokens may have had the price of a cache read or write.

    That is so if reads or writes were not reported and do not cost the same as plain input.
    """
    input_price, read_price = rates.input_price, rates.cache_read_price
    if usage.cache_read_tokens is None and read_price not in (None, input_price):
        return True
    default_write_price = next(iter(rates.cache_write_prices.values()), input_price)
    return usage.cache_write_tokens is None and default_write_price != input_price


def _compute_costs_by_token_class(
    rates: Rates, usage: Usage
) -> _CostsByTokenClass | UnknownCostReason:
    input_price = rates.input_price or 0.0
    uncached = input_price * usage.uncached_tokens
    read = (rates.cache_read_price or 0.0) * (usage.cache_read_tokens or 0)
    output = (rates.output_price or 0.0) * (usage.output_tokens or 0)
    without_cache = input_price * usage.input_tokens
    if not rates.modality_prices:
        return _CostsByTokenClass(uncached, read, output, without_cache)
    extra = _modality_surcharges(rates, usage)
    if isinstance(extra, str):
        return extra
    return _CostsByTokenClass(
        uncached + extra.input,
        read + extra.read,
        output + extra.output,
        without_cache + extra.without_cache,
    )


def _server_tool_cost(rates: Rates, usage: Usage) -> float | None:
    """Return the cost of all server tool calls, None if a tool has no price."""
    cost = 0.0
    for name, calls in usage.server_tool_calls.items():
        if calls:
            if name not in rates.tool_prices:
                return None
            cost += rates.tool_prices[name] * calls
    return cost


def _modality_surcharges(rates: Rates, usage: Usage) -> _CostsByTokenClass | UnknownCostReason:
    """Return what all modalities cost beyond the prices of their classes."""
    tokens_by_name = usage.modality_tokens
    if usage.reasoning_tokens and "reasoning.output" in rates.modality_prices:
        tokens_by_name = {**tokens_by_name, "reasoning.output": usage.reasoning_tokens}
    by_class = [0.0, 0.0, 0.0]
    without_cache = 0.0
    for name, tokens in tokens_by_name.items():
        if not tokens:
            continue
        surcharge = _modality_surcharge(rates, usage, name, tokens)
        if isinstance(surcharge, str):
            return surcharge
        class_index, usd, usd_without_cache = surcharge
        by_class[class_index] += usd
        without_cache += usd_without_cache
    return _CostsByTokenClass(*[*by_class, without_cache])


def _modality_surcharge(
    rates: Rates, usage: Usage, modality_key: str, tokens: int
) -> tuple[int, float, float] | UnknownCostReason:
    """Return the class of a modality, and what its tokens cost beyond the price of that class.

    The class is an index of _TOKEN_CLASSES. The second surcharge is that of the call without cache.
    A modality without a price pays the price of its class. The exception is a cache read whose
    modality has a price for plain input: the vendor does not publish the price of that read.
    """
    modality, _, class_name = modality_key.partition(".")
    if class_name not in _TOKEN_CLASSES:
        return "price"
    class_tokens = (usage.uncached_tokens, usage.cache_read_tokens, usage.output_tokens)
    class_prices = (rates.input_price, rates.cache_read_price, rates.output_price)
    index = _TOKEN_CLASSES.index(class_name)
    if not 0 <= tokens <= (class_tokens[index] or 0):
        return "usage"
    input_price = rates.input_price or 0.0
    price = rates.modality_prices.get(modality_key)
    uncached_price = rates.modality_prices.get(f"{modality}.input", input_price)
    if price is None:
        is_unknown = class_name == "read" and uncached_price != input_price
        return "price" if is_unknown else (index, 0.0, 0.0)
    surcharge = tokens * (price - (class_prices[index] or 0.0))
    without_cache = 0.0 if class_name == "output" else tokens * (uncached_price - input_price)
    return index, surcharge, without_cache
