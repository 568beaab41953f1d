"""Print a report as the terminal shows it."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from promptcache.semconv import COST_AMOUNT, COST_UNKNOWN, COST_WITHOUT_CACHE
from promptcache_exporters.report.model import Report
from promptcache_exporters.report.terminal import print_report

UNPRICED: dict[str, Any] = {COST_AMOUNT: None, COST_WITHOUT_CACHE: None, COST_UNKNOWN: "model"}
"""Attributes of a call whose model has no price."""


def render_report(report: Report, width: int = 80, limit: int = 20) -> str:
    text = io.StringIO()
    print_report(report, Console(file=text, width=width, markup=False, highlight=False), limit)
    return text.getvalue()
