"""The report on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from promptcache_exporters.report.format import (
    format_name,
    format_period_start,
    format_sparkline,
    format_usd,
)
from promptcache_exporters.report.lines import (
    GROUP_COLUMNS,
    advice_lines,
    field_heading,
    group_table_cells,
    prefix_change_sentence,
    sampling_note,
    summary_lines,
    totals_table_cells,
)
from promptcache_exporters.report.model import Report, ReportGroup

_MIN_TABLE_WIDTH: Final = 60
"""Below this number of columns a table has no room for names."""
_MAX_SPARKS: Final = 24
"""Periods in the small picture of a group."""


def print_report(report: Report, console: Console, max_groups: int) -> None:
    """Print the report with at most `max_groups` groups and periods (0 is all).

    Markup in the name of a model or a service is printed as it is, never interpreted.
    """
    for part in render_report(report, console.width, max_groups):
        console.print(part)


def render_report(report: Report, width: int, max_groups: int) -> Iterator[RenderableType]:
    """Yield the parts of the report, for a terminal of `width` columns."""
    lines = summary_lines(report)
    title_width = max(len(title) for title, _ in lines) + 2
    for title, text in lines:
        rate = report.totals.hit_rate if title == "Hit rate" else None
        styled_text = (text, _hit_rate_color(rate))
        yield Text.assemble((f"{title:<{title_width}}", "bold"), styled_text)
    if note := sampling_note(report):
        yield Text(note, "yellow")
    if width < _MIN_TABLE_WIDTH:
        yield from _group_list(report, max_groups)
    else:
        yield _build_group_table(report, max_groups)
    hidden = len(report.groups) - max_groups if max_groups else 0
    if hidden > 0:
        yield Text(f"... and {hidden:,} more (--limit 0 shows all)", "dim")
    yield from _period_parts(report, max_groups)
    for reason, text in advice_lines(report):
        yield Text.assemble((f"{reason}: ", "bold"), text)
    for change in report.prefix_changes:
        yield Text(prefix_change_sentence(change))


def _group_list(report: Report, max_groups: int) -> Iterator[RenderableType]:
    """Yield the groups one below the other, for narrow terminals."""
    for group in report.groups[: max_groups or None]:
        yield Text(format_name(group.key), "bold", overflow="fold")
        pairs = zip(GROUP_COLUMNS, group_table_cells(group), strict=True)
        cells = Text(", ".join(f"{name} {cell}" for name, cell in pairs))
        yield Padding(cells, (0, 0, 0, 2))


def _build_group_table(report: Report, max_groups: int) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for field in report.by:
        # Names are folded, not cut at the width of the column: a pipe may be narrow.
        table.add_column(field_heading(field), overflow="fold")
    for name in GROUP_COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    if has_sparks := 1 < len(report.periods) <= _MAX_SPARKS:
        table.add_column("hit rate over time", no_wrap=True)
    for group in report.groups[: max_groups or None]:
        style = _hit_rate_color(group.totals.hit_rate)
        cells = [
            Text(cell, style if name == "hit rate" else "")
            for name, cell in zip(GROUP_COLUMNS, group_table_cells(group), strict=True)
        ]
        sparks = [Text(_hit_rate_sparks(report, group), style)] if has_sparks else []
        table.add_row(*(Text(format_name(value)) for value in group.values), *cells, *sparks)
    return table


def _hit_rate_sparks(report: Report, group: ReportGroup) -> str:
    periods = (group.totals_by_period.get(number) for number in range(len(report.periods)))
    return format_sparkline([one.hit_rate if one else None for one in periods], 1.0)


def _period_parts(report: Report, max_periods: int) -> Iterator[RenderableType]:
    """Yield a table with a row for each period, above it its figures as one line of blocks."""
    if not report.periods or report.period_seconds is None:
        return
    periods = report.periods
    rates = [one.totals.hit_rate for one in periods]
    wastes = [one.totals.wasted_usd for one in periods]
    yield _spark_line("Hit rate", format_sparkline(rates, 1.0), "0 to 100 %")
    highest = max((one for one in wastes if one is not None), default=None)
    yield _spark_line("Wasted", format_sparkline(wastes), f"at most {format_usd(highest)}")
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("from")
    for name in GROUP_COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    shown = periods[-max_periods:] if max_periods else periods
    for one in shown:
        cells = [
            Text(cell, _hit_rate_color(one.totals.hit_rate) if name == "hit rate" else "")
            for name, cell in zip(GROUP_COLUMNS, totals_table_cells(one.totals), strict=True)
        ]
        table.add_row(format_period_start(one.start, report.period_seconds), *cells)
    yield table
    if hidden := len(periods) - len(shown):
        yield Text(f"... and {hidden:,} earlier ones (--limit 0 shows all)", "dim")


def _spark_line(title: str, sparks: str, scale: str) -> Text:
    return Text.assemble((f"{title:<10}", "bold"), sparks, (f"  {scale}", "dim"))


def _hit_rate_color(rate: float | None) -> str:
    if rate is None:
        return ""
    return "green" if rate >= 0.8 else "yellow" if rate >= 0.5 else "red"
