"""The problems of a table: miss reasons at one place of one prefix family, and what they wasted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from promptcache_exporters.database.dialect import PICODOLLARS_PER_USD, SQLDialect
from promptcache_exporters.database.row_ranges import OnProgress, ignore_progress, scan_calls
from promptcache_exporters.database.source import CallsSource
from promptcache_exporters.report.figures import figure_expression
from promptcache_exporters.report.sql import PeriodGrid

ProblemKey = tuple[str | None, str, str | None, int | None]


@dataclass(frozen=True, slots=True)
class Problem:
    """A reason at one place of one prefix family.

    wasted_picodollars: what its `calls` wasted together, more than 0; `wasted_by_period` has the
    parts of periods. worst_period: the first period with the call that wasted most.
    """

    prefix_family: str | None
    miss_reason: str
    miss_section: str | None
    miss_index: int | None
    calls: int
    wasted_picodollars: int
    wasted_by_period: Mapping[int, int]
    worst_period: int

    @property
    def wasted_usd(self) -> float:
        """What its calls wasted together."""
        return self.wasted_picodollars / PICODOLLARS_PER_USD


def fetch_problems(
    source: CallsSource,
    since: float,
    periods: PeriodGrid,
    on_progress: OnProgress = ignore_progress,
) -> list[Problem]:
    """Return the problems of the calls since `since` (epoch seconds) that wasted anything.

    The largest sum is the first. Raises `CallsFileReadError`.
    """
    parts: dict[ProblemKey, list[dict[str, Any]]] = {}
    statement_with = partial(_problems_sql, source.dialect, periods)
    for row in scan_calls(source, statement_with, since, on_progress=on_progress):
        place = (row["prefix_family"], row["miss_reason"], row["miss_section"], row["miss_index"])
        parts.setdefault(place, []).append(row)
    problems = [_add_parts(place, rows) for place, rows in parts.items()]
    return sorted((one for one in problems if one.wasted_picodollars > 0), key=_rank)


def _problems_sql(dialect: SQLDialect, periods: PeriodGrid, condition: str) -> str:
    wasted = figure_expression("wasted_picodollars", dialect)
    return f"""
SELECT prefix_family, miss_reason, miss_section, miss_index, {periods.to_sql(dialect)} AS period,
    count(*) AS problem_calls, {wasted} AS wasted_picodollars, max(wasted_usd) AS highest_usd
FROM calls WHERE {condition} AND miss_reason IS NOT NULL
GROUP BY 1, 2, 3, 4, 5"""  # noqa: S608  # our own SQL


def _add_parts(place: ProblemKey, rows: Sequence[Mapping[str, Any]]) -> Problem:
    by_period: dict[int, int] = {}
    for row in rows:
        period = int(row["period"])
        by_period[period] = by_period.get(period, 0) + int(row["wasted_picodollars"] or 0)
    worst = max(rows, key=lambda row: (row["highest_usd"] or 0.0, -row["period"]))
    calls = sum(row["problem_calls"] for row in rows)
    return Problem(*place, calls, sum(by_period.values()), by_period, int(worst["period"]))


def _rank(problem: Problem) -> tuple[int, str, str, int, str]:
    place = (problem.miss_reason, problem.miss_section or "", problem.miss_index or 0)
    return (-problem.wasted_picodollars, *place, problem.prefix_family or "")


def count_family_calls(
    source: CallsSource,
    families: Sequence[str | None],
    since: float,
    on_progress: OnProgress = ignore_progress,
) -> dict[str, int]:
    """Return the number of calls of each family; '' stands for calls without one."""
    names = sorted({family or "" for family in families})
    marks = ", ".join("?" * len(names))

    def statement_with(condition: str) -> str:
        return f"""
SELECT coalesce(prefix_family, '') AS family, count(*) AS family_calls
FROM calls WHERE {condition} AND coalesce(prefix_family, '') IN ({marks})
GROUP BY 1"""  # noqa: S608  # our own SQL

    counts = dict.fromkeys(names, 0)
    for row in scan_calls(source, statement_with, since, *names, on_progress=on_progress):
        counts[row["family"]] += row["family_calls"]
    return counts
