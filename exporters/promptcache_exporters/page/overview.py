"""The data of the overview, from the kept hourly sums or from a report."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from promptcache_exporters.database import hourly_sums
from promptcache_exporters.database.dialect import PICODOLLARS_PER_USD
from promptcache_exporters.database.lost_rows import has_table
from promptcache_exporters.page.time_steps import HOUR_STEPS, choose_step
from promptcache_exporters.report.model import CallTotals, PrefixChange, Report

_MISSED: Final = ("miss", "cold", "partial")
LATENCY_CALLS: Final = 20_000
"""The newest calls whose times to the first token are compared."""


class AmountSums(NamedTuple):
    """Sums over calls. Amounts are in USD; None is unknown."""

    calls: int = 0
    input_tokens: int = 0
    rated_input_tokens: int = 0
    rated_read_tokens: float = 0
    cost_usd: float | None = None
    without_cache_usd: float | None = None
    wasted_usd: float | None = None

    def plus(self, other: AmountSums) -> AmountSums:
        """Return both together. An amount that one of them does not know is that of the other."""
        return AmountSums._make(
            one if two is None else two if one is None else one + two
            for one, two in zip(self, other, strict=True)
        )

    @property
    def hit_rate(self) -> float | None:
        """The share of the input that was read from the cache; None without input."""
        if not self.rated_input_tokens:
            return None
        return self.rated_read_tokens / self.rated_input_tokens

    @property
    def saved_usd(self) -> float | None:
        """What the cache saved; None if it is unknown."""
        if self.cost_usd is None or self.without_cache_usd is None:
            return None
        return self.without_cache_usd - self.cost_usd


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Times to the first token in seconds: of `calls` calls, the median and the 95th percentile."""

    calls: int
    median: float
    p95: float


@dataclass(frozen=True, slots=True)
class Overview:
    """What the overview shows.

    periods: the sums of each period of `step_seconds`, from `start` (epoch seconds) on.
    groups: the sums by the values of a field, by the name of the field.
    latencies: by `hit` and `miss`. notes: what people must know of the figures.
    """

    place: str
    start: float
    step_seconds: int
    periods: tuple[AmountSums, ...]
    totals: AmountSums
    groups: Mapping[str, tuple[tuple[str | None, AmountSums], ...]]
    changes: tuple[PrefixChange, ...] = ()
    latencies: Mapping[str, LatencySummary] = field(default_factory=dict[str, LatencySummary])
    notes: tuple[str, ...] = ()

    @property
    def end(self) -> float:
        """The end of the last period, epoch seconds."""
        return self.start + len(self.periods) * self.step_seconds


@dataclass(frozen=True, slots=True)
class OverviewFilter:
    """Which calls the overview is about: since some epoch seconds, of a service and of a model."""

    since: float = 0.0
    service: str | None = None
    model: str | None = None


def overview_of_report(report: Report) -> Overview:
    """Return the overview of a report and its periods, without its groups."""
    totals = sums_of_totals(report.totals)
    read = report.rated_input_tokens * (report.totals.hit_rate or 0.0)
    return Overview(
        place=str(report.path),
        start=report.periods[0].start if report.periods else report.first_call_time or 0.0,
        step_seconds=int(report.period_seconds or 0),
        periods=tuple(sums_of_totals(one.totals) for one in report.periods),
        totals=totals._replace(
            rated_input_tokens=report.rated_input_tokens, rated_read_tokens=read
        ),
        groups={},
        changes=report.prefix_changes,
    )


def sums_of_totals(totals: CallTotals) -> AmountSums:
    """Return the totals of a report as sums. Its rate stays, over all input tokens."""
    rated = totals.input_tokens or 0 if totals.hit_rate is not None else 0
    return AmountSums(
        totals.calls,
        totals.input_tokens or 0,
        rated,
        rated * (totals.hit_rate or 0.0),
        totals.cost_usd,
        totals.without_cache_usd,
        totals.wasted_usd,
    )


class _HourlyRow(NamedTuple):
    period: int
    service: str
    model: str
    calls: int
    input_tokens: int
    rated_input_tokens: int
    rated_read_tokens: int
    cost: int | None
    without_cache: int | None
    wasted: int | None


_HOURLY_SQL: Final = """
SELECT (hour - ?) / ? AS period, service, model, sum(calls), coalesce(sum(input_tokens), 0),
    coalesce(sum(CASE WHEN outcome <> 'unreported' THEN input_tokens END), 0),
    coalesce(sum(CASE WHEN outcome <> 'unreported' THEN read_tokens END), 0),
    sum(cost_pico_usd), sum(CASE WHEN cost_pico_usd IS NOT NULL THEN without_cache_pico_usd END),
    sum(wasted_pico_usd)
FROM hours WHERE hour >= ? AND hour < ? AND (? IS NULL OR service = ?) AND (? IS NULL OR model = ?)
GROUP BY 1, 2, 3"""
BATCH_NOTE: Final = "These rates include batch results, which promptcache report leaves out."


