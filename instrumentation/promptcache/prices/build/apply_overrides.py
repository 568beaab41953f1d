"""Apply the override rules of `overrides.py` to the imported rows of a vendor. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, cast

from promptcache.prices.build import overrides
from promptcache.prices.rates import METADATA_KEYS
from promptcache.prices.table import STANDARD_TIER

PriceEntry = dict[str, Any]
RawRow = dict[str, Any]


def round_price(value: Decimal | float) -> float | int:
    """Return a price with no digit that its source does not have, an int if it is whole."""
    number = float(round(Decimal(str(value)), 12))
    return int(number) if number.is_integer() else number


def first_name_of_row(raw_row: RawRow) -> str:
    """Return a row's first name, "" if rules dropped all its names."""
    return raw_row["names"][0].rstrip("*") if raw_row["names"] else ""


def matches_any_pattern(raw_row: RawRow, patterns: Iterable[str]) -> bool:
    """Return whether any name of a row fits any of `patterns`."""
    return any(
        fnmatchcase(name.rstrip("*"), pattern) for name in raw_row["names"] for pattern in patterns
    )


def entries_of_tier(raw_row: RawRow, tier: str) -> list[PriceEntry]:
    """Return a row's entries of one tier, in the order of their first days."""
    return [entry for entry in raw_row["prices"] if entry.get("tier", STANDARD_TIER) == tier]


def entries_in_force_between(
    entries: Iterable[PriceEntry], since: str, until: str
) -> Iterator[tuple[str, PriceEntry]]:
    """Yield the entries in force on some day of [since, until), each with the first such day."""
    ordered = list(entries)
    for index, entry in enumerate(ordered):
        start = max(since, entry.get("from", ""))
        end = min(until, ordered[index + 1].get("from", "")) if index + 1 < len(ordered) else until
        if start < end:
            yield start, entry


def scale_price(price: Any, factor: float | Decimal) -> Any:
    """Return a price, or a price with context bands, times a factor."""
    if isinstance(price, list):
        pairs = enumerate(cast("list[float]", price))
        return [
            v if place % 2 else round_price(Decimal(str(v)) * Decimal(str(factor)))
            for place, v in pairs
        ]
    return round_price(Decimal(str(price)) * Decimal(str(factor)))


def token_price_keys(entry: PriceEntry) -> list[str]:
    """Return the keys of an entry that are prices per token."""
    return [
        key
        for key in entry
        if key not in METADATA_KEYS and key.partition(".")[0] not in ("tools", "storage")
    ]


def add_tier_as_multiple_of_standard(
    raw_row: RawRow, rule: overrides.TierAsMultipleOfStandard
) -> None:
    """Add entries of a tier as multiples of the standard ones.

    They end where the first imported entry of that tier begins.
    """
    until = min(
        (entry.get("from", "") for entry in entries_of_tier(raw_row, rule.tier)), default="9999"
    )
    for start, entry in list(
        entries_in_force_between(entries_of_tier(raw_row, STANDARD_TIER), rule.since, until)
    ):
        new_entry = {"tier": rule.tier, "from": start, "source": rule.source, "date": rule.date}
        for key in token_price_keys(entry):
            factor = rule.factors.get(key, rule.factors["*"])
            new_entry[key] = scale_price(entry[key], factor)
        new_entry |= {key: value for key, value in entry.items() if key.startswith("tools.")}
        raw_row["prices"].append(new_entry)


def backdate_tier(raw_row: RawRow, rule: overrides.BackdateTier) -> None:
    """Let the first entry of a tier begin earlier.

    For days with another standard price, the tier keeps its proportion to the standard price.
    """
    entries = entries_of_tier(raw_row, rule.tier)
    if not entries or entries[0].get("from", "") <= rule.since:
        return
    first = entries[0]
    standard = entries_of_tier(raw_row, STANDARD_TIER)
    now = next(entry for _, entry in entries_in_force_between(standard, first["from"], "9999"))
    for start, then in list(entries_in_force_between(standard, rule.since, first["from"])):
        if then is now:
            first |= {"from": start, "source": rule.source, "date": rule.date}
            continue
        new_entry = {
            key: value for key, value in first.items() if key not in ("from", "source", "date")
        }
        new_entry |= {"from": start, "source": rule.source, "date": rule.date}
        for key in token_price_keys(first):
            if then.get(key) != now.get(key):
                if key not in then or isinstance(now[key], list) != isinstance(then[key], list):
                    break
                new_entry[key] = scale_price(
                    then[key], tier_to_standard_ratio(first[key], now[key])
                )
        else:
            raw_row["prices"].append(new_entry)


