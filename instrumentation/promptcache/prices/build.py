"""`promptcache prices build`: the imported list and our own rows -> the files of `table/`.

Reproducible: the same version of genai-prices and the same `own.py` give the same bytes. genai-prices is needed here
only, never in an instrumented application.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from ..model import TTL_SECONDS
from . import own
from .algebra import META
from .table import FOLDER, STANDARD

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

Entry = dict[str, Any]
Raw = dict[str, Any]

KEYS: Final[Mapping[str, str]] = {
    "input_mtok": "input",
    "cache_read_mtok": "read",
    "cache_write_1h_mtok": "write.1h",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning.output",
    "web_searches_kcount": "tools.web_search",
    "storage_searches_kcount": "tools.file_search",
    **{f"input_{kind}_mtok": f"{kind}.input" for kind in ("audio", "image", "video")},
    **{f"cache_{kind}_read_mtok": f"{kind}.read" for kind in ("audio", "image", "video")},
    **{f"output_{kind}_mtok": f"{kind}.output" for kind in ("audio", "image", "video")},
}
"""The list's price keys -> ours. A model billed by anything else (hours, pages, requests) is not priced by tokens."""

CONTEXTS: Final[tuple[tuple[str, dict[str, str]], ...]] = (
    ("flex", {"service_tier": "flex"}),
    ("priority", {"service_tier": "priority"}),
    ("fast", {"speed": "fast"}),
    ("batch", {"processing": "batch"}),
)
_BORROWED: Final = ("Imported from OpenRouter", "Seen on OpenRouter before")
_ORDER: Final = ("tier", "from", "hours", "days", "except", "input", "read", "write", "output")


def number(value: Decimal | float) -> float | int:
    """A price as JSON writes it: no digit that the source does not have."""
    plain = float(round(Decimal(str(value)), 12))
    return int(plain) if plain.is_integer() else plain


def entry(price: ModelPrice, ttl: str) -> Entry | None:
    """One imported price in our words; None where it bills by something that is not tokens or tool uses."""
    found: Entry = {}
    for key, value in vars(price).items():
        if value is None or key.startswith("_"):
            continue
        ours = f"write.{ttl}" if key == "cache_write_mtok" else KEYS.get(key)
        if ours is None:
            return None
        tiers = getattr(value, "tiers", None)
        if tiers is None:
            found[ours] = number(value)
        else:
            found[ours] = [number(value.base), *(part for t in tiers for part in (t.start, number(t.price)))]
    return found


def literals(match: Any) -> Iterator[str]:
    """The names that a match clause of the list stands for; one that holds for a family of previews ends in `*`."""
    for part in getattr(match, "or_", None) or getattr(match, "and_", None) or ():
        yield from literals(part)
    if hasattr(match, "equals"):
        yield match.equals.lower()
    for kind in ("starts_with", "ends_with", "contains"):
        if hasattr(match, kind):
            yield getattr(match, kind).lower().strip("-@/") + "*"


def write_ttl(vendor: str, model: str) -> str:
    """The TTL that a model's plain cache-write price is for."""
    return next(ttl for v, m, ttl in own.WRITE_TTL if fnmatchcase(vendor, v) and fnmatchcase(model, m))


def days(model: ModelInfo) -> list[date | None]:
    """None for the beginning, then each day on which some price of the model changes."""
    prices = model.prices if isinstance(model.prices, list) else []
    limits = [price.constraint for price in (*prices, *(model.price_variants or ()))]
    return [None, *sorted({start for limit in limits if (start := getattr(limit, "start_date", None))})]


def read_is_own(model: ModelInfo, context: Mapping[str, str] | None) -> bool:
    """Whether the list gives a tier its own price for cached reads, rather than leaving the standard one."""
    variants = [variant for variant in model.price_variants or () if variant.when == context]
    return any("cache_read_mtok" in vars(variant.prices) for variant in variants)


