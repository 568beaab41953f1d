"""The overview as values of its template: the same on the served page and in a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from markupsafe import Markup

from promptcache_exporters.page.charts import (
    BarPart,
    ChartMark,
    draw_bar,
    draw_column_chart,
    draw_line_chart,
)
from promptcache_exporters.page.hit_rate import rate_cell, rate_kind
from promptcache_exporters.page.overview import AmountSums, LatencySummary, Overview
from promptcache_exporters.report.format import (
    NO_VALUE,
    format_abbreviated_count,
    format_count,
    format_local_time,
    format_local_utc_offset,
    format_name,
    format_percent_rounded_down,
    format_usd,
)
from promptcache_exporters.report.lines import (
    GROUP_COLUMNS,
    group_column_heading,
    group_table_cells,
    prefix_change_sentence,
)
from promptcache_exporters.report.model import Report
from promptcache_exporters.report.rounding import round_usd_to_12_digits

MAX_GROUPS: Final = 20
MAX_REPORT_GROUPS: Final = 200
RECORD_HINT: Final = "Record the calls of your program; this page then shows them."
RECORD_COMMAND: Final = "promptcache run -- python app.py"
_LATENCY_NAMES: Final = {"hit": "hit", "miss": "miss"}


def overview_values(overview: Overview | None) -> dict[str, Any]:
    """Return the values of the template. None is a table without calls."""
    empty: dict[str, Any] = dict.fromkeys(
        ("cards", "notes", "charts", "changes", "money", "latencies", "causes", "groups"), ()
    )
    empty |= {"advice": (), "facts": (), "columns": GROUP_COLUMNS}
    empty |= {"hint": RECORD_HINT, "command": RECORD_COMMAND}
    if overview is None or not overview.totals.calls:
        return empty
    return empty | {
        "cards": build_cards(overview),
        "notes": overview.notes,
        "charts": build_charts(overview),
        "changes": [prefix_change_sentence(change) for change in overview.changes],
        "money": build_money_bars(overview.totals),
        "latencies": _latency_rows(overview.latencies),
        "groups": [build_group_table(name, groups) for name, groups in overview.groups.items()],
    }


def build_cards(overview: Overview) -> list[tuple[str, str, str, str]]:
    """Return title, value, explanation and class of each large figure."""
    sums = overview.totals
    rate = sums.hit_rate
    tokens = f"of {format_abbreviated_count(sums.rated_input_tokens)} input tokens"
    return [
        ("Hit rate", format_percent_rounded_down(rate), tokens, rate_kind(rate)),
        ("Paid", format_usd(sums.cost_usd), f"for {format_count(sums.calls)} calls", "paid"),
        (
            "Saved",
            format_usd(sums.saved_usd),
            _share(sums.saved_usd, sums.without_cache_usd),
            "good",
        ),
        (
            "Wasted",
            format_usd(sums.wasted_usd),
            _share(sums.wasted_usd, sums.cost_usd, "cost"),
            "bad",
        ),
    ]


def _share(part: float | None, whole: float | None, name: str = "cost without cache") -> str:
    if part is None or not whole:
        return "unknown share"
    return f"{format_percent_rounded_down(max(0.0, part / whole))} of the {name}"


def build_charts(overview: Overview) -> list[dict[str, Any]]:
    """Return the charts over time: hit rate with the changes of prefixes, and money."""
    if len(overview.periods) < 2:
        return []
    starts = [overview.start + at * overview.step_seconds for at in range(len(overview.periods))]
    zone = format_local_utc_offset(overview.start)
    axis = {
        "begin": f"{format_local_time(overview.start)} {zone}",
        "end": format_local_time(overview.end),
    }
    pairs = list(zip(starts, overview.periods, strict=True))
    rates = [one.hit_rate for one in overview.periods]
    titles = [
        f"{format_local_time(start)}: {format_percent_rounded_down(one.hit_rate)}"
        f" read, {format_count(one.input_tokens)} input tokens, {format_count(one.calls)} calls"
        for start, one in pairs
    ]
    marks = list(_prefix_marks(overview))
    picture = draw_line_chart(rates, titles, 1.0, "good", marks)
    legend = [("the static prefix changed", "mark")] if marks else []
    rate_chart: dict[str, Any] = {
        "title": "Hit rate over time",
        "picture": picture,
        "highest": "100 %",
    }
    rate_chart |= {"lowest": "0", "legend": legend}
    return [rate_chart | axis, _money_chart(pairs) | axis]


def _prefix_marks(overview: Overview) -> Iterable[ChartMark]:
    length = overview.end - overview.start
    for change in overview.changes:
        if overview.start <= change.time <= overview.end and length:
            place = (change.time - overview.start) / length
            yield ChartMark(place, prefix_change_sentence(change))


def _money_chart(pairs: Sequence[tuple[float, AmountSums]]) -> dict[str, Any]:
    """Return columns of what was paid; a part of it was wasted. Above it, what was saved."""
    columns: list[list[tuple[float, str]]] = []
    titles: list[str] = []
    for start, one in pairs:
        paid, saved = one.cost_usd or 0.0, max(0.0, one.saved_usd or 0.0)
        wasted = min(paid, one.wasted_usd or 0.0)
        columns.append([(wasted, "bad"), (paid - wasted, "paid"), (saved, "good")])
        titles.append(
            f"{format_local_time(start)}: {format_usd(one.cost_usd)} paid,"
            f" {format_usd(one.wasted_usd)} of it wasted, {format_usd(one.saved_usd)} saved"
        )
    highest = max(sum(amount for amount, _ in column) for column in columns)
    return {
        "title": "Money over time",
        "picture": draw_column_chart(columns, titles, highest),
        "highest": format_usd(round_usd_to_12_digits(highest)),
        "lowest": "$0",
        "legend": [("wasted", "bad"), ("paid", "paid"), ("saved", "good")],
    }


def build_money_bars(sums: AmountSums) -> list[tuple[str, str, Markup]]:
    """Return name, amount and bar of what a cache changed, all bars on one scale."""
    amounts = [
        ("without cache", sums.without_cache_usd, "plain"),
        ("saved", sums.saved_usd, "good"),
        ("paid", sums.cost_usd, "paid"),
        ("of it wasted", sums.wasted_usd, "bad"),
    ]
    highest = max((amount or 0.0 for _, amount, _ in amounts), default=0.0)
    return [
        (
            name,
            format_usd(amount),
            draw_bar([BarPart((amount or 0.0) / highest if highest else 0.0, kind, name)]),
        )
        for name, amount, kind in amounts
    ]


def _latency_rows(latencies: Mapping[str, LatencySummary]) -> list[tuple[str, str, str, str]]:
    return [
        (name, format_seconds(one.median), format_seconds(one.p95), format_count(one.calls))
        for kind, name in _LATENCY_NAMES.items()
        if (one := latencies.get(kind))
    ]


def format_seconds(seconds: float | None) -> str:
    """Return `340 ms` or `1.25 s`, or a dash for None."""
    if seconds is None:
        return NO_VALUE
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def build_group_table(
    heading: str,
    groups: Sequence[tuple[str | None, AmountSums]],
    address: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return a table with a row for each of the largest groups.

    With `address` a row links to the overview of its group; it has the other parameters.
    """
    rows = [
        {
            "name": format_name(name),
            "address": f"/?{urlencode({**address, heading: name})}"
            if address is not None and name
            else "",
            "cells": group_cells(sums),
        }
        for name, sums in groups[:MAX_GROUPS]
    ]
    return {"heading": heading, "rows": rows, "hidden": max(0, len(groups) - MAX_GROUPS)}


def group_cells(sums: AmountSums) -> list[str | Markup]:
    """Return the cells of a row, in the order of `GROUP_COLUMNS`."""
    return [
        format_count(sums.calls),
        format_abbreviated_count(sums.input_tokens),
        rate_cell(sums.hit_rate),
        format_usd(sums.cost_usd),
        format_usd(sums.saved_usd),
        format_usd(sums.wasted_usd),
    ]


def report_group_table(report: Report) -> dict[str, Any]:
    """Return the groups of a report as a table, with the cells that the terminal shows."""
    at = GROUP_COLUMNS.index("hit rate")
    rows: list[dict[str, Any]] = []
    for group in report.groups[:MAX_REPORT_GROUPS]:
        cells: list[Any] = list(group_table_cells(group))
        cells[at] = rate_cell(group.totals.hit_rate)
        name = " / ".join(map(format_name, group.values))
        rows.append({"name": name, "address": "", "cells": cells})
    hidden = max(0, len(report.groups) - MAX_REPORT_GROUPS)
    return {"heading": group_column_heading(report.by), "rows": rows, "hidden": hidden}
