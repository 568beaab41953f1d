"""Collect a report from the local table, or from another place that has its calls. No rendering."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from promptcache_exporters.database import hourly_sums, lost_rows
from promptcache_exporters.database.dialect import PICODOLLARS_PER_USD
from promptcache_exporters.database.errors import InvalidCallsFileError, InvalidRowValueError
from promptcache_exporters.database.query import QueryConnection
from promptcache_exporters.database.row_ranges import OnProgress, ignore_progress, scan_calls
from promptcache_exporters.database.row_validity import MAX_TIME
from promptcache_exporters.database.source import CallsSource, find_calls_source
from promptcache_exporters.report import sql
from promptcache_exporters.report.call_field import CallField, Dimension, GroupBy
from promptcache_exporters.report.call_filter import FieldCondition, select_calls
from promptcache_exporters.report.figures import CallSums
from promptcache_exporters.report.model import (
    AbsentRows,
    CallTotals,
    PrefixChange,
    Report,
    ReportGroup,
    ReportPeriod,
    UnpricedModel,
)
from promptcache_exporters.report.sql import CallTimeRange, PeriodGrid, PrefixPeriod
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

MAX_PREFIX_CHANGES: Final = 3
_ANY_ID: Final = -1

MAX_PERIODS: Final = 1_000

GroupKey = tuple[str | None, ...]
SumsOfGroups = dict[tuple[GroupKey, int], CallSums]
"""The sums of each group in each period; 0 is the only period of a report without periods."""


class TooManyPeriodsError(ValueError):
    """The periods of a report would be more than `MAX_PERIODS`."""


@dataclass(frozen=True, slots=True)
class _Question:
    """What a report shall say of the calls of its source."""

    by: tuple[CallField, ...]
    since: float
    conditions: tuple[FieldCondition, ...]
    period_seconds: float | None
    on_progress: OnProgress


def collect_report(
    source: Path | CallsSource,
    by: CallField | Sequence[CallField] = GroupBy.SERVICE,
    since: float = -math.inf,
    *,
    until: float = math.inf,
    where: Iterable[FieldCondition] = (),
    period_seconds: float | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Report:
    """Collect the report of the calls that started at `since` (epoch seconds) or later.

    until: only calls that started before it. where: only calls that fulfil all conditions.
    period_seconds: also sum the calls of each period of this length, at most `MAX_PERIODS`.
    on_progress: is told how much of the table has been read.

    A row of a local table that no exporter writes is left out and counted: text or a negative
    number in a column of numbers, a start after the year 9999. Raises `CallsFileReadError` and
    `TooManyPeriodsError`.
    """
    fields = (by,) if isinstance(by, GroupBy | Dimension) else tuple(by)
    question = _Question(fields, since, tuple(where), period_seconds, on_progress)
    if isinstance(source, Path):
        source = find_calls_source(source)
    source = select_calls(source, question.conditions, until)
    found = _collect_from_valid_rows(source, question)
    shown = tuple(map(str, question.conditions))
    return replace(found, since=since, until=until, conditions=shown, period_seconds=period_seconds)


def _collect_from_valid_rows(source: CallsSource, question: _Question) -> Report:
    try:
        return _collect_report(source, question)
    except InvalidCallsFileError:  # looking at each row takes time, so only now
        valid = source.without_invalid_rows()
        if valid is None:
            raise
    return _collect_report(valid, question)


def _collect_report(source: CallsSource, question: _Question) -> Report:
    since = question.since
    with source.open() as connection:
        time_range = sql.TIME_RANGE_QUERY.fetch_one(connection, since)
        grid = _find_period_grid(source, time_range, question.period_seconds)
        groups = _sum_calls_by_group(source, question, grid) if time_range.calls else {}
        _reject_invalid_rows(source, time_range, groups)
        sums = _add_call_sums(list(groups.values()))
        sampled = sql.SAMPLED_QUERY.fetch_one(connection, since)
        recent = _find_oldest_recent_time(connection, since)
        periods = sql.PREFIX_PERIODS_QUERY.fetch_all(connection, recent)
        # A sampled trace, or a condition, may have dropped the call that read a write. The end of
        # a time range has not: only an expired write counts.
        has_write_data = (
            sums.total_write_tokens is not None and not sampled.calls and not question.conditions
        )
        return Report(
            by=question.by,
            totals=totals_from_sums(sums),
            groups=_build_sorted_report_groups(groups),
            rated_input_tokens=sums.rated_input_tokens or 0,
            unpriced_models=_collect_unpriced_models(connection, since),
            sampled_calls=sampled.calls,
            smallest_sample_ratio=None if sampled.unknown_ratio_calls else sampled.smallest_ratio,
            prefix_changes=_find_latest_prefix_changes(periods),
            first_call_time=time_range.first_time if time_range.calls else None,
            last_call_time=time_range.last_time if time_range.calls else None,
            path=source.place,
            failed_calls=sums.failed_calls,
            streams_without_usage=_count_streams_without_usage(connection, since, sums),
            unknown_waste_calls=sums.unknown_waste_calls,
            unread_writes=_collect_unread_writes(source, connection, time_range, recent)
            if has_write_data
            else None,
            storage_costs=_collect_storage_costs(source, connection, since),
            absent_rows=_count_absent_rows(source, connection),
            periods=_build_periods(groups, grid) if grid and groups else (),
        )


def _find_period_grid(
    source: CallsSource, time_range: CallTimeRange, seconds: float | None
) -> PeriodGrid | None:
    """Return the periods of the calls; None if none are wanted or there are no calls."""
    first, last = time_range.first_time, time_range.last_time
    if seconds is None or first is None or last is None:
        return None
    if not (_is_time(first) and _is_time(last)):
        raise InvalidRowValueError(source.place)
    grid = PeriodGrid.local(seconds, first)
    count = grid.number_of(last) - grid.number_of(first) + 1
    if count > MAX_PERIODS:
        raise TooManyPeriodsError(f"these calls have {count:,} periods of this length")
    return grid


def _count_absent_rows(source: CallsSource, connection: QueryConnection) -> AbsentRows:
    """Count the rows of the whole table that the report cannot show."""
    left_out = 0
    if source.leaves_rows_out:
        left_out = sql.INVALID_CALLS_QUERY.fetch_one(connection).rows
    if not source.is_local_table:  # all others have the calls only
        return AbsentRows(left_out)
    return AbsentRows(
        left_out, lost_rows.count_lost_rows(connection), hourly_sums.count_pruned(connection)
    )


def empty_report(path: Path, by: tuple[CallField, ...]) -> Report:
    """Return the report on a file without tables."""
    return Report(by, totals_from_sums(CallSums()), (), 0, (), 0, None, (), None, None, path)


def collect_prefix_changes(connection: QueryConnection, since: float) -> tuple[PrefixChange, ...]:
    """Return the last changes of static prefixes among the newest calls since `since`."""
    recent = _find_oldest_recent_time(connection, since)
    return _find_latest_prefix_changes(sql.PREFIX_PERIODS_QUERY.fetch_all(connection, recent))


def _find_oldest_recent_time(connection: QueryConnection, since: float) -> float:
    """Return the start of the oldest of the `RECENT_ROWS` newest calls, or `since`."""
    calls = sql.OLDEST_RECENT_CALL_QUERY.fetch_all(connection, since)
    return calls[0].time if calls else since


def _collect_unpriced_models(
    connection: QueryConnection, since: float
) -> tuple[UnpricedModel, ...]:
    """Return the most frequent ones first. Engines order NULL differently, so Python sorts."""
    models = (UnpricedModel(*row) for row in sql.UNPRICED_QUERY.fetch_all(connection, since))
    return tuple(
        sorted(
            models, key=lambda row: (-row.calls, _null_first(row.model), _null_first(row.reason))
        )
    )


def _null_first(text: str | None) -> tuple[bool, str]:
    return (text is not None, text or "")


def _count_streams_without_usage(connection: QueryConnection, since: float, sums: CallSums) -> int:
    if not sums.unreported_calls:
        return 0
    return sql.STREAMS_WITHOUT_USAGE_QUERY.fetch_one(connection, since).calls


def _collect_unread_writes(
    source: CallsSource, connection: QueryConnection, time_range: CallTimeRange, since: float
) -> UnreadWriteTotals:
    calls = UNREAD_WRITES_QUERY.fetch_all(connection, _ANY_ID, since)
    try:
        return sum_expired_unread_writes(calls, time_range.last_time or 0.0)
    except TypeError as error:  # text in a column of numbers
        raise InvalidRowValueError(source.place) from error


def _collect_storage_costs(
    source: CallsSource, connection: QueryConnection, since: float
) -> StorageCosts | None:
    if not source.is_local_table or source.condition:  # all others have the calls only
        return None
    return sum_storage_costs(STORAGE_COSTS_QUERY.fetch_all(connection, since), time.time())


def _reject_invalid_rows(
    source: CallsSource, time_range: CallTimeRange, groups: SumsOfGroups
) -> None:
    """Raise `InvalidRowValueError` for values that no exporter writes.

    A sum over a column that contains text is not an integer, and a time that is text is not a
    number.
    """
    times: tuple[Any, ...] = (time_range.first_time, time_range.last_time)
    is_valid = all(_is_time(value) for value in times if value is not None)
    for (key, _), sums in groups.items():
        values: tuple[Any, ...] = key
        is_valid &= all(isinstance(value, str | None) for value in values)
        is_valid &= not sums.invalid_amounts
        is_valid &= all(isinstance(value, int | None) for value in sums._asdict().values())
    if not is_valid:
        raise InvalidRowValueError(source.place)


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 <= value <= MAX_TIME


def _sum_calls_by_group(
    source: CallsSource, question: _Question, grid: PeriodGrid | None
) -> SumsOfGroups:
    statement_with = partial(
        sql.figures_by_group_sql,
        question.by,
        source.dialect,
        CallSums._fields,
        "calls",
        periods=grid,
    )
    parts: dict[tuple[GroupKey, int], list[CallSums]] = {}
    for row in scan_calls(source, statement_with, question.since, on_progress=question.on_progress):
        key = tuple(row.pop(name) for name in sql.group_key_names(len(question.by)))
        period = row.pop("period") if grid else 0
        parts.setdefault((key, period), []).append(CallSums(**row))
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


def totals_from_sums(sums: CallSums) -> CallTotals:
    wasted = sums.wasted_picodollars
    if wasted is None and sums.known_waste_calls and not sums.unknown_waste_calls:
        wasted = 0
    return CallTotals(
        calls=sums.total_calls,
        input_tokens=sums.total_input_tokens,
        read_tokens=sums.total_read_tokens,
        write_tokens=sums.total_write_tokens,
        uncached_tokens=sums.total_uncached_tokens,
        output_tokens=sums.total_output_tokens,
        hit_rate=ratio_or_none(sums.rated_read_tokens, sums.rated_input_tokens),
        cost_usd=_usd_or_none(sums.cost_picodollars),
        without_cache_usd=_usd_or_none(sums.without_cache_picodollars),
        saved_usd=_usd_or_none(sums.saved_picodollars),
        wasted_usd=_usd_or_none(wasted),
        unpriced_calls=sums.unpriced_calls,
    )


def _usd_or_none(picodollars: int | None) -> float | None:
    return None if picodollars is None else picodollars / PICODOLLARS_PER_USD


def _build_sorted_report_groups(groups: SumsOfGroups) -> tuple[ReportGroup, ...]:
    """Order the groups by input tokens, largest first; then by values, the missing ones last."""
    first = min((period for _, period in groups), default=0)
    parts: dict[GroupKey, dict[int, CallSums]] = {}
    for (key, period), sums in groups.items():
        parts.setdefault(key, {})[period - first] = sums
    report_groups = [
        _build_report_group(key, sums_by_period) for key, sums_by_period in parts.items()
    ]
    return tuple(
        sorted(
            report_groups,
            key=lambda group: (
                -(group.totals.input_tokens or 0),
                [(value is None, value or "") for value in group.values],
            ),
        )
    )


def _build_report_group(key: GroupKey, sums_by_period: dict[int, CallSums]) -> ReportGroup:
    sums = _add_call_sums(list(sums_by_period.values()))
    totals = {period: totals_from_sums(part) for period, part in sums_by_period.items()}
    return ReportGroup(key, totals_from_sums(sums), sums.unknown_waste_calls, totals)


def _build_periods(groups: SumsOfGroups, grid: PeriodGrid) -> tuple[ReportPeriod, ...]:
    """Return all periods from the first to the last, those without calls too."""
    parts: dict[int, list[CallSums]] = {}
    for (_, period), sums in groups.items():
        parts.setdefault(period, []).append(sums)
    return tuple(
        ReportPeriod(grid.start_of(number), totals_from_sums(_add_call_sums(parts.get(number, []))))
        for number in range(min(parts), max(parts) + 1)
    )


def _find_latest_prefix_changes(periods: list[PrefixPeriod]) -> tuple[PrefixChange, ...]:
    """Return the last times that a family's prefix was replaced for good, newest first.

    `periods` may have any order. If the period of the old prefix reaches into that of the new one,
    the two alternate.
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
        for old, new in pairwise(sorted(periods, key=_family_and_time))
        if (old.service, old.prefix_family) == (new.service, new.prefix_family)
        and old.last_time <= new.first_time
    ]
    newest_first = sorted(changes, key=lambda change: -change.time)
    return tuple(newest_first[:MAX_PREFIX_CHANGES])


def _family_and_time(period: PrefixPeriod) -> tuple[Any, ...]:
    family = (*_null_first(period.service), period.prefix_family)
    return (*family, period.first_time, period.prefix_hash)
