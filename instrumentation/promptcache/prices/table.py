"""The compiled price table: one file per vendor, one line of JSON per model.

The file of a vendor is searched when one of its models is looked up, and only the row that is
found stays in memory. The format is in `docs/specs/cost.md`, section 6. `promptcache prices build`
writes the files. Do not edit them by hand.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from promptcache.prices.rates import Rates, build_rates, context_band_starts

DATA_DIR: Final = os.path.join(os.path.dirname(__file__), "data")
STANDARD_TIER: Final = "standard"
_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})
_EPOCH_ORDINAL: Final = 719_163
"""The ordinal of 1970-01-01."""


def to_epoch_seconds(iso_utc: str) -> int:
    """Return the epoch seconds of an ISO day or minute in UTC: `2026-10-14`, `2026-08-16T16:00`."""
    day, _, clock = iso_utc.partition("T")
    hours, _, minutes = (clock or "00:00").partition(":")
    return (
        (date.fromisoformat(day).toordinal() - _EPOCH_ORDINAL) * 86_400
        + int(hours) * 3600
        + int(minutes) * 60
    )


class PricePeriod(NamedTuple):
    """An entry of a row, ready for arithmetic.

    It is in force from `since` (epoch seconds) on. With `active_minutes` it is in force only in
    these minutes of the UTC day, on `weekdays` (Monday is 1) that are not in `excluded_days` (days
    since 1970-01-01).
    """

    since: int
    entry: Mapping[str, Any]
    band_starts: tuple[int, ...]
    rates_by_band: tuple[Rates, ...]
    active_minutes: tuple[tuple[int, int], ...] = ()
    weekdays: frozenset[int] = frozenset()
    excluded_days: frozenset[int] = frozenset()

    def is_in_force(self, at: float) -> bool:
        """Return whether this period is in force at `at`, in epoch seconds."""
        if at < self.since:
            return False
        if not self.active_minutes:
            return True
        day, second = divmod(int(at), 86_400)
        # 1970-01-01 was a Thursday. Weekdays count from Monday as 1.
        if (day + 3) % 7 + 1 not in self.weekdays or day in self.excluded_days:
            return False
        return any(start <= second // 60 < end for start, end in self.active_minutes)

    def rates_for_input(self, input_tokens: int) -> Rates:
        """Return the rates of the context band for an input of `input_tokens`."""
        band = 0
        for start in self.band_starts:
            band += input_tokens > start
        return self.rates_by_band[band]


def build_period(
    entry: Mapping[str, Any], region_factor: float, source: str, date: str | None
) -> PricePeriod:
    """Return the period of a table entry, with its token prices multiplied by `region_factor`."""
    starts = context_band_starts(entry)
    return PricePeriod(
        to_epoch_seconds(entry["from"]) if "from" in entry else 0,
        entry,
        starts,
        tuple(
            build_rates(entry, band, region_factor, source, date) for band in range(len(starts) + 1)
        ),
        tuple((start, end) for start, end in entry.get("hours", ())),
        frozenset(entry.get("days", (1, 2, 3, 4, 5, 6, 7))),
        frozenset(to_epoch_seconds(day) // 86_400 for day in entry.get("except", ())),
    )


class PriceRow(NamedTuple):
    """One model in one vendor's list.

    `uplift` is the factor on token prices by region (`us`, `regional`). `price_sources` has the
    sources of single prices that the source of the row does not have.
    """

    vendor: str
    id: str
    entries: Sequence[Mapping[str, Any]]
    uplift: Mapping[str, float] = _EMPTY
    source: str = ""
    date: str | None = None
    price_sources: Mapping[str, str] = _EMPTY

    def periods_of_tier(self, tier: str, region_factor: float) -> tuple[PricePeriod, ...]:
        """Return the periods of one tier. A later one wins over an earlier one."""
        entries = [entry for entry in self.entries if entry.get("tier", STANDARD_TIER) == tier]
        return tuple(
            build_period(entry, region_factor, self.source, self.date) for entry in entries
        )

    def tiers(self) -> tuple[str, ...]:
        """Return the tiers for which the vendor has prices of this model."""
        return tuple(dict.fromkeys(entry.get("tier", STANDARD_TIER) for entry in self.entries))


def latest_period_in_force(periods: tuple[PricePeriod, ...], at: float) -> PricePeriod | None:
    """Return the last of `periods` that is in force at `at` (epoch seconds)."""
    latest_first: Iterator[PricePeriod] = reversed(periods)
    for period in latest_first:
        if period.is_in_force(at):
            return period
    return None


def read_price_list_text(vendor: str) -> str:
    """Return the text of a vendor's file, "" if there is no file."""
    try:
        with open(os.path.join(DATA_DIR, f"{vendor}.jsonl"), encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def parse_price_row(vendor: str, line: str, header: Mapping[str, Any]) -> PriceRow:
    """Return the row of a line of the table."""
    raw = json.loads(line)
    return PriceRow(
        vendor,
        raw["names"][0].rstrip("*"),
        raw["prices"],
        raw.get("uplift", {}),
        raw.get("source", header["source"]),
        raw.get("date", header["date"]),
        raw.get("also", {}),
    )


def list_model_names(vendor: str) -> list[str]:
    """Return the names of all models in a vendor's list, patterns without their `*`."""
    _, _, lines = read_price_list_text(vendor).partition("\n")
    names = (name for line in lines.splitlines() for name in json.loads(line)["names"])
    return [name.rstrip("*") for name in names]


def find_price_row(vendor: str, names: Iterable[str]) -> PriceRow | None:
    """Return the row of the first of `names` that the vendor's list has.

    The text of the file is searched before any line is parsed: that is why one look-up takes 0.3
    ms.
    """
    table = read_price_list_text(vendor)
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
                return parse_price_row(vendor, line, json.loads(head))
            at = table.find(needle, at + 1)
    return None
