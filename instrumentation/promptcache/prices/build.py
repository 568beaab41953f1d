"""`promptcache prices build`: the imported list and our own rows -> the files of `table/`.

Reproducible: the same version of genai-prices and the same `own.py` give the same bytes. genai-prices is needed here
only, never in an instrumented application.
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
from promptcache.prices import own
from promptcache.prices.overlay import Entry, Raw, apply, number
from promptcache.prices.table import FOLDER, STANDARD

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

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


def entry(price: ModelPrice, ttl: str) -> Entry | None:
    """One imported price in our words; None where it bills by something that is not tokens or tool uses."""
    found: Entry = {}
    for key, value in vars(price).items():
        ours = f"write.{ttl}" if key == "cache_write_mtok" else KEYS.get(key)
        if ours is None:
            return None
        tiers = getattr(value, "tiers", None)
        if tiers is None:
            found[ours] = number(value)
        else:
            found[ours] = [
                number(value.base),
                *(part for t in tiers for part in (t.start, number(t.price))),
            ]
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
    return next(
        ttl for v, m, ttl in own.WRITE_TTL if fnmatchcase(vendor, v) and fnmatchcase(model, m)
    )


def days(model: ModelInfo) -> list[date | None]:
    """None for the beginning, then each day on which some price of the model changes."""
    prices = model.prices if isinstance(model.prices, list) else []
    limits = [price.constraint for price in (*prices, *(model.price_variants or ()))]
    return [
        None,
        *sorted({start for limit in limits if (start := getattr(limit, "start_date", None))}),
    ]


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
            found = entry(model.get_prices(moment, context), ttl)
            if found and (vendor, tier) in own.OWN_READ and not read_is_own(model, context):
                found.pop("read", None)
            if found and found != last:
                head: Entry = ({"tier": tier} if context else {}) | (
                    {"from": day.isoformat()} if day else {}
                )
                prices.append(head | found)
                last = found
    names = [model.id.lower(), *literals(model.match)]
    families = {name for name in names if name.endswith("*")}
    wide = (name + "*" if name + "*" in families else name for name in names)
    return {"names": list(dict.fromkeys(wide)), "prices": prices}


def borrowed(model: ModelInfo) -> bool:
    """Whether the list has a model's price from another seller's page only."""
    note = model.price_comments or ""
    return note.startswith(_BORROWED) and "Verified against" not in note


def lines(vendor: Provider, header: Mapping[str, str]) -> list[str]:
    """The file of one vendor: a header, then a line a model, ordered by name."""
    rows = apply(
        vendor.id, [imported(vendor.id, model) for model in vendor.models if not borrowed(model)]
    )
    taken: set[str] = set()
    for raw in rows:
        raw["names"] = [one for one in raw["names"] if one not in taken]
        taken.update(raw["names"])
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
    made: dict[str, list[str]] = {}
    for vendor in providers:
        before = read(os.path.join(folder, f"{vendor.id}.jsonl"))[:1]
        old: dict[str, str] = json.loads(before[0]) if before else {}
        date = (
            old["date"]
            if old.get("source") == source
            else day or datetime.now(UTC).date().isoformat()
        )
        made[vendor.id] = lines(vendor, {"source": source, "date": date})
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
        with open(
            os.path.join(folder, f"{vendor}.jsonl"), "w", encoding="ascii", newline="\n"
        ) as file:
            file.write("\n".join(content) + "\n")
