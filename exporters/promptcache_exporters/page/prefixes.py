"""The families of prefixes: how they did over time, who shares them, and which earn nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from markupsafe import Markup

from promptcache_exporters.page.charts import draw_line_chart
from promptcache_exporters.page.hit_rate import rate_kind
from promptcache_exporters.page.overview import AmountSums, sums_of_totals
from promptcache_exporters.page.overview_page import group_cells
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.format import (
    format_count,
    format_local_time,
    format_name,
    format_percent_rounded_down,
)
from promptcache_exporters.report.lines import GROUP_COLUMNS
from promptcache_exporters.report.model import Report, ReportGroup

PREFIX_FIELDS: Final = (GroupBy.FAMILY, GroupBy.SERVICE, GroupBy.CALLSITE, GroupBy.OUTCOME)
"""The fields of the report of which `list_prefix_families` makes families."""
PREFIX_COLUMNS: Final = ("over time", *GROUP_COLUMNS)
MAX_FAMILIES: Final = 50
_NO_CALLS: Final = AmountSums()


class PrefixTrait(StrEnum):
    """What can be said of a family, and asked for."""

    SHARED = "shared"
    TOO_SHORT = "too short"
    NEVER_READ = "never read"


TRAIT_MEANINGS: Final = {
    PrefixTrait.SHARED: "several services or lines of code use it",
    PrefixTrait.TOO_SHORT: "calls are below the shortest prefix that the provider caches",
    PrefixTrait.NEVER_READ: "it was written to the cache, and no call read it",
}


@dataclass(slots=True)
class PrefixFamily:
    """The calls that descend from one first call; `name` is None for calls without a family.

    periods: their sums by the place of the period in the report. short_calls: those that were below
    the provider's minimum.
    """

    name: str | None
    sums: AmountSums = _NO_CALLS
    read_tokens: int = 0
    write_tokens: int = 0
    services: set[str] = field(default_factory=set[str])
    sites: set[str] = field(default_factory=set[str])
    short_calls: int = 0
    periods: dict[int, AmountSums] = field(default_factory=dict[int, AmountSums])

    @property
    def traits(self) -> list[PrefixTrait]:
        """What is true of the family."""
        is_shared = self.name is not None and max(len(self.services), len(self.sites)) > 1
        is_never_read = self.write_tokens > 0 and not self.read_tokens
        found = {
            PrefixTrait.SHARED: is_shared,
            PrefixTrait.TOO_SHORT: self.short_calls > 0,
            PrefixTrait.NEVER_READ: is_never_read,
        }
        return [trait for trait, is_true in found.items() if is_true]

    def add(self, group: ReportGroup) -> None:
        """Add the calls of one service, line of code and outcome."""
        _, service, site, outcome = group.values
        self.sums = self.sums.plus(sums_of_totals(group.totals))
        self.read_tokens += group.totals.read_tokens or 0
        self.write_tokens += group.totals.write_tokens or 0
        self.services |= {service} if service else set()
        self.sites |= {site} if site else set()
        self.short_calls += group.totals.calls if outcome == "below_minimum" else 0
        for number, totals in group.totals_by_period.items():
            known = self.periods.get(number, _NO_CALLS)
            self.periods[number] = known.plus(sums_of_totals(totals))


def list_prefix_families(report: Report) -> list[PrefixFamily]:
    """Return the families of a report by `PREFIX_FIELDS`, the one with the most input first."""
    families: dict[str | None, PrefixFamily] = {}
    for group in report.groups:
        name = group.values[0]
        families.setdefault(name, PrefixFamily(name)).add(group)
    return sorted(families.values(), key=lambda one: -one.sums.input_tokens)


def prefix_values(
    report: Report, trait: PrefixTrait | None, addresses: Mapping[str, str]
) -> dict[str, Any]:
    """Return the values of the template: the families with this trait, else all.

    addresses: the link of each family by its name.
    """
    families = list_prefix_families(report)
    wanted = [one for one in families if trait is None or trait in one.traits]
    starts = [period.start for period in report.periods]
    return {
        "columns": PREFIX_COLUMNS,
        "rows": [_row(one, starts, addresses) for one in wanted[:MAX_FAMILIES]],
        "hidden": max(0, len(wanted) - MAX_FAMILIES),
        "explanation": trait and TRAIT_MEANINGS[trait],
    }


def _row(
    family: PrefixFamily, starts: Sequence[float], addresses: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "name": format_name(family.name),
        "address": addresses.get(family.name or "", ""),
        "badges": [(trait.value, TRAIT_MEANINGS[trait]) for trait in family.traits],
        "more": ", ".join(_describe_users(family)),
        "cells": [_draw_rates(family, starts), *group_cells(family.sums)],
    }


def _describe_users(family: PrefixFamily) -> Iterable[str]:
    if len(family.services) == 1:
        yield format_name(next(iter(family.services)))
    elif family.services:
        yield f"{format_count(len(family.services))} services"
    if len(family.sites) > 1:
        yield f"{format_count(len(family.sites))} lines of code"
    if family.short_calls:
        yield f"{format_count(family.short_calls)} calls too short"


def _draw_rates(family: PrefixFamily, starts: Sequence[float]) -> Markup:
    """Return the hit rate of each period, with a gap where the family had no calls."""
    if len(starts) < 2:
        return Markup("")
    rates = [family.periods.get(number, _NO_CALLS).hit_rate for number in range(len(starts))]
    titles = [
        f"{format_local_time(start)}: {format_percent_rounded_down(rate)} read"
        for start, rate in zip(starts, rates, strict=True)
    ]
    kind = rate_kind(family.sums.hit_rate)
    return Markup('<span class="sparkline">{}</span>').format(
        draw_line_chart(rates, titles, 1.0, kind)
    )
