"""The report as CSV, for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import astuple, fields
from datetime import UTC, datetime
from typing import Any, Final

from promptcache_exporters.report.model import CallTotals, Report

_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet would run such a cell as a formula, and names of models are hostile input."""


def render_report_csv(report: Report) -> str:
    """Return one line for each group; with periods one for each group in each period.

    The columns are `start` (UTC, only with periods), the fields of the groups, and the keys of the
    totals in JSON. An empty cell is unknown.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    start = ["start"] if report.period_seconds else []
    writer.writerow([*start, *map(str, report.by), *(one.name for one in fields(CallTotals))])
    writer.writerows(_rows_of_periods(report) if start else _rows_of_groups(report))
    return text.getvalue()


def _rows_of_groups(report: Report) -> Iterator[list[Any]]:
    for group in report.groups:
        yield [*map(_plain_text, group.values), *astuple(group.totals)]


def _rows_of_periods(report: Report) -> Iterator[list[Any]]:
    for number, period in enumerate(report.periods):
        start = datetime.fromtimestamp(period.start, UTC).isoformat()
        for group in report.groups:
            if totals := group.totals_by_period.get(number):
                yield [start, *map(_plain_text, group.values), *astuple(totals)]


def _plain_text(value: str | None) -> str | None:
    return f"'{value}" if value and value.startswith(_FORMULA_STARTS) else value
