"""Our own rows over the imported ones: what each kind of rule in `own.py` does to a vendor's rows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, cast

from promptcache.prices.build import overrides as own
from promptcache.prices.rates import METADATA_KEYS
from promptcache.prices.table import STANDARD_TIER

PriceEntry = dict[str, Any]
RawRow = dict[str, Any]


def round_price(value: Decimal | float) -> float | int:
    """A price as JSON writes it: no digit that the source does not have."""
    plain = float(round(Decimal(str(value)), 12))
    return int(plain) if plain.is_integer() else plain


def row_id(raw: RawRow) -> str:
    """A row's own name, `""` where all its names were denied."""
    return raw["names"][0].rstrip("*") if raw["names"] else ""


def matches_any_pattern(raw: RawRow, patterns: Iterable[str]) -> bool:
    """Whether any of a row's names fits any of `patterns`."""
    return any(
        fnmatchcase(name.rstrip("*"), pattern) for name in raw["names"] for pattern in patterns
    )


def entries_of_tier(raw: RawRow, tier: str) -> list[PriceEntry]:
    """A row's entries of one tier, by the day from which they hold."""
    return [found for found in raw["prices"] if found.get("tier", STANDARD_TIER) == tier]


def entries_between(
    entries: Iterable[PriceEntry], since: str, until: str
) -> Iterator[tuple[str, PriceEntry]]:
    """The entries that hold somewhere in [since, until), each with the first day of that."""
    ordered = list(entries)
    for index, found in enumerate(ordered):
        start = max(since, found.get("from", ""))
        end = min(until, ordered[index + 1].get("from", "")) if index + 1 < len(ordered) else until
        if start < end:
            yield start, found


def scale_price(value: Any, factor: float | Decimal) -> Any:
    """A price, or a banded price, times a factor."""
    if isinstance(value, list):
        pairs = enumerate(cast("list[float]", value))
        return [
            v if place % 2 else round_price(Decimal(str(v)) * Decimal(str(factor)))
            for place, v in pairs
        ]
    return round_price(Decimal(str(value)) * Decimal(str(factor)))


def token_price_keys(found: PriceEntry) -> list[str]:
    """The keys of an entry that are prices per token."""
    return [
        key
        for key in found
        if key not in METADATA_KEYS and key.partition(".")[0] not in ("tools", "storage")
    ]


def multiply_standard_prices(raw: RawRow, rule: own.MultiplyStandard) -> None:
    """Adds entries of a tier as multiples of the standard ones, up to the first entry that the list itself has."""
    until = min(
        (found.get("from", "") for found in entries_of_tier(raw, rule.tier)), default="9999"
    )
    for start, found in list(
        entries_between(entries_of_tier(raw, STANDARD_TIER), rule.since, until)
    ):
        made = {"tier": rule.tier, "from": start, "source": rule.source, "date": rule.date}
        for key in token_price_keys(found):
            factor = rule.factors.get(key, rule.factors["*"])
            made[key] = scale_price(found[key], factor)
        made |= {key: value for key, value in found.items() if key.startswith("tools.")}
        raw["prices"].append(made)


def backdate_tier(raw: RawRow, rule: own.BackdateTier) -> None:
    """Lets the first entry of a tier hold earlier, in the same proportion where the standard price was another."""
    known = entries_of_tier(raw, rule.tier)
    if not known or known[0].get("from", "") <= rule.since:
        return
    first = known[0]
    standard = entries_of_tier(raw, STANDARD_TIER)
    now = next(found for _, found in entries_between(standard, first["from"], "9999"))
    for start, then in list(entries_between(standard, rule.since, first["from"])):
        if then is now:
            first |= {"from": start, "source": rule.source, "date": rule.date}
            continue
        made = {key: value for key, value in first.items() if key not in ("from", "source", "date")}
        made |= {"from": start, "source": rule.source, "date": rule.date}
        for key in token_price_keys(first):
            if then.get(key) != now.get(key):
                if key not in then or isinstance(now[key], list) != isinstance(then[key], list):
                    break
                made[key] = scale_price(then[key], price_ratio(first[key], now[key]))
        else:
            raw["prices"].append(made)


