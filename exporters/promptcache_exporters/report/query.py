"""Collect a report from the local table or from an export of it. No rendering.

All figures are sums over calls. The table is therefore read in ranges of rows, whose sums are added
up afterwards. A range fits into SQLite's sorter, and several ranges are read at once, since SQLite
releases the interpreter lock. Rows never change, so a fixed last row gives one consistent snapshot,
although other processes continue to write.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from promptcache_exporters.database import parquet, sqlite_file
from promptcache_exporters.database.column import MAX_NUMBER
from promptcache_exporters.database.errors import InvalidRowValueError
from promptcache_exporters.database.query import QueryConnection
from promptcache_exporters.report import sql
from promptcache_exporters.report.model import (
    CallTotals,
    GroupBy,
    PrefixChange,
    Report,
    ReportGroup,
    UnpricedModel,
)
from promptcache_exporters.report.rounding import round_usd_to_12_digits
from promptcache_exporters.report.sql import CallSums, CallTimeAndIdRange, PrefixPeriod
from promptcache_exporters.report.storage_costs import (
    STORAGE_COSTS_QUERY,
    StorageCosts,
    sum_storage_costs,
)
from promptcache_exporters.report.unread_writes import (
    UNREAD_WRITES_QUERY,
    UnreadWriteTotals,
    sum_expired_unread_writes,
)

ROWS_PER_RANGE: Final = 500_000
"""Rows that one query reads."""
RECENT_ROWS: Final = 100_000
"""The newest rows, in which the report looks for prefix changes and unread writes."""
MAX_PREFIX_CHANGES: Final = 3
_MAX_WORKERS: Final = min(8, os.cpu_count() or 1)

GroupSums = dict[str | None, CallSums]


def collect_report(path: Path, by: GroupBy = GroupBy.SERVICE, since: float = -math.inf) -> Report:
    """Collect the report of the calls that started at `since` (epoch seconds) or later.

    Raises `CallsFileReadError`.
    """
    with _open_calls(path) as connection:
        bounds = sql.BOUNDS_QUERY.fetch_one(connection, since)
        groups = {} if bounds.first_time is None else _sum_calls_by_group(path, by, since, bounds)
        _reject_invalid_rows(path, bounds, groups)
        sums = _add_call_sums(list(groups.values()))
        sampled = sql.SAMPLED_QUERY.fetch_one(connection, since)
        first_recent_id = (bounds.last_id or 0) - RECENT_ROWS
        periods = sql.PREFIX_PERIODS_QUERY.fetch_all(connection, first_recent_id, since)
        # A sampled trace may have dropped the call that read a write.
        has_write_data = sums.write_tokens is not None and not sampled.calls
        return Report(
            by=by,
            totals=_totals_from_sums(sums),
            groups=_build_sorted_report_groups(groups),
            rated_input_tokens=sums.rated_input_tokens or 0,
            unpriced_models=tuple(
                UnpricedModel(*row) for row in sql.UNPRICED_QUERY.fetch_all(connection, since)
            ),
            sampled_calls=sampled.calls,
            smallest_sample_ratio=None if sampled.unknown_ratio_calls else sampled.smallest_ratio,
            prefix_changes=_find_latest_prefix_changes(periods),
            first_call_time=bounds.first_time,
            last_call_time=bounds.last_time,
            path=path,
            failed_calls=sums.failed_calls,
            streams_without_usage=_count_streams_without_usage(connection, since, sums),
            unknown_waste_calls=sums.unknown_waste_calls,
            unread_writes=_collect_unread_writes(path, connection, bounds, since)
            if has_write_data
            else None,
            storage_costs=_collect_storage_costs(path, connection, since),
        )


def empty_report(path: Path, by: GroupBy) -> Report:
    """Return the report on a file without tables."""
    return Report(by, _totals_from_sums(CallSums()), (), 0, (), 0, None, (), None, None, path)


def _open_calls(path: Path) -> AbstractContextManager[QueryConnection]:
    """Open the SQLite file or its export with the view `calls`."""
    if parquet.has_parquet_suffix(path):
        return parquet.open_parquet_read_only(path)
    return sqlite_file.open_sqlite_read_only(path)


def _count_streams_without_usage(connection: QueryConnection, since: float, sums: CallSums) -> int:
    if not sums.unreported_calls:
        return 0
    return sql.STREAMS_WITHOUT_USAGE_QUERY.fetch_one(connection, since).calls


def _collect_unread_writes(
    path: Path, connection: QueryConnection, call_range: CallTimeAndIdRange, since: float
) -> UnreadWriteTotals:
    first_recent_id = (call_range.last_id or 0) - RECENT_ROWS
    calls = UNREAD_WRITES_QUERY.fetch_all(connection, first_recent_id, since)
    try:
        return sum_expired_unread_writes(calls, call_range.last_time or 0.0)
    except TypeError as error:  # text in a column of numbers
        raise InvalidRowValueError(path) from error


def _collect_storage_costs(
    path: Path, connection: QueryConnection, since: float
) -> StorageCosts | None:
    if parquet.has_parquet_suffix(path):  # an export has the calls only
        return None
    return sum_storage_costs(STORAGE_COSTS_QUERY.fetch_all(connection, since), time.time())


def _reject_invalid_rows(
    path: Path, call_range: CallTimeAndIdRange, groups: dict[Any, CallSums]
) -> None:
    """Raise `InvalidRowValueError` for values that no exporter writes.

    A sum over a column that contains text is not an integer, and a time that is text is not a
    number.
    """
    times: tuple[Any, ...] = (call_range.first_time, call_range.last_time)
    is_valid = all(_is_bounded_number(value) for value in times if value is not None)
    for key, sums in groups.items():
        is_valid &= isinstance(key, str | None) and not sums.invalid_amounts
        is_valid &= all(
            isinstance(value, int | None)
            for name, value in sums._asdict().items()
            if not name.endswith("_usd")
        )
    if not is_valid:
        raise InvalidRowValueError(path)


def _is_bounded_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= MAX_NUMBER


def _sum_calls_by_group(
    path: Path, by: GroupBy, since: float, call_range: CallTimeAndIdRange
) -> GroupSums:
    statement = sql.call_sums_by_group_sql(by)
    first_id, last_id = call_range.first_id or 0, call_range.last_id or 0
    # DuckDB distributes one query over the cores by itself.
    step = last_id - first_id + 1 if parquet.has_parquet_suffix(path) else ROWS_PER_RANGE

    def sum_range(start: int) -> list[tuple[Any, ...]]:
        parameters = (start, min(start + step - 1, last_id), since)
        with _open_calls(path) as connection:
            return list(connection.execute(statement, parameters).fetchall())

    parts: dict[str | None, list[CallSums]] = {}
    with ThreadPoolExecutor(_MAX_WORKERS) as pool:
        for rows in pool.map(sum_range, range(first_id, last_id + 1, step)):
            for key, *sums in rows:
                parts.setdefault(key, []).append(CallSums._make(sums))
    return {key: _add_call_sums(sums) for key, sums in parts.items()}


def _add_call_sums(parts: list[CallSums]) -> CallSums:
    """Add sums up. A figure is None if it is None in every part."""
    if not parts:
        return CallSums()
    if len(parts) == 1:
        return parts[0]
    return CallSums._make(_sum_known_values(values) for values in zip(*parts, strict=True))


def _sum_known_values(values: Sequence[Any]) -> Any:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def ratio_or_none(part: int | None, whole: int | None) -> float | None:
    """Return part / whole, or None if `whole` is 0 or unknown."""
    return (part or 0) / whole if whole else None


def _totals_from_sums(sums: CallSums) -> CallTotals:
    values = sums._asdict()
    if sums.known_waste_calls and not sums.unknown_waste_calls:
        values["wasted_usd"] = sums.wasted_usd or 0.0
    values["hit_rate"] = ratio_or_none(sums.rated_read_tokens, sums.rated_input_tokens)
    for name, value in values.items():
        if name.endswith("_usd") and value is not None:
            values[name] = round_usd_to_12_digits(value)
    return CallTotals(**{field.name: values[field.name] for field in fields(CallTotals)})


def _build_sorted_report_groups(groups: GroupSums) -> tuple[ReportGroup, ...]:
    """Order the groups by input tokens, largest first; then by key, the missing key last."""
    report_groups = [
        ReportGroup(key, _totals_from_sums(sums), sums.unknown_waste_calls)
        for key, sums in groups.items()
    ]
    return tuple(
        sorted(
            report_groups,
            key=lambda group: (
                -(group.totals.input_tokens or 0),
                group.key is None,
                group.key or "",
            ),
        )
    )


def _find_latest_prefix_changes(periods: list[PrefixPeriod]) -> tuple[PrefixChange, ...]:
    """Return the last times that a family's prefix was replaced for good, newest first.

    If the period of the old prefix reaches into that of the new one, the two alternate.
    """
    changes = [
        PrefixChange(
            service=new.service,
            old_hash=old.prefix_hash,
            new_hash=new.prefix_hash,
            time=new.first_time,
            old_hit_rate=ratio_or_none(old.rated_read_tokens, old.rated_input_tokens),
            new_hit_rate=ratio_or_none(new.rated_read_tokens, new.rated_input_tokens),
        )
        for old, new in pairwise(periods)
        if (old.service, old.prefix_family) == (new.service, new.prefix_family)
        and old.last_time <= new.first_time
    ]
    newest_first = sorted(changes, key=lambda change: -change.time)
    return tuple(newest_first[:MAX_PREFIX_CHANGES])
