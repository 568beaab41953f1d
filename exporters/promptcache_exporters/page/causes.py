"""What wasted money: one entry for each problem, with place, advice, line of code and trend."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from markupsafe import Markup

from promptcache.diagnosis.miss_reasons import format_advice
from promptcache_exporters.database.dialect import PICODOLLARS_PER_USD
from promptcache_exporters.database.row_ranges import OnProgress, ignore_progress
from promptcache_exporters.database.source import CallsSource
from promptcache_exporters.explain.problems import Problem, count_family_calls, fetch_problems
from promptcache_exporters.explain.query import CallRow, find_worst_call
from promptcache_exporters.page.charts import BarPart, draw_bar, draw_column_chart
from promptcache_exporters.page.time_steps import SHORT_TREND_STEPS, choose_step
from promptcache_exporters.report.format import (
    format_call_site,
    format_count,
    format_local_time,
    format_name,
    format_prompt_location,
    format_usd,
)
from promptcache_exporters.report.sql import TIME_RANGE_QUERY, PeriodGrid

_PROBLEMS_SHARE: Final = 0.7
"""The part of the work that is done when the problems are known."""


class Cause(NamedTuple):
    """A problem as the page shows it."""

    reason: str
    place: str
    wasted: str
    bar: Markup
    advice: str
    often: str
    site: str
    service: str
    address: str
    trend: Markup | None


class _Axis(NamedTuple):
    """The periods of the trends: their grid, and the numbers of the first and the last one."""

    grid: PeriodGrid
    first: int
    last: int


def collect_causes(
    source: CallsSource,
    max_causes: int,
    since: float = -math.inf,
    *,
    has_links: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> tuple[list[Cause], str]:
    """Return the causes that wasted most, and a sentence on all of them.

    has_links: whether each shall link to its call. Raises `CallsFileReadError`.
    """
    with source.open() as connection:
        time_range = TIME_RANGE_QUERY.fetch_one(connection, since)
    axis = _make_axis(time_range.first_time or 0.0, time_range.last_time or 0.0)
    problems = fetch_problems(
        source, since, axis.grid, lambda share: on_progress(share * _PROBLEMS_SHARE)
    )
    total = sum(problem.wasted_usd for problem in problems)
    shown = problems[:max_causes]
    family_calls = count_family_calls(
        source,
        [problem.prefix_family for problem in shown],
        since,
        lambda share: on_progress(_PROBLEMS_SHARE + share * (1 - _PROBLEMS_SHARE)),
    )
    causes: list[Cause] = []
    with source.open() as connection:
        for problem in shown:
            call = find_worst_call(connection, problem, since, axis.grid)
            calls = family_calls[problem.prefix_family or ""]
            cause = _build_cause(problem, call, calls, total, has_links)
            causes.append(cause._replace(trend=_draw_trend(problem, axis)))
    more = f"; the {len(shown)} largest are shown" if len(problems) > len(shown) else ""
    return causes, f"{len(problems)} causes wasted {format_usd(total)} together{more}."


def _make_axis(first_time: float, last_time: float) -> _Axis:
    step = choose_step(last_time - first_time, max_steps=SHORT_TREND_STEPS)
    grid = PeriodGrid.local(step, first_time)
    return _Axis(grid, grid.number_of(first_time), grid.number_of(last_time))


def _build_cause(
    problem: Problem, call: CallRow, family_calls: int, total: float, has_links: bool
) -> Cause:
    place = (problem.miss_section, problem.miss_index)
    share = problem.wasted_usd / total if total else 0.0
    family = format_count(family_calls)
    return Cause(
        reason=format_name(problem.miss_reason),
        place=format_prompt_location(*place),
        wasted=f"{format_usd(problem.wasted_usd)} wasted",
        bar=draw_bar([BarPart(share, "bad", f"{share:.0%} of all waste")]),
        advice=format_advice(problem.miss_reason, *place) or "No advice is known.",
        often=f"{format_count(problem.calls)} of {family} calls of this prefix family",
        site=format_call_site(call["code_file"], call["code_line"], call["code_function"]),
        service=format_name(call["service"]) if call["service"] else "",
        address=f"/call/{call['trace_id']}/{call['span_id']}"
        if has_links and call["trace_id"] and call["span_id"]
        else "",
        trend=None,
    )


def _draw_trend(problem: Problem, axis: _Axis) -> Markup | None:
    """Return the waste over time as columns; None for a time of less than three periods."""
    numbers = range(axis.first, axis.last + 1)
    if len(numbers) < 3:
        return None
    values = [problem.wasted_by_period.get(one, 0) / PICODOLLARS_PER_USD for one in numbers]
    titles = [
        f"{format_local_time(axis.grid.start_of(number))}: {format_usd(value)} wasted"
        for number, value in zip(numbers, values, strict=True)
    ]
    return draw_column_chart([[(value, "bad")] for value in values], titles, max(values))
