"""The report as JSON and on a terminal. What it says is in `figures`, how it is worded in `wording`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from promptcache_exporters.report import format as wording
from promptcache_exporters.report.query import Report


def render_json(report: Report) -> str:
    """The stable interface: `totals`, `by`, `groups`, `unread` and `rent`, null for what is unknown."""
    groups = [{"key": group.key} | asdict(group.totals) for group in report.groups]
    beside = {
        name: it and asdict(it)
        for name, it in (("unread", report.unread_writes), ("rent", report.storage_costs))
    }
    return json.dumps(
        {"totals": asdict(report.totals), "by": report.by, "groups": groups} | beside, indent=2
    )


def print_report(report: Report, console: Console, max_groups: int) -> None:
    """Prints the report, at most `max_groups` groups of it (0 is all). Never interprets what a name contains."""
    for title, text in wording.summary_lines(report):
        rate = report.totals.hit_rate if title == "Hit rate" else None
        line = Text.assemble((f"{title:<10}", "bold"), (text, _rate_style(rate)))
        console.print(line)
    if note := wording.sampling_note(report):
        console.print(Text(note, "yellow"))
    if console.width < _MIN_TABLE_WIDTH:
        _print_group_list(report, console, max_groups)
    else:
        console.print(_build_table(report, max_groups))
    hidden = len(report.groups) - max_groups if max_groups else 0
    if hidden > 0:
        console.print(Text(f"... and {hidden:,} more (--limit 0 shows all)", "dim"))
    for reason, text in wording.advice_lines(report):
        console.print(Text.assemble((f"{reason}: ", "bold"), text))
    for change in report.prefix_changes:
        console.print(Text(wording.format_prefix_change(change)))


_MIN_TABLE_WIDTH: Final = 60
"""Columns below which a table has no room for names."""


def _print_group_list(report: Report, console: Console, limit: int) -> None:
    """The groups one below the other."""
    for group in report.groups[: limit or None]:
        console.print(Text(wording.escape_unprintable(group.key), "bold"), overflow="fold")
        pairs = zip(wording.GROUP_COLUMNS, wording.group_cells(group), strict=True)
        console.print(
            Padding(Text(", ".join(f"{name} {cell}" for name, cell in pairs)), (0, 0, 0, 2))
        )


def _build_table(report: Report, limit: int) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    # Folded, not cut: what is piped into a file must be complete.
    table.add_column(wording.group_heading(report.by), overflow="fold")
    for name in wording.GROUP_COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for group in report.groups[: limit or None]:
        style = _rate_style(group.totals.hit_rate)
        cells = [
            Text(cell, style if name == "hit rate" else "")
            for name, cell in zip(wording.GROUP_COLUMNS, wording.group_cells(group), strict=True)
        ]
        table.add_row(Text(wording.escape_unprintable(group.key)), *cells)
    return table


def _rate_style(rate: float | None) -> str:
    if rate is None:
        return ""
    return "green" if rate >= 0.8 else "yellow" if rate >= 0.5 else "red"