def imported(vendor: str, model: ModelInfo) -> Raw:
    """A model of the list as a raw row: every tier's whole prices at every day of a change."""
    ttl = write_ttl(vendor, model.id.lower())
    prices: list[Entry] = []
    for tier, context in ((STANDARD, None), *CONTEXTS):
        last: Entry | None = None
        for day in days(model):
            moment = datetime(day.year, day.month, day.day, tzinfo=UTC) if day else datetime(1970, 1, 1, tzinfo=UTC)
            if context and not any(
                variant.when == context and (variant.constraint is None or variant.constraint.active(moment))  # type: ignore[arg-type]
                for variant in model.price_variants or ()
            ):
                continue
            found = entry(model.get_prices(moment, context), ttl)
            if found and (vendor, tier) in own.OWN_READ and not read_is_own(model, context):
                found.pop("read", None)
            if found and found != last:
                head: Entry = ({"tier": tier} if context else {}) | ({"from": day.isoformat()} if day else {})
                prices.append(head | found)
                last = found
    names = dict.fromkeys((model.id.lower(), *literals(model.match)))
    return {"names": [name for name in names if not (name + "*" in names)], "prices": prices}


def named(raw: Raw, patterns: Iterable[str]) -> bool:
    """Whether any of a row's names fits any of `patterns`."""
    return any(fnmatchcase(name.rstrip("*"), pattern) for name in raw["names"] for pattern in patterns)


def of_tier(raw: Raw, tier: str) -> list[Entry]:
    """A row's entries of one tier, by the day from which they hold."""
    return [found for found in raw["prices"] if found.get("tier", STANDARD) == tier]


def between(entries: Iterable[Entry], since: str, until: str) -> Iterator[tuple[str, Entry]]:
    """The entries that hold somewhere in [since, until), each with the first day of that."""
    ordered = list(entries)
    for index, found in enumerate(ordered):
        start = max(since, found.get("from", ""))
        end = min(until, ordered[index + 1].get("from", "")) if index + 1 < len(ordered) else until
        if start < end:
            yield start, found


def scaled(value: Any, factor: float | Decimal) -> Any:
    """A price, or a banded price, times a factor."""
    if isinstance(value, list):
        return [number(Decimal(str(v)) * Decimal(str(factor))) if i % 2 == 0 else v for i, v in enumerate(value)]
    return number(Decimal(str(value)) * Decimal(str(factor)))


def token_keys(found: Entry) -> list[str]:
    """The keys of an entry that are prices per token."""
    return [key for key in found if key not in META and key.partition(".")[0] not in ("tools", "storage")]


def multiply(raw: Raw, rule: own.Multiply) -> None:
    """Adds entries of a tier as multiples of the standard ones, up to the first entry that the list itself has."""
    until = min((found.get("from", "") for found in of_tier(raw, rule.tier)), default="9999")
    for start, found in list(between(of_tier(raw, STANDARD), rule.since, until)):
        made = {"tier": rule.tier, "from": start, "source": rule.source, "date": rule.date}
        for key in token_keys(found):
            factor = rule.factors.get(key, rule.factors["*"])
            made[key] = scaled(found[key], factor)
        made |= {key: value for key, value in found.items() if key.startswith("tools.")}
        raw["prices"].append(made)


def backdate(raw: Raw, rule: own.Backdate) -> None:
    """Lets the first entry of a tier hold earlier; where the standard price was another then, in the same proportion."""
    known = of_tier(raw, rule.tier)
    if not known or known[0].get("from", "") <= rule.since:
        return
    first = known[0]
    standard = of_tier(raw, STANDARD)
    now = [found for _, found in between(standard, first["from"], "9999")][0]
    for start, then in list(between(standard, rule.since, first["from"])):
        if then is now:
            first |= {"from": start, "source": rule.source, "date": rule.date}
            continue
        made = {key: value for key, value in first.items() if key not in ("from", "source", "date")}
        made |= {"from": start, "source": rule.source, "date": rule.date}
        for key in token_keys(first):
            if then.get(key) != now.get(key):
                if key not in then or isinstance(now[key], list) != isinstance(then[key], list):
                    break
                made[key] = scaled(then[key], ratio(first[key], now[key]))
        else:
            raw["prices"].append(made)


def ratio(tier: Any, standard: Any) -> Decimal:
    """How a tier's price stands to the standard one, by their first band."""
    first, second = (value[0] if isinstance(value, list) else value for value in (tier, standard))
    return Decimal(str(first)) / Decimal(str(second))