def collect_overview(
    connection: sqlite3.Connection, place: str, wanted: OverviewFilter
) -> Overview | None:
    """Return the overview from the hourly sums of the table; None without calls.

    A file of an older release has no such sums, so they are computed from its calls.
    """
    first_hour = int(wanted.since // 3600)
    hours = _hours_subquery(connection)
    # The hour is the first column of the key, so each end is one look-up.
    (first,) = connection.execute(
        f"{hours} SELECT min(hour) FROM hours WHERE hour >= ?",  # noqa: S608  # our own SQL
        (first_hour,),
    ).fetchone()
    (last,) = connection.execute(
        f"{hours} SELECT max(hour) FROM hours"  # noqa: S608  # our own SQL
    ).fetchone()
    if first is None:
        return None
    step = choose_step((last - first + 1) * 3600.0, HOUR_STEPS)
    begin = _first_hour_of_axis(first, step)
    hours_of_step = step // 3600
    rows = _fetch_rows(connection, hours, wanted, (begin, hours_of_step), (first, last))
    if not rows:
        return None
    count = (last - begin) // hours_of_step + 1
    return _build_overview(place, begin * 3600.0, step, count, rows)


def _fetch_rows(
    connection: sqlite3.Connection,
    hours: str,
    wanted: OverviewFilter,
    axis: tuple[int, int],
    range_of_hours: tuple[int, int],
) -> list[_HourlyRow]:
    """Return the sums of each step, service and model; a step may have several.

    axis: its first hour, and the hours of a step.
    """
    first, last = range_of_hours
    chosen = (wanted.service, wanted.service, wanted.model, wanted.model)
    # SQLite sorts before it sums: few hours at a time take two thirds of the time of all at once.
    length = axis[1] if _has_kept_sums(connection) else last + 1 - first
    return [
        _HourlyRow(*row)
        for start in range(first, last + 1, length)
        for row in connection.execute(
            f"{hours} {_HOURLY_SQL}", (*axis, start, start + length, *chosen)
        )
    ]


def _hours_subquery(connection: sqlite3.Connection) -> str:
    """Return the subquery `hours` with the kept sums, or in an older file with computed ones."""
    if _has_kept_sums(connection):
        return f"WITH hours AS (SELECT * FROM {hourly_sums.HOURLY_SUMS_TABLE_NAME})"  # noqa: S608
    names = ", ".join(hourly_sums.HOURLY_SUM_COLUMNS)
    return f"WITH hours ({names}) AS ({hourly_sums.rebuild_query()})"


def _has_kept_sums(connection: sqlite3.Connection) -> bool:
    return has_table(connection, hourly_sums.HOURLY_SUMS_TABLE_NAME)


def _first_hour_of_axis(first_hour: int, step: int) -> int:
    """Return the hour at which the axis begins: local midnight for steps of days."""
    if step < 86_400:
        return first_hour
    offset = round(time.localtime(first_hour * 3600).tm_gmtoff / 3600)
    return first_hour - (first_hour + offset) % 24


def _build_overview(
    place: str, start: float, step: int, count: int, rows: list[_HourlyRow]
) -> Overview:
    by_period = _sum_by(rows, lambda row: row.period)
    groups = {
        "service": _largest_first(_sum_by(rows, lambda row: row.service or None)),
        "model": _largest_first(_sum_by(rows, lambda row: row.model or None)),
    }
    return Overview(
        place=place,
        start=start,
        step_seconds=step,
        periods=tuple(by_period.get(number, AmountSums()) for number in range(count)),
        totals=_sum_by(rows, lambda row: None)[None],
        groups=groups,
        notes=(BATCH_NOTE,),
    )


def _largest_first(sums: Mapping[Any, AmountSums]) -> tuple[tuple[str | None, AmountSums], ...]:
    return tuple(sorted(sums.items(), key=lambda pair: (-pair[1].input_tokens, pair[0] or "")))


def _sum_by(rows: Iterable[_HourlyRow], key: Callable[[_HourlyRow], Any]) -> dict[Any, AmountSums]:
    parts: dict[Any, list[_HourlyRow]] = {}
    for row in rows:
        parts.setdefault(key(row), []).append(row)
    return {name: _add_rows(some) for name, some in parts.items()}


def _add_rows(rows: list[_HourlyRow]) -> AmountSums:
    def usd(amounts: Iterable[int | None]) -> float | None:
        known = [amount for amount in amounts if amount is not None]
        return sum(known) / PICODOLLARS_PER_USD if known else None

    return AmountSums(
        sum(row.calls for row in rows),
        sum(row.input_tokens for row in rows),
        sum(row.rated_input_tokens for row in rows),
        sum(row.rated_read_tokens for row in rows),
        usd(row.cost for row in rows),
        usd(row.without_cache for row in rows),
        usd(row.wasted for row in rows),
    )


_LATENCY_SQL: Final = """
SELECT outcome, first_chunk FROM (
    SELECT outcome, first_chunk, service, coalesce(request_model, response_model) AS model, time
    FROM calls ORDER BY time DESC LIMIT ?
) WHERE first_chunk IS NOT NULL AND time >= ? AND (? IS NULL OR service = ?)
    AND (? IS NULL OR model = ?)"""


def collect_latencies(
    connection: sqlite3.Connection, wanted: OverviewFilter
) -> dict[str, LatencySummary]:
    """Summarize the times to the first token of hits, and of calls that missed anything."""
    names = (wanted.service, wanted.service, wanted.model, wanted.model)
    rows = connection.execute(_LATENCY_SQL, (LATENCY_CALLS, wanted.since, *names)).fetchall()
    return summarize_latencies(rows)


def summarize_latencies(rows: Iterable[tuple[Any, Any]]) -> dict[str, LatencySummary]:
    """Summarize pairs of an outcome and a time to the first token in seconds."""
    times: dict[str, list[float]] = {"hit": [], "miss": []}
    for outcome, seconds in rows:
        kind = "hit" if outcome == "hit" else "miss" if outcome in _MISSED else None
        if kind and isinstance(seconds, float):
            times[kind].append(seconds)
    return {kind: _summarize(sorted(some)) for kind, some in times.items() if some}


def _summarize(ordered: list[float]) -> LatencySummary:
    count = len(ordered)
    return LatencySummary(count, ordered[count // 2], ordered[min(count - 1, int(count * 0.95))])
