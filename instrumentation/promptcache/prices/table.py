"""The compiled price table: one file a vendor, one JSON line a model, read line by line when a model is asked for.

Nothing of it stays in memory but the rows that were found. The format is in `docs/specs/cost.md`, section 6; the files
are made by `promptcache prices build` and are never edited by hand.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from promptcache.prices import algebra
from promptcache.prices.algebra import Rates

FOLDER: Final = os.path.join(os.path.dirname(__file__), "table")
STANDARD: Final = "standard"
_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})
_EPOCH: Final = 719_163
"""The ordinal of 1970-01-01."""


def seconds(moment: str) -> int:
    """Epoch seconds of an ISO day or minute in UTC (`2026-10-14`, `2026-08-16T16:00`)."""
    day, _, clock = moment.partition("T")
    hours, _, minutes = (clock or "00:00").partition(":")
    return (
        (date.fromisoformat(day).toordinal() - _EPOCH) * 86_400
        + int(hours) * 3600
        + int(minutes) * 60
    )


class Period(NamedTuple):
    """One entry of a row: what holds from a moment on, and in which hours, if only in some."""

    since: int
    entry: Mapping[str, Any]
    bands: tuple[int, ...]
    rates: tuple[Rates, ...]
    hours: tuple[tuple[int, int], ...] = ()
    days: frozenset[int] = frozenset()
    free_days: frozenset[int] = frozenset()

    def holds(self, at: float) -> bool:
        """Whether this entry is in force at `at`, in epoch seconds."""
        if at < self.since:
            return False
        if not self.hours:
            return True
        day, second = divmod(int(at), 86_400)
        # The first of January 1970 was a Thursday; days count from Monday as 1.
        if (day + 3) % 7 + 1 not in self.days or day in self.free_days:
            return False
        return any(start <= second // 60 < end for start, end in self.hours)

    def at(self, tokens: int) -> Rates:
        """The rates of the context band that an input of `tokens` falls into."""
        found = 0
        for start in self.bands:
            found += tokens > start
        return self.rates[found]


def period(entry: Mapping[str, Any], factor: float, source: str, date: str | None) -> Period:
    """A table entry made ready for arithmetic, its token prices multiplied by `factor`."""
    bands = algebra.starts(entry)
    return Period(
        seconds(entry["from"]) if "from" in entry else 0,
        entry,
        bands,
        tuple(algebra.rates(entry, band, factor, source, date) for band in range(len(bands) + 1)),
        tuple((start, end) for start, end in entry.get("hours", ())),
        frozenset(entry.get("days", (1, 2, 3, 4, 5, 6, 7))),
        frozenset(seconds(day) // 86_400 for day in entry.get("except", ())),
    )


class Row(NamedTuple):
    """One model in one vendor's list. `uplift` says by how much a place (`us`, `regional`) multiplies token prices,
    `also` where single prices come from that the row's source does not have."""

    vendor: str
    id: str
    prices: Sequence[Mapping[str, Any]]
    uplift: Mapping[str, float] = _EMPTY
    source: str = ""
    date: str | None = None
    also: Mapping[str, str] = _EMPTY

    def periods(self, tier: str, factor: float) -> tuple[Period, ...]:
        """The entries of one tier, later ones winning over earlier ones."""
        found = [entry for entry in self.prices if entry.get("tier", STANDARD) == tier]
        return tuple(period(entry, factor, self.source, self.date) for entry in found)

    def tiers(self) -> tuple[str, ...]:
        """The tiers that the vendor prices for this model."""
        return tuple(dict.fromkeys(entry.get("tier", STANDARD) for entry in self.prices))


def in_force(periods: tuple[Period, ...], at: float) -> Period | None:
    """The last of `periods` that holds at `at`."""
    latest_first: Iterator[Period] = reversed(periods)
    for found in latest_first:
        if found.holds(at):
            return found
    return None


def text(vendor: str) -> str:
    """A vendor's file, `""` where there is none."""
    try:
        with open(os.path.join(FOLDER, f"{vendor}.jsonl"), encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def row(vendor: str, line: str, header: Mapping[str, Any]) -> Row:
    """The row that a line of the table holds."""
    raw = json.loads(line)
    return Row(
        vendor,
        raw["names"][0].rstrip("*"),
        raw["prices"],
        raw.get("uplift", {}),
        raw.get("source", header["source"]),
        raw.get("date", header["date"]),
        raw.get("also", {}),
    )


def find(vendor: str, names: Iterable[str]) -> Row | None:
    """The row of `vendor` that lists the first of `names` that any row lists."""
    table = text(vendor)
    if not table:
        return None
    head, _, table = table.partition("\n")
    for name in names:
        needle = json.dumps(name)
        at = table.find(needle)
        while at >= 0:
            start, end = table.rfind("\n", 0, at) + 1, table.find("\n", at)
            line = table[start : end if end >= 0 else None]
            if needle in line.partition("]")[0]:
                return row(vendor, line, json.loads(head))
            at = table.find(needle, at + 1)
    return None
