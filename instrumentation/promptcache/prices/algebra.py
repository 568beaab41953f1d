"""Arithmetic of one call: rates x usage -> Cost. Pure; the rules are in `docs/specs/cost.md`, sections 2 to 5."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

from promptcache.model import Cost, UnknownCostReason, Usage

MILLION: Final = 1e6
TOKEN_CLASSES: Final = ("input", "read", "output")
METADATA_KEYS: Final = frozenset({"tier", "from", "hours", "days", "except", "source", "date"})
"""Keys of a table entry that are no prices."""
_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})
_CLASS_INDEX: Final = {"input": 0, "read": 1, "output": 2}


class Rates(NamedTuple):
    """The prices of one model in one tier, place, moment and context band, in USD per token.

    A None is a price that the vendor does not publish. `cache_write_prices` is by TTL, the default TTL first. `modality_prices` holds
    prices such as `audio.input` that replace the class's own. `tool_prices` is USD per use, `storage_price` USD per token-hour.
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
    entry: Mapping[str, Any], band: int, factor: float, source: str, date: str | None
) -> Rates:
    """The rates of a table entry (spec, section 6) for its context band number `band`, tokens times `factor`."""

    def at(value: float | list[float]) -> float:
        if not isinstance(value, list):
            return value
        return value[2 * min(band, len(value) // 2)]

    plain: dict[str, float] = {}
    writes: dict[str, float] = {}
    tools: dict[str, float] = {}
    modal: dict[str, float] = {}
    for key, value in entry.items():
        head, _, tail = key.partition(".")
        if key in METADATA_KEYS:
            continue
        if head == "tools":
            tools[tail] = at(value) / 1000
            continue
        # Rounded far below the last digit of any price, so that 0.2 a million is 2e-07 and not 2.0000000000000002e-07.
        token = round(at(value) * (1.0 if key == "storage" else factor) / MILLION, 18)
        if not tail:
            plain[key] = token
        elif head == "write":
            writes[tail] = token
        else:
            modal[key] = token
    return Rates(
        plain.get("input"),
        plain.get("read"),
        plain.get("output"),
        MappingProxyType(writes),
        MappingProxyType(modal),
        MappingProxyType(tools),
        plain.get("storage"),
        entry.get("source", source),
        entry.get("date", date),
        entry.get("from"),
    )


def band_starts(entry: Mapping[str, Any]) -> tuple[int, ...]:
    """The input sizes above which an entry's next context band holds, ascending."""
    banded = [
        cast("list[float]", price)
        for key, price in entry.items()
        if key not in METADATA_KEYS and isinstance(price, list)
    ]
    found = {int(start) for price in banded for start in price[1::2]}
    return tuple(sorted(found))


def count_writes_of_unknown_ttl(usage: Usage) -> int:
    """How many written tokens came without their TTL."""
    if not usage.cache_write_tokens:
        return 0
    split = usage.cache_write_by_ttl
    return usage.cache_write_tokens - sum(split.values()) + split.get("unknown", 0)


def split_writes_by_ttl(usage: Usage, rates: Rates, requested_ttl: str | None) -> Mapping[str, int]:
    """Written tokens by TTL; those of unknown TTL count as `requested_ttl`, the one TTL that the request can have meant."""
    rest = count_writes_of_unknown_ttl(usage)
    if not rest:
        return usage.cache_write_by_ttl
    if len(set(rates.cache_write_prices.values())) == 1:
        requested_ttl = next(iter(rates.cache_write_prices))
    found = dict(usage.cache_write_by_ttl) | {"unknown": 0}
    found[requested_ttl or "unknown"] = found.get(requested_ttl or "unknown", 0) + rest
    return found


def unknown_reason(
    rates: Rates, usage: Usage, writes: Mapping[str, int]
) -> UnknownCostReason | None:
    """Why the amount cannot be known to the last digit; None where it can (spec, section 4)."""
    p_in, p_read = rates.input_price, rates.cache_read_price
    if usage.inconsistencies or (usage.output_tokens is None and rates.output_price is not None):
        return "usage"
    if usage.uncached_tokens:
        if usage.cache_read_tokens is None and p_read is not None and p_read != p_in:
            return "usage"
        if (
            usage.cache_write_tokens is None
            and rates.cache_write_prices
            and next(iter(rates.cache_write_prices.values())) != p_in
        ):
            return "usage"
    if (
        (usage.input_tokens and p_in is None)
        or (usage.cache_read_tokens and p_read is None)
        or (usage.output_tokens and rates.output_price is None)
    ):
        return "price"
    for ttl, tokens in writes.items():
        if tokens and ttl not in rates.cache_write_prices:
            return "usage" if ttl == "unknown" and rates.cache_write_prices else "price"
    return None


def _modality_surcharge(
    rates: Rates, usage: Usage, name: str, tokens: int
) -> tuple[int, float, float] | UnknownCostReason:
    """What `tokens` of a modality add to their class, and to the call without cache, beyond the class's own price."""
    kind, _, place = name.partition(".")
    index = _CLASS_INDEX.get(place)
    if index is None:
        return "price"
    if (
        not 0
        <= tokens
        <= ((usage.uncached_tokens, usage.cache_read_tokens, usage.output_tokens)[index] or 0)
    ):
        return "usage"
    plain = rates.input_price or 0.0
    own = rates.modality_prices.get(name)
    fresh = (
        rates.modality_prices.get(f"{kind}.input", plain) - plain
        if place == "read"
        else (own or plain) - plain
    )
    if own is None:
        return "price" if place == "read" and fresh else (index, 0.0, 0.0)
    if place == "output":
        return index, tokens * (own - (rates.output_price or 0.0)), 0.0
    return (
        index,
        tokens * (own - (plain if place == "input" else rates.cache_read_price or 0.0)),
        tokens * fresh,
    )


def _modality_surcharges(
    rates: Rates, usage: Usage
) -> tuple[list[float], float] | UnknownCostReason:
    """What all modalities add to input, read and output, and to the input of the call without cache."""
    added = [0.0, 0.0, 0.0]
    without = 0.0
    split = usage.modality_tokens
    if usage.reasoning_tokens and "reasoning.output" in rates.modality_prices:
        split = {**split, "reasoning.output": usage.reasoning_tokens}
    for name, tokens in split.items():
        if tokens:
            found = _modality_surcharge(rates, usage, name, tokens)
            if isinstance(found, str):
                return found
            added[found[0]] += found[1]
            without += found[2]
    return added, without


def price_usage(rates: Rates, usage: Usage, requested_ttl: str | None = None) -> Cost:
    """The cost of `usage` at `build_rates`; `requested_ttl` is the TTL that the request asked for. Never raises."""
    writes = (
        split_writes_by_ttl(usage, rates, requested_ttl) if usage.cache_write_tokens else _EMPTY
    )
    reason = unknown_reason(rates, usage, writes)
    if reason:
        return Cost(None, unknown_reason=reason, price_date=rates.date)
    p_in = rates.input_price or 0.0
    fresh = p_in * usage.uncached_tokens
    read = (rates.cache_read_price or 0.0) * (usage.cache_read_tokens or 0)
    output = (rates.output_price or 0.0) * (usage.output_tokens or 0)
    without = p_in * usage.input_tokens
    if rates.modality_prices:
        found = _modality_surcharges(rates, usage)
        if isinstance(found, str):
            return Cost(None, unknown_reason=found, price_date=rates.date)
        (more_fresh, more_read, more_output), more = found
        fresh, read, output, without = (
            fresh + more_fresh,
            read + more_read,
            output + more_output,
            without + more,
        )
    write = 0.0
    for ttl, tokens in writes.items():
        write += rates.cache_write_prices.get(ttl, 0.0) * tokens
    parts = {"input": fresh, "cache_read": read, "cache_write": write, "output": output}
    amount = fresh + read + write + output
    without += output
    for name, uses in usage.server_tool_calls.items():
        if uses:
            if name not in rates.tool_prices:
                return Cost(None, unknown_reason="price", price_date=rates.date)
            parts["tools"] = parts.get("tools", 0.0) + rates.tool_prices[name] * uses
    tools = parts.get("tools", 0.0)
    return Cost(
        amount + tools,
        parts,
        without + tools,
        rates.input_price,
        rates.cache_read_price,
        rates.cache_write_prices,
        "local",
        rates.date,
    )
