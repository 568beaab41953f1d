"""What the table says, as plain figures. No rendering.

Everything is a sum over calls, so the table is read in ranges of rows which are added up afterwards: each range fits
SQLite's sorter, several are read at once (SQLite lets go of the interpreter meanwhile), and as rows are never changed,
a fixed last row makes one consistent picture although other processes go on writing.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from promptcache.cli.exit_codes import ExitCode
from promptcache_exporters.database import parquet
from promptcache_exporters.database import sqlite_file as store
from promptcache_exporters.database.columns import MAX_NUMBER
from promptcache_exporters.report import storage_costs as rent
from promptcache_exporters.report import unread_writes as unread
from promptcache_exporters.report.sql import (
    BOUNDS_QUERY,
    IS_UNPRICED,
    PREFIXES_QUERY,
    SAMPLED_QUERY,
    STREAMS_WITHOUT_USAGE_QUERY,
    SUM_EXPRESSIONS,
)
from promptcache_exporters.report.storage_costs import StorageCosts
from promptcache_exporters.report.unread_writes import UnreadWrites


class GroupBy(StrEnum):
    """What calls can be grouped by."""

    SERVICE = "service"
    MODEL = "model"
    PREFIX = "prefix"
    FAMILY = "family"
    CALLSITE = "callsite"
    OUTCOME = "outcome"
    REASON = "reason"
    PROVIDER = "provider"


_GROUP_EXPRESSIONS: Final = {
    GroupBy.SERVICE: "service",
    GroupBy.MODEL: "coalesce(request_model, response_model)",
    GroupBy.PREFIX: "prefix_hash",
    GroupBy.FAMILY: "prefix_family",
    GroupBy.CALLSITE: "code_file || coalesce(':' || code_line, '') || coalesce(' ' || code_function, '')",
    GroupBy.OUTCOME: "outcome",
    GroupBy.REASON: "miss_reason",
    GroupBy.PROVIDER: "provider",
}

ROWS_PER_RANGE: Final = 500_000
"""Rows read at a time."""
RECENT_ROWS: Final = 100_000
"""Rows in which changes of a prefix are looked for."""

Sums = tuple[Any, ...]
"""What `SUMS` names, in its order; of no calls at all, nothing."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The stable interface of `promptcache report --json`: tokens, a rate in 0..1, and USD. None is unknown."""

    calls: int
    input_tokens: int | None
    read_tokens: int | None
    write_tokens: int | None
    uncached_tokens: int | None
    output_tokens: int | None
    hit_rate: float | None
    cost_usd: float | None
    without_cache_usd: float | None
    saved_usd: float | None
    wasted_usd: float | None
    unpriced_calls: int


@dataclass(frozen=True, slots=True)
class ReportGroup:
    """The calls that share `key`, which is None where they do not say."""

    key: str | None
    totals: Totals
    unknown_waste_calls: int = 0
    """Calls that may have wasted something nobody can name: the waste is at least that of the others."""


@dataclass(frozen=True, slots=True)
class UnpricedModel:
    """Calls of one model without a cost, and why (`promptcache.cost.unknown`)."""

    model: str | None
    reason: str | None
    calls: int


@dataclass(frozen=True, slots=True)
class PrefixChange:
    """A static prefix that took the place of another at `time` (epoch seconds), and the hit rates of both."""

    service: str | None
    old_hash: str
    new_hash: str
    time: float
    old_hit_rate: float | None
    new_hit_rate: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """All that a report shows. `rated_input_tokens` is what the hit rate is a share of.

    `sampled_calls` counts calls from sampled traces; `smallest_sample_ratio` is the smallest share that was kept, None where not known.
    `first_call_time` and `last_call_time` are the starts of the first and last call in epoch seconds. `failed_calls` counts calls that failed,
    `streams_without_usage` chat streams that would have reported their tokens on request, and `unknown_waste_calls` as a `ReportGroup` does.
    `unread_writes` speaks of the last `RECENT_ROWS` calls, and of none where sampling may have dropped who read; `storage_costs` of caches.
    """

    by: GroupBy
    totals: Totals
    groups: tuple[ReportGroup, ...]
    rated_input_tokens: int
    unpriced_models: tuple[UnpricedModel, ...]
    sampled_calls: int
    smallest_sample_ratio: float | None
    prefix_changes: tuple[PrefixChange, ...]
    first_call_time: float | None
    last_call_time: float | None
    path: Path | None = field(default=None, compare=False)
    failed_calls: int = 0
    streams_without_usage: int = 0
    unknown_waste_calls: int = 0
    unread_writes: UnreadWrites | None = None
    storage_costs: StorageCosts | None = None


