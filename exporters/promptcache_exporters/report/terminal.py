"""The report on a terminal."""

from __future__ import annotations

from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from promptcache_exporters.report.format import format_name
from promptcache_exporters.report.lines import (
    GROUP_COLUMNS,
    advice_lines,
    group_column_heading,
    group_table_cells,
    prefix_change_sentence,
    sampling_note,
    summary_lines,
)
from promptcache_exporters.report.model import Report

_MIN_TABLE_WIDTH: Final = 60
"""Below this number of columns a table has no room for names."""


def print_report(report: Report, console: Console, max_groups: int) -> None:
    """Print the report with at most `max_groups` groups (0 is all).

    Markup in the name of a model or a service is printed as it is, never interpreted.
    """
    lines = summary_lines(report)
    title_width = max(len(title) for title, _ in lines) + 2
    for title, text in lines:
        rate = report.totals.hit_rate if title == "Hit rate" else None
        styled_text = (text, _hit_rate_color(rate))
        console.print(Text.assemble((f"{title:<{title_width}}", "bold"), styled_text))
    if note := sampling_note(report):
        console.print(Text(note, "yellow"))
    if console.width < _MIN_TABLE_WIDTH:
        _print_group_list(report, console, max_groups)
    else:
        console.print(_build_group_table(report, max_groups))
    hidden = len(report.groups) - max_groups if max_groups else 0
    if hidden > 0:
        console.print(Text(f"... and {hidden:,} more (--limit 0 shows all)", "dim"))
    for reason, text in advice_lines(report):
        console.print(Text.assemble((f"{reason}: ", "bold"), text))
    for change in report.prefix_changes:
        console.print(Text(prefix_change_sentence(change)))


def _print_group_list(report: Report, console: Console, max_groups: int) -> None:
    """Print the groups one below the other, for narrow terminals."""
    for group in report.groups[: max_groups or None]:
        console.print(Text(format_name(group.key), "bold"), overflow="fold")
        pairs = zip(GROUP_COLUMNS, group_table_cells(group), strict=True)
        cells = Text(", ".join(f"{name} {cell}" for name, cell in pairs))
        console.print(Padding(cells, (0, 0, 0, 2)))


def _build_group_table(report: Report, max_groups: int) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    # Names are folded, not cut at the width of the column: a pipe may be narrow.
    table.add_column(group_column_heading(report.by), overflow="fold")
    for name in GROUP_COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for group in report.groups[: max_groups or None]:
        style = _hit_rate_color(group.totals.hit_rate)
        cells = [
            Text(cell, style if name == "hit rate" else "")
            for name, cell in zip(GROUP_COLUMNS, group_table_cells(group), strict=True)
        ]
        table.add_row(Text(format_name(group.key)), *cells)
    return table


def _hit_rate_color(rate: float | None) -> str:
    if rate is None:
        return ""
    return "green" if rate >= 0.8 else "yellow" if rate >= 0.5 else "red"