def add(raw: Raw, rule: own.Add) -> None:
    """Puts a price into every entry that lacks it; `write.12h` only where writes are billed at all."""
    for found in raw["prices"]:
        absent = rule.key not in found or rule.since is not None
        writes = not rule.key.startswith("write.12h") or "write.30m" in found
        fits = not rule.tiers or found.get("tier", STANDARD) in rule.tiers
        current = rule.since is None or found.get("from", "") >= rule.since
        if not (absent and writes and fits and current):
            continue
        if rule.value is not None and found.get("tier", STANDARD) == STANDARD:
            found[rule.key] = number(rule.value)
        elif rule.of in found:
            found[rule.key] = scaled(found[rule.of], rule.factor)


def apply(vendor: str, rows: list[Raw]) -> list[Raw]:
    """The rows of a vendor with our own rules over them."""
    rules = [rule for rule in own.RULES if rule.vendor == vendor]
    drops = [pattern for rule in rules if isinstance(rule, own.Drop) for pattern in rule.models]
    rows = [raw for raw in rows if not any(fnmatchcase(raw["names"][0].rstrip("*"), drop) for drop in drops)]
    for rule in rules:
        if isinstance(rule, own.Replace):
            mine = {name.rstrip("*") for name in rule.names}
            rows = [raw for raw in rows if raw["names"][0].rstrip("*") not in mine]
            prices = [dict(found) for found in rule.prices]
            rows.append({"names": list(rule.names), "prices": prices, "source": rule.source, "date": rule.date})
    for raw in rows:
        for rule in rules:
            if isinstance(rule, (own.Multiply, own.Add, own.Uplift)) and named(raw, rule.models):
                if isinstance(rule, own.Multiply):
                    multiply(raw, rule)
                elif isinstance(rule, own.Add):
                    add(raw, rule)
                else:
                    raw.setdefault("uplift", dict(rule.factors))
            elif isinstance(rule, own.Backdate):
                backdate(raw, rule)
        raw["prices"].sort(key=lambda found: (found.get("tier", ""), found.get("from", "")))
    return rows


def lines(vendor: Provider | None, name: str, header: Mapping[str, str]) -> list[str]:
    """The file of one vendor: a header, then a line a model, ordered by name."""
    rows = []
    for model in vendor.models if vendor else ():
        if not (model.price_comments or "").startswith(_BORROWED) or "Verified against" in (model.price_comments or ""):
            rows.append(imported(name, model))
    rows = apply(name, rows)
    taken: set[str] = set()
    for raw in rows:
        raw["names"] = [one for one in raw["names"] if not (one in taken or taken.add(one))]  # type: ignore[func-returns-value]
        raw["prices"] = [tidy(found) for found in raw["prices"]]
    rows = sorted((raw for raw in rows if raw["names"]), key=lambda raw: str(raw["names"][0]))
    return [json.dumps(line, separators=(",", ":")) for line in (header, *rows)]


def tidy(found: Entry) -> Entry:
    """An entry with its keys in one order."""
    places = {key: place for place, key in enumerate(_ORDER)}
    ttls = (*TTL_SECONDS, "unknown")
    ordered = sorted(
        found,
        key=lambda key: (
            places.get(key.partition(".")[0], 99),
            ttls.index(key[6:]) if key.startswith("write.") else 0,
            key,
        ),
    )
    return {key: found[key] for key in ordered}


def build(folder: str = FOLDER, day: str | None = None) -> dict[str, list[str]]:
    """Every vendor's lines. A list's date is the day on which its version was first compiled.

    Needs the extra `promptcache[prices]`.
    """
    from genai_prices.data import providers

    source = f"genai-prices {version('genai-prices')}"
    made = {}
    for vendor in providers:
        before = read(os.path.join(folder, f"{vendor.id}.jsonl"))[:1]
        old = json.loads(before[0]) if before else {}
        date = old["date"] if old.get("source") == source else day or datetime.now(UTC).date().isoformat()
        made[vendor.id] = lines(vendor, vendor.id, {"source": source, "date": date})
    return made


def read(path: str) -> list[str]:
    """A file's lines, none where there is no file."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="ascii") as file:
        return file.read().splitlines()


def write(made: Mapping[str, list[str]], folder: str = FOLDER) -> None:
    """Writes the table."""
    os.makedirs(folder, exist_ok=True)
    for vendor, content in made.items():
        with open(os.path.join(folder, f"{vendor}.jsonl"), "w", encoding="ascii", newline="\n") as file:
            file.write("\n".join(content) + "\n")
