"""Arithmetic of one call: rates x usage -> Cost. Pure; the rules are in `docs/specs/cost.md`, sections 2 to 5."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

from promptcache.model import Cost, Unknown, Usage

MILLION: Final = 1e6
TOKEN_CLASSES: Final = ("input", "read", "output")
META: Final = frozenset({"tier", "from", "hours", "days", "except", "source", "date"})
"""Keys of a table entry that are no prices."""
_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})
_CLASS: Final = {"input": 0, "read": 1, "output": 2}


class Rates(NamedTuple):
    """The prices of one model in one tier, place, moment and context band, in USD per token.

    A None is a price that the vendor does not publish. `writes` is by TTL, the default TTL first. `modal` holds
    prices such as `audio.input` that replace the class's own. `tools` is USD per use, `storage` USD per token-hour.
    """

    input: float | None
    read: float | None
    output: float | None
    writes: Mapping[str, float] = _EMPTY
    modal: Mapping[str, float] = _EMPTY
    tools: Mapping[str, float] = _EMPTY
    storage: float | None = None
    source: str = ""
    date: str | None = None
    since: str | None = None


def rates(
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
        if key in META:
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


def starts(entry: Mapping[str, Any]) -> tuple[int, ...]:
    """The input sizes above which an entry's next context band holds, ascending."""
    banded = [
        cast("list[float]", price)
        for key, price in entry.items()
        if key not in META and isinstance(price, list)
    ]
    found = {int(start) for price in banded for start in price[1::2]}
    return tuple(sorted(found))


def undated(usage: Usage) -> int:
    """How many written tokens came without their TTL."""
    if not usage.write:
        return 0
    split = usage.write_by_ttl
    return usage.write - sum(split.values()) + split.get("unknown", 0)


def written(usage: Usage, rates: Rates, lifetime: str | None) -> Mapping[str, int]:
    """Written tokens by TTL; those of unknown TTL count as `lifetime`, the one TTL that the request can have meant."""
    rest = undated(usage)
    if not rest:
        return usage.write_by_ttl
    if len(set(rates.writes.values())) == 1:
        lifetime = next(iter(rates.writes))
    found = dict(usage.write_by_ttl) | {"unknown": 0}
    found[lifetime or "unknown"] = found.get(lifetime or "unknown", 0) + rest
    return found


def doubt(rates: Rates, usage: Usage, writes: Mapping[str, int]) -> Unknown | None:
    """Why the amount cannot be known to the last digit; None where it can (spec, section 4)."""
    p_in, p_read = rates.input, rates.read
    if usage.issues or (usage.output is None and rates.output is not None):
        return "usage"
    if usage.uncached:
        if usage.read is None and p_read is not None and p_read != p_in:
            return "usage"
        if usage.write is None and rates.writes and next(iter(rates.writes.values())) != p_in:
            return "usage"
    if (
        (usage.input and p_in is None)
        or (usage.read and p_read is None)
        or (usage.output and rates.output is None)
    ):
        return "price"
    for ttl, tokens in writes.items():
        if tokens and ttl not in rates.writes:
            return "usage" if ttl == "unknown" and rates.writes else "price"
    return None


def _modal(
    rates: Rates, usage: Usage, name: str, tokens: int
) -> tuple[int, float, float] | Unknown:
    """What `tokens` of a modality add to their class, and to the call without cache, beyond the class's own price."""
    kind, _, place = name.partition(".")
    index = _CLASS.get(place)
    if index is None:
        return "price"
    if not 0 <= tokens <= ((usage.uncached, usage.read, usage.output)[index] or 0):
        return "usage"
    plain = rates.input or 0.0
    own = rates.modal.get(name)
    fresh = (
        rates.modal.get(f"{kind}.input", plain) - plain
        if place == "read"
        else (own or plain) - plain
    )
    if own is None:
        return "price" if place == "read" and fresh else (index, 0.0, 0.0)
    if place == "output":
        return index, tokens * (own - (rates.output or 0.0)), 0.0
    return (
        index,
        tokens * (own - (plain if place == "input" else rates.read or 0.0)),
        tokens * fresh,
    )


def _modals(rates: Rates, usage: Usage) -> tuple[list[float], float] | Unknown:
    """What all modalities add to input, read and output, and to the input of the call without cache."""
    added = [0.0, 0.0, 0.0]
    without = 0.0
    split = usage.modalities
    if usage.reasoning and "reasoning.output" in rates.modal:
        split = {**split, "reasoning.output": usage.reasoning}
    for name, tokens in split.items():
        if tokens:
            found = _modal(rates, usage, name, tokens)
            if isinstance(found, str):
                return found
            added[found[0]] += found[1]
            without += found[2]
    return added, without


def price(rates: Rates, usage: Usage, lifetime: str | None = None) -> Cost:
    """The cost of `usage` at `rates`; `lifetime` is the TTL that the request asked for. Never raises."""
    writes = written(usage, rates, lifetime) if usage.write else _EMPTY
    reason = doubt(rates, usage, writes)
    if reason:
        return Cost(None, unknown=reason, date=rates.date)
    p_in = rates.input or 0.0
    fresh = p_in * usage.uncached
    read = (rates.read or 0.0) * (usage.read or 0)
    output = (rates.output or 0.0) * (usage.output or 0)
    without = p_in * usage.input
    if rates.modal:
        found = _modals(rates, usage)
        if isinstance(found, str):
            return Cost(None, unknown=found, date=rates.date)
        (more_fresh, more_read, more_output), more = found
        fresh, read, output, without = (
            fresh + more_fresh,
            read + more_read,
            output + more_output,
            without + more,
        )
    write = 0.0
    for ttl, tokens in writes.items():
        write += rates.writes.get(ttl, 0.0) * tokens
    parts = {"input": fresh, "cache_read": read, "cache_write": write, "output": output}
    amount = fresh + read + write + output
    without += output
    for name, uses in usage.tools.items():
        if uses:
            if name not in rates.tools:
                return Cost(None, unknown="price", date=rates.date)
            parts["tools"] = parts.get("tools", 0.0) + rates.tools[name] * uses
    tools = parts.get("tools", 0.0)
    return Cost(
        amount + tools,
        parts,
        without + tools,
        rates.input,
        rates.read,
        rates.writes,
        "local",
        rates.date,
    )