def tier_to_standard_ratio(tier_price: Any, standard_price: Any) -> Decimal:
    """Return a tier's price divided by the standard price, both in their first context band."""
    return Decimal(str(first_band_price(tier_price))) / Decimal(
        str(first_band_price(standard_price))
    )


def first_band_price(price: float | list[float]) -> float:
    """Return a price in its first context band."""
    return price[0] if isinstance(price, list) else price


def add_price_to_entries(raw_row: RawRow, rule: overrides.AddPrice) -> bool:
    """Add a price to every entry that lacks it, and return whether there was any.

    `write.12h` is added only to entries that bill cache writes.
    """
    was_added = False
    for entry in raw_row["prices"]:
        is_absent = rule.key not in entry or rule.since is not None
        has_writes = not rule.key.startswith("write.12h") or "write.30m" in entry
        is_in_tier = not rule.tiers or entry.get("tier", STANDARD_TIER) in rule.tiers
        is_in_force = rule.since is None or entry.get("from", "") >= rule.since
        if not (is_absent and has_writes and is_in_tier and is_in_force):
            continue
        if rule.value is not None and entry.get("tier", STANDARD_TIER) == STANDARD_TIER:
            entry[rule.key] = round_price(rule.value)
            was_added = True
        elif rule.base_key in entry:
            entry[rule.key] = scale_price(entry[rule.base_key], rule.factor)
            was_added = True
    return was_added


def apply_overrides(vendor: str, rows: list[RawRow]) -> list[RawRow]:
    """Return the rows of a vendor after all its override rules."""
    rules = [rule for rule in overrides.OVERRIDE_RULES if rule.vendor == vendor]
    drops = [
        pattern
        for rule in rules
        if isinstance(rule, overrides.DropModels)
        for pattern in rule.models
    ]
    rows = [
        raw for raw in rows if not any(fnmatchcase(first_name_of_row(raw), drop) for drop in drops)
    ]
    dropped_names = [
        pattern
        for rule in rules
        if isinstance(rule, overrides.DropModelNames)
        for pattern in rule.names
    ]
    for raw in rows:
        raw["names"] = [
            name
            for name in raw["names"]
            if not any(fnmatchcase(name, pattern) for pattern in dropped_names)
        ]
    for rule in rules:
        if isinstance(rule, overrides.ReplacePriceRow):
            replaced = {name.rstrip("*") for name in rule.names}
            rows = [raw for raw in rows if first_name_of_row(raw) not in replaced]
            rows.append(_make_row(rule))
    for raw in rows:
        for rule in rules:
            apply_rule_if_matching(raw, rule)
        raw["prices"].sort(key=entry_sort_key)
    return [raw for raw in rows if raw["names"]]


def _make_row(rule: overrides.ReplacePriceRow) -> RawRow:
    prices = [dict(entry) for entry in rule.prices]
    return {
        "names": list(rule.names),
        "prices": prices,
        "source": rule.source,
        "date": rule.date,
    }


def apply_rule_if_matching(raw_row: RawRow, rule: overrides.OverrideRule) -> None:
    """Apply one rule to one row, if the rule is for that row."""
    if isinstance(rule, overrides.BackdateTier):
        backdate_tier(raw_row, rule)
    elif isinstance(rule, overrides.TierAsMultipleOfStandard) and matches_any_pattern(
        raw_row, rule.models
    ):
        add_tier_as_multiple_of_standard(raw_row, rule)
    elif isinstance(rule, overrides.AddPrice) and matches_any_pattern(raw_row, rule.models):
        if add_price_to_entries(raw_row, rule):
            raw_row.setdefault("also", {})[rule.key] = f"{rule.source} ({rule.date})"
    elif (
        isinstance(rule, overrides.RegionUplift)
        and matches_any_pattern(raw_row, rule.models)
        and "uplift" not in raw_row
    ):
        raw_row["uplift"] = dict(rule.factors)
        raw_row.setdefault("also", {})["uplift"] = f"{rule.source} ({rule.date})"


def entry_sort_key(entry: PriceEntry) -> tuple[str, str]:
    """Return the sort key of an entry in its row: its tier, then its first day."""
    return entry.get("tier", ""), entry.get("from", "")
