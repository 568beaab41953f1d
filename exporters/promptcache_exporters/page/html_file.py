"""The page as one file: `promptcache report --html`. No script, nothing to fetch."""

from __future__ import annotations

from collections.abc import Sequence

from promptcache.version import __version__
from promptcache_exporters.page.causes import Cause
from promptcache_exporters.page.overview import overview_of_report
from promptcache_exporters.page.overview_page import overview_values, report_group_table
from promptcache_exporters.page.rendering import render_template, style_policy
from promptcache_exporters.report.format import format_path
from promptcache_exporters.report.lines import (
    advice_lines,
    sampling_note,
    summary_lines,
)
from promptcache_exporters.report.model import Report


def render_html(report: Report, causes: Sequence[Cause] = ()) -> str:
    """Return the page. All text from the table is escaped, and a policy forbids scripts as well."""
    values = overview_values(overview_of_report(report))
    if report.totals.calls:
        values |= {"groups": [report_group_table(report)], "causes": causes}
        values["notes"] = [note for note in [sampling_note(report)] if note]
        values["advice"] = [f"{reason}: {text}" for reason, text in advice_lines(report)]
        values["facts"] = summary_lines(report)
    return render_template(
        "overview",
        title="report",
        place=format_path(report.path),
        policy=style_policy(),
        footer=f"promptcache {__version__}",
        **values,
    )
