"""Compile the price table: genai-prices and the override rules become the files of `data/`.

`promptcache prices build` runs this. The result is reproducible: the same version of genai-prices
and the same `overrides.py` give the same bytes. An instrumented application never imports this
package, and does not need genai-prices.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from promptcache.model import TTL_SECONDS
from promptcache.prices.build import overrides
from promptcache.prices.build.apply_overrides import (
    PriceEntry,
    RawRow,
    apply_overrides,
    round_price,
)
from promptcache.prices.table import DATA_DIR, STANDARD_TIER

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

PRICE_KEYS: Final[Mapping[str, str]] = {
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
"""The key in the price table for each price key of genai-prices.

A model with any other price (by hours, pages, requests) is not billed by tokens and is left out.
"""

TIER_CONTEXTS: Final[tuple[tuple[str, dict[str, str]], ...]] = (
    ("flex", {"service_tier": "flex"}),
    ("priority", {"service_tier": "priority"}),
    ("fast", {"speed": "fast"}),
    ("batch", {"processing": "batch"}),
)
_RESELLER_COMMENTS: Final = ("Imported from OpenRouter", "Seen on OpenRouter before")
_KEY_ORDER: Final = ("tier", "from", "hours", "days", "except", "input", "read", "write", "output")


def convert_imported_price(price: ModelPrice, write_ttl: str) -> PriceEntry | None:
    """Return an imported price as a table entry, None if it has a price key that is not in
    PRICE_KEYS."""
    entry: PriceEntry = {}
    for key, value in vars(price).items():
        key_in_table = f"write.{write_ttl}" if key == "cache_write_mtok" else PRICE_KEYS.get(key)
        if key_in_table is None:
            return None
        tiers = getattr(value, "tiers", None)
        if tiers is None:
            entry[key_in_table] = round_price(value)
        else:
            entry[key_in_table] = [
                round_price(value.base),
                *(part for t in tiers for part in (t.start, round_price(t.price))),
            ]
    return entry


def names_in_match_clause(match: Any) -> Iterator[str]:
    """Yield the names that a match clause stands for.

    A name that also stands for the previews of a model ends in `*`.
    """
    for part in getattr(match, "or_", None) or getattr(match, "and_", None) or ():
        yield from names_in_match_clause(part)
    if hasattr(match, "equals"):
        yield match.equals.lower()
    for kind in ("starts_with", "ends_with", "contains"):
        if hasattr(match, kind):
            yield getattr(match, kind).lower().strip("-@/") + "*"


def default_write_ttl(vendor: str, model: str) -> str:
    """Return the TTL of the list's cache-write price, which names no TTL."""
    return next(
        ttl
        for v, m, ttl in overrides.DEFAULT_WRITE_TTLS
        if fnmatchcase(vendor, v) and fnmatchcase(model, m)
    )


def price_change_days(model: ModelInfo) -> list[date | None]:
    """Return None for the beginning, then each day on which a price of the model changes."""
    prices = model.prices if isinstance(model.prices, list) else []
    limits = [price.constraint for price in (*prices, *(model.price_variants or ()))]
    return [
        None,
        *sorted({start for limit in limits if (start := getattr(limit, "start_date", None))}),
    ]


def has_tier_cache_read_price(model: ModelInfo, tier_context: Mapping[str, str] | None) -> bool:
    """Return whether the list has a cache-read price for this tier, not only the standard one."""
    variants = [variant for variant in model.price_variants or () if variant.when == tier_context]
    return any("cache_read_mtok" in vars(variant.prices) for variant in variants)