_UNPRICED_QUERY: Final = f"""
SELECT {_GROUP_EXPRESSIONS[GroupBy.MODEL]}, cost_unknown, count(*) FROM calls WHERE {IS_UNPRICED} AND +time >= ?
GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"""  # noqa: S608  # SQL of our own


def collect_report(path: Path, by: GroupBy = GroupBy.SERVICE, since: float = -math.inf) -> Report:
    """The report on the table at `path`, calls begun at `since` (epoch seconds) or later. Raises `UnusableError`."""
    with _open_calls(path) as connection:
        first, last, low, high = connection.execute(BOUNDS_QUERY, (since,)).fetchone()
        groups = {} if first is None else _sum_groups(path, by, since, low, high)
        _reject_invalid_rows(path, groups, first, last)
        totals = _add_sums(list(groups.values()))
        named = dict(zip(SUM_EXPRESSIONS, totals, strict=False))
        silent = (
            connection.execute(STREAMS_WITHOUT_USAGE_QUERY, (since,)).fetchone()[0]
            if named.get("unreported")
            else 0
        )
        sampled, unknown, ratio = connection.execute(SAMPLED_QUERY, (since,)).fetchone()
        unpriced = connection.execute(_UNPRICED_QUERY, (since,)).fetchall()
        recent = ((high or 0) - RECENT_ROWS, since)
        prefixes = connection.execute(PREFIXES_QUERY, recent).fetchall()
        known = named.get("write_tokens") is not None and not sampled
        written = _find_unread_writes(path, connection, recent, last) if known else None
        rents = (
            None
            if parquet.is_parquet_file(path)
            else connection.execute(rent.STORAGE_COSTS_QUERY, (since,)).fetchall()
        )
    return Report(
        by=by,
        totals=_totals_from_sums(totals),
        groups=_sort_groups(groups),
        rated_input_tokens=named.get("judged_input") or 0,
        unpriced_models=tuple(UnpricedModel(*found) for found in unpriced),
        sampled_calls=sampled,
        smallest_sample_ratio=None if unknown else ratio,
        prefix_changes=_find_prefix_changes(prefixes),
        first_call_time=first,
        last_call_time=last,
        path=path,
        failed_calls=named.get("failed") or 0,
        streams_without_usage=silent,
        unknown_waste_calls=_count_unknown_waste(named),
        unread_writes=written,
        storage_costs=rent.sum_storage_costs(rents or (), time.time()),
    )


def _find_unread_writes(
    path: Path, connection: store.QueryConnection, recent: tuple[float, float], last: float
) -> UnreadWrites:
    try:
        return unread.find_unread_writes(
            connection.execute(unread.UNREAD_WRITES_QUERY, recent).fetchall(), last
        )
    except TypeError as error:
        raise store.UnreadableTableError(
            ExitCode.NOT_A_TABLE, store.INVALID_ROW_MESSAGE.format(path=path)
        ) from error


def empty_report(path: Path, by: GroupBy) -> Report:
    """The report on a file without a table."""
    return Report(by, _totals_from_sums(()), (), 0, (), 0, None, (), None, None, path)


def _reject_invalid_rows(path: Path, groups: dict[Any, Sums], *times: Any) -> None:
    """Raises `UnusableError` where the rows hold what no exporter writes: a sum over text is no whole number."""
    sound = all(
        it is None or (isinstance(it, (int, float)) and abs(it) <= MAX_NUMBER) for it in times
    )
    for key, sums in groups.items():
        named = dict(zip(SUM_EXPRESSIONS, sums, strict=True))
        sound &= isinstance(key, str | None)
        sound &= all(
            name.endswith("_usd") or isinstance(it, int | None) for name, it in named.items()
        )
        sound &= not named["unreadable"]
    if not sound:
        raise store.UnreadableTableError(
            ExitCode.NOT_A_TABLE, store.INVALID_ROW_MESSAGE.format(path=path)
        )