def price_ratio(tier: Any, standard: Any) -> Decimal:
    """How a tier's price stands to the standard one, by their first band."""
    return Decimal(str(first_band_price(tier))) / Decimal(str(first_band_price(standard)))


def first_band_price(value: float | list[float]) -> float:
    """A price in its first context band."""
    return value[0] if isinstance(value, list) else value


def add_price(raw: RawRow, rule: own.AddPrice) -> bool:
    """Puts a price into every entry that lacks it, `write.12h` only where writes are billed at all; whether any did."""
    done = False
    for found in raw["prices"]:
        absent = rule.key not in found or rule.since is not None
        writes = not rule.key.startswith("write.12h") or "write.30m" in found
        fits = not rule.tiers or found.get("tier", STANDARD_TIER) in rule.tiers
        current = rule.since is None or found.get("from", "") >= rule.since
        if not (absent and writes and fits and current):
            continue
        if rule.value is not None and found.get("tier", STANDARD_TIER) == STANDARD_TIER:
            found[rule.key] = round_price(rule.value)
            done = True
        elif rule.base_key in found:
            found[rule.key] = scale_price(found[rule.base_key], rule.factor)
            done = True
    return done


def apply_overrides(vendor: str, rows: list[RawRow]) -> list[RawRow]:
    """The rows of a vendor with our own rules over them."""
    rules = [rule for rule in own.OVERRIDE_RULES if rule.vendor == vendor]
    drops = [
        pattern for rule in rules if isinstance(rule, own.DropModels) for pattern in rule.models
    ]
    rows = [raw for raw in rows if not any(fnmatchcase(row_id(raw), drop) for drop in drops)]
    denied = [
        pattern for rule in rules if isinstance(rule, own.DropNames) for pattern in rule.names
    ]
    for raw in rows:
        raw["names"] = [
            name
            for name in raw["names"]
            if not any(fnmatchcase(name, pattern) for pattern in denied)
        ]
    for rule in rules:
        if isinstance(rule, own.ReplaceRow):
            mine = {name.rstrip("*") for name in rule.names}
            rows = [raw for raw in rows if row_id(raw) not in mine]
            prices = [dict(found) for found in rule.prices]
            rows.append(
                {
                    "names": list(rule.names),
                    "prices": prices,
                    "source": rule.source,
                    "date": rule.date,
                }
            )
    for raw in rows:
        for rule in rules:
            apply_rule(raw, rule)
        raw["prices"].sort(key=entry_sort_key)
    return [raw for raw in rows if raw["names"]]


def apply_rule(raw: RawRow, rule: own.OverrideRule) -> None:
    """Applies one rule to one row, if it is for it."""
    if isinstance(rule, own.BackdateTier):
        backdate_tier(raw, rule)
    elif isinstance(rule, own.MultiplyStandard) and matches_any_pattern(raw, rule.models):
        multiply_standard_prices(raw, rule)
    elif isinstance(rule, own.AddPrice) and matches_any_pattern(raw, rule.models):
        if add_price(raw, rule):
            raw.setdefault("also", {})[rule.key] = f"{rule.source} ({rule.date})"
    elif (
        isinstance(rule, own.RegionUplift)
        and matches_any_pattern(raw, rule.models)
        and "uplift" not in raw
    ):
        raw["uplift"] = dict(rule.factors)
        raw.setdefault("also", {})["uplift"] = f"{rule.source} ({rule.date})"


def entry_sort_key(found: PriceEntry) -> tuple[str, str]:
    """Where an entry stands in its row: by tier, then by the day from which it holds."""
    return found.get("tier", ""), found.get("from", "")