def build_row_of_imported_model(vendor: str, model: ModelInfo) -> RawRow:
    """Return a model as a row: all prices of every tier, from each day on which one changes."""
    ttl = default_write_ttl(vendor, model.id.lower())
    prices: list[PriceEntry] = []
    for tier, context in ((STANDARD_TIER, None), *TIER_CONTEXTS):
        last: PriceEntry | None = None
        for day in price_change_days(model):
            moment = (
                datetime(day.year, day.month, day.day, tzinfo=UTC)
                if day
                else datetime(1970, 1, 1, tzinfo=UTC)
            )
            if context and not any(
                variant.when == context
                and (variant.constraint is None or variant.constraint.active(moment))
                for variant in model.price_variants or ()
            ):
                continue
            entry = convert_imported_price(model.get_prices(moment, context), ttl)
            if (
                entry
                and (vendor, tier) in overrides.TIERS_WITHOUT_CACHE_READ_PRICE
                and not has_tier_cache_read_price(model, context)
            ):
                entry.pop("read", None)
            if entry and entry != last:
                head: PriceEntry = {"tier": tier} if context else {}
                if day:
                    head["from"] = day.isoformat()
                prices.append(head | entry)
                last = entry
    names = [model.id.lower(), *names_in_match_clause(model.match)]
    families = {name for name in names if name.endswith("*")}
    wide = (name + "*" if name + "*" in families else name for name in names)
    return {"names": list(dict.fromkeys(wide)), "prices": prices}


def is_from_reseller(model: ModelInfo) -> bool:
    """Return whether the list took a model's price only from the page of a reseller."""
    note = model.price_comments or ""
    return note.startswith(_RESELLER_COMMENTS) and "Verified against" not in note


def compile_vendor_lines(vendor: Provider, header: Mapping[str, str]) -> list[str]:
    """Return the lines of a vendor's file: a header, then one line per model, ordered by name."""
    rows = apply_overrides(
        vendor.id,
        [
            build_row_of_imported_model(vendor.id, model)
            for model in vendor.models
            if not is_from_reseller(model)
        ],
    )
    taken: set[str] = set()
    for raw in rows:
        raw["names"] = [one for one in raw["names"] if one not in taken]
        taken.update(raw["names"])
        raw["prices"] = [sort_entry_keys(entry) for entry in raw["prices"]]
    rows = sorted((raw for raw in rows if raw["names"]), key=lambda raw: str(raw["names"][0]))
    return [json.dumps(line, separators=(",", ":")) for line in (header, *rows)]


def sort_entry_keys(entry: PriceEntry) -> PriceEntry:
    """Return an entry with its keys in the order of the files."""
    positions = {key: position for position, key in enumerate(_KEY_ORDER)}
    ttls = (*TTL_SECONDS, "unknown")
    ordered = sorted(
        entry,
        key=lambda key: (
            positions.get(key.partition(".")[0], 99),
            ttls.index(key[6:]) if key.startswith("write.") else 0,
            key,
        ),
    )
    return {key: entry[key] for key in ordered}


def compile_price_tables(folder: str = DATA_DIR, day: str | None = None) -> dict[str, list[str]]:
    """Return the lines of every vendor's file.

    The date of a list is the day on which this version of genai-prices was first compiled. Raises
    ImportError without the extra `promptcache[prices]`.
    """
    from genai_prices.data import providers

    source = f"genai-prices {version('genai-prices')}"
    tables: dict[str, list[str]] = {}
    for vendor in providers:
        before = read_lines_if_exists(os.path.join(folder, f"{vendor.id}.jsonl"))[:1]
        old: dict[str, str] = json.loads(before[0]) if before else {}
        date = (
            old["date"]
            if old.get("source") == source
            else day or datetime.now(UTC).date().isoformat()
        )
        tables[vendor.id] = compile_vendor_lines(vendor, {"source": source, "date": date})
    return tables


def read_lines_if_exists(path: str) -> list[str]:
    """Return the lines of a file, nothing if there is no file."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="ascii") as file:
        return file.read().splitlines()


def write_price_tables(tables: Mapping[str, list[str]], folder: str = DATA_DIR) -> None:
    """Write the files of the price table."""
    os.makedirs(folder, exist_ok=True)
    for vendor, content in tables.items():
        with open(
            os.path.join(folder, f"{vendor}.jsonl"), "w", encoding="ascii", newline="\n"
        ) as file:
            file.write("\n".join(content) + "\n")