def _open_calls(path: Path) -> AbstractContextManager[store.QueryConnection]:
    """The view `calls` of the file, a table or an export of one. The queries here are of the SQL that both speak."""
    return (
        parquet.open_for_reading(path)
        if parquet.is_parquet_file(path)
        else store.open_for_reading(path)
    )


def _sum_groups(
    path: Path, by: GroupBy, since: float, low: int, high: int
) -> dict[str | None, Sums]:
    sums = ", ".join(SUM_EXPRESSIONS.values())
    query = f"SELECT {_GROUP_EXPRESSIONS[by]}, {sums} FROM calls WHERE id BETWEEN ? AND ? AND +time >= ? GROUP BY 1"  # noqa: S608  # SQL of our own
    step = (
        high - low + 1 if parquet.is_parquet_file(path) else ROWS_PER_RANGE
    )  # DuckDB divides the work by itself

    def read(first: int) -> list[tuple[Any, ...]]:
        with _open_calls(path) as connection:
            return list(
                connection.execute(query, (first, min(first + step - 1, high), since)).fetchall()
            )

    found: dict[str | None, list[tuple[Any, ...]]] = {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for rows in pool.map(read, range(low, high + 1, step)):
            for key, *sums_of_key in rows:
                found.setdefault(key, []).append(tuple(sums_of_key))
    return {key: _add_sums(parts) for key, parts in found.items()}


def _add_sums(parts: list[tuple[Any, ...]]) -> Sums:
    """The sum of sums in the order of `SUMS`, None where no part knows."""
    if len(parts) == 1:
        return parts[0]
    return tuple(
        sum(values) if (values := [value for value in column if value is not None]) else None
        for column in zip(*parts, strict=True)
    )


def ratio_of_sums(read: int | None, whole: int | None) -> float | None:
    """read / whole, the ratio of sums; None where there is nothing to divide by."""
    return (read or 0) / whole if whole else None


def _totals_from_sums(sums: Sums) -> Totals:
    named: dict[str, Any] = dict.fromkeys(SUM_EXPRESSIONS) | {"calls": 0, "unpriced_calls": 0}
    named |= dict(zip(SUM_EXPRESSIONS, sums, strict=False))
    if named["waste_known"] and not _count_unknown_waste(named):
        named["wasted_usd"] = named["wasted_usd"] or 0.0
    money = {name: _round_usd(named[name]) for name in named if name.endswith("_usd")}
    known: dict[str, Any] = {it.name: named.get(it.name) for it in fields(Totals)}
    known |= money | {"hit_rate": ratio_of_sums(named["judged_read"], named["judged_input"])}
    return Totals(**known)


def _count_unknown_waste(named: dict[str, Any]) -> int:
    return (named.get("calls") or 0) - (named.get("waste_known") or 0) - (named.get("idle") or 0)


def _round_usd(amount: float | None) -> float | None:
    """To 12 digits, so that the order in which the same calls were added up does not show."""
    return None if amount is None else float(f"{amount:.12g}")


def _sort_groups(groups: dict[str | None, Sums]) -> tuple[ReportGroup, ...]:
    """The groups, most input first, so that the first lines matter most; then by name, the nameless last."""
    found = [
        ReportGroup(
            key,
            _totals_from_sums(it),
            _count_unknown_waste(dict(zip(SUM_EXPRESSIONS, it, strict=True))),
        )
        for key, it in groups.items()
    ]
    return tuple(
        sorted(found, key=lambda it: (-(it.totals.input_tokens or 0), it.key is None, it.key or ""))
    )


def _find_prefix_changes(prefixes: list[Sequence[Any]]) -> tuple[PrefixChange, ...]:
    """The last three times that a family's prefix was replaced by another for good, newest first."""
    found = [
        PrefixChange(
            new[0],
            old[2],
            new[2],
            new[3],
            ratio_of_sums(old[6], old[5]),
            ratio_of_sums(new[6], new[5]),
        )
        for old, new in pairwise(prefixes)
        if old[:2] == new[:2] and old[4] <= new[3]
    ]
    return tuple(sorted(found, key=lambda change: -change.time)[:3])
