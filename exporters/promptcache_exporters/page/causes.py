"""What wasted money: one entry for each problem, with place, advice, line of code and trend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from markupsafe import Markup

from promptcache_exporters.database.dialect import SQLDialect
from promptcache_exporters.database.query import QueryConnection
from promptcache_exporters.database.source import CallsSource
from promptcache_exporters.explain.problems import fetch_problems
from promptcache_exporters.explain.query import CallComparison, compare_costliest_misses
from promptcache_exporters.page.charts import BarPart, draw_bar, draw_column_chart
from promptcache_exporters.page.time_steps import STEPS
from promptcache_exporters.report.format import (
    format_call_site,
    format_count,
    format_local_time,
    format_name,
    format_prompt_location,
    format_usd,
)

_TREND_STEPS: Final = 40
_TREND_SQL: Final = """
SELECT {period} AS period, sum({wasted}) AS wasted_sum, count(*) AS period_calls
FROM calls WHERE +time >= ? AND miss_reason = ? AND coalesce(miss_section, '') = ?
    AND coalesce(miss_index, -1) = ? AND coalesce(prefix_family, '') = ? GROUP BY 1"""


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


def collect_causes(
    source: CallsSource, max_causes: int, since: float = -math.inf, *, has_links: bool = False
) -> tuple[list[Cause], str]:
    """Return the causes that wasted most, and a sentence on all of them.

    has_links: whether each shall link to its call. Raises `CallsFileReadError`.
    """
    found = compare_costliest_misses(source, max_causes, since)
    with source.open() as connection:
        problems = fetch_problems(connection, source.dialect, since)
        total = sum(problem.wasted_usd for problem in problems)
        causes = [
            _build_cause(one, total, _draw_trend(connection, source.dialect, one, since), has_links)
            for one in found
        ]
    hidden = len(problems) - len(causes)
    more = f"; the {len(causes)} largest are shown" if hidden else ""
    return causes, f"{len(problems)} causes wasted {format_usd(total)} together{more}."


def _build_cause(one: CallComparison, total: float, trend: Markup | None, has_links: bool) -> Cause:
    call = one.call
    wasted = one.repeated_wasted_usd or 0.0
    share = wasted / total if total else 0.0
    calls = format_count(one.repeated_breaks)
    often = f"{calls} of {format_count(one.family_calls)} calls of this prefix family"
    address = f"/call/{call['trace_id']}/{call['span_id']}"
    return Cause(
        format_name(call["miss_reason"]),
        format_prompt_location(call["miss_section"], call["miss_index"]),
        f"{format_usd(wasted)} wasted",
        draw_bar([BarPart(share, "bad", f"{share:.0%} of all waste")]),
        one.advice or "No advice is known.",
        often,
        format_call_site(call["code_file"], call["code_line"], call["code_function"]),
        format_name(call["service"]) if call["service"] else "",
        address if has_links and call["trace_id"] and call["span_id"] else "",
        trend,
    )


def _draw_trend(
    connection: QueryConnection, dialect: SQLDialect, one: CallComparison, since: float
) -> Markup | None:
    """Return the waste over time as columns; None if all of it is in one period."""
    call = one.call
    bounds = connection.execute(
        "SELECT min(time), max(time) FROM calls WHERE time >= ?", (since,)
    ).fetchall()
    first, last = bounds[0]
    step = next((one for one in STEPS if (last - first) / one <= _TREND_STEPS), STEPS[-1])
    sql = _TREND_SQL.format(
        period=dialect.to_floor(f"(time - {float(first)!r}) / {float(step)!r}"),
        wasted=dialect.to_picodollars("wasted_usd"),
    )
    index = -1 if call["miss_index"] is None else call["miss_index"]
    place = (call["miss_reason"], call["miss_section"] or "", index, call["prefix_family"] or "")
    rows: Sequence[Any] = connection.execute(sql, (since, *place)).fetchall()
    sums = {int(row[0]): (row[1] or 0) / 1e12 for row in rows}
    count = int((last - first) / step) + 1
    if count < 3:
        return None
    values = [sums.get(number, 0.0) for number in range(count)]
    titles = [
        f"{format_local_time(first + number * step)}: {format_usd(value)} wasted"
        for number, value in enumerate(values)
    ]
    return draw_column_chart([[(value, "bad")] for value in values], titles, max(values))
