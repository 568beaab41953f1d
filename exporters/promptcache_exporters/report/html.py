"""The report as one static HTML file: no script, nothing to fetch, safe with hostile names."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final

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
from promptcache_exporters.report.model import Report, ReportGroup

_STYLE: Final = """
:root { color-scheme: light dark; --good: #1a7f37; --fair: #9a6700; --bad: #cf222e; --line: #8884 }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.5rem }
dt { font-weight: 600 } dd { margin: 0 }
table { border-collapse: collapse; width: 100% }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere }
td { font-variant-numeric: tabular-nums; white-space: nowrap }
td:first-child { white-space: normal }
meter { width: 6rem; vertical-align: middle; margin-right: .5rem } .note { color: var(--fair) }
"""

_PAGE_TEMPLATE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>promptcache report</title>
<style>{style}</style>
</head>
<body>
<h1>Prompt caching report</h1>
<dl>{summary}</dl>
{notes}
<h2>By {heading}</h2>
<table>
<thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
{advice}
{changes}
</body>
</html>
"""


def render_html(report: Report) -> str:
    """Return the page. All text from the table is escaped, and a policy forbids scripts as well."""
    note = sampling_note(report)
    heading = group_column_heading(report.by)
    advice = _render_escaped_list(f"{reason}: {text}" for reason, text in advice_lines(report))
    changes = _render_escaped_list(
        prefix_change_sentence(change) for change in report.prefix_changes
    )
    return _PAGE_TEMPLATE.format(
        style=_STYLE,
        summary="".join(
            f"<dt>{escape(title)}</dt><dd>{escape(text)}</dd>"
            for title, text in summary_lines(report)
        ),
        notes=f'<p class="note">{escape(note)}</p>' if note else "",
        heading=escape(heading),
        head="".join(f"<th>{escape(name)}</th>" for name in (heading, *GROUP_COLUMNS)),
        rows="\n".join(_render_group_row(group) for group in report.groups),
        advice=f"<h2>What to do</h2>{advice}" if advice else "",
        changes=f"<h2>Changes of the static prefix</h2>{changes}" if changes else "",
    )


def _render_group_row(group: ReportGroup) -> str:
    cells = [
        f"<td>{_render_hit_rate_meter(group) if name == 'hit rate' else ''}{escape(cell)}</td>"
        for name, cell in zip(GROUP_COLUMNS, group_table_cells(group), strict=True)
    ]
    return f"<tr><td>{escape(format_name(group.key))}</td>{''.join(cells)}</tr>"


def _render_hit_rate_meter(group: ReportGroup) -> str:
    rate = group.totals.hit_rate
    if rate is None:
        return ""
    return f'<meter min="0" max="1" low="0.5" high="0.8" optimum="1" value="{rate:.4f}"></meter>'


def _render_escaped_list(texts: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<ul>{items}</ul>" if items else ""
