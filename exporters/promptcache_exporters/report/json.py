"""The report as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

from promptcache_exporters.report.model import Report


def render_report_json(report: Report) -> str:
    """Return the report as JSON, a stable interface. null is unknown.

    The keys are `totals`, `by`, `groups`, `unread`, `absent` and `rent`.
    """
    groups = [{"key": group.key} | asdict(group.totals) for group in report.groups]
    document = {
        "totals": asdict(report.totals),
        "by": report.by,
        "groups": groups,
        "unread": report.unread_writes and asdict(report.unread_writes),
        "absent": asdict(report.absent_rows),
        "rent": report.storage_costs and asdict(report.storage_costs),
    }
    return json.dumps(document, indent=2)
