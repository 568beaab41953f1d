"""The report as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Final

from promptcache_exporters.report.model import Report

SCHEMA: Final = 1
"""The version of the keys."""


def render_report_json(report: Report) -> str:
    """Return the report as JSON, a stable interface. null is unknown.

    `schema` grows when a key gains another meaning or goes; new keys do not change it.
    """
    document = {
        "schema": SCHEMA,
        "file": None if report.path is None else str(report.path),
        "window": {
            "since": finite_or_none(report.since),
            "until": finite_or_none(report.until),
            "first_call": report.first_call_time,
            "last_call": report.last_call_time,
            "where": report.conditions,
        },
        "sampling": {
            "sampled_calls": report.sampled_calls,
            "smallest_ratio": report.smallest_sample_ratio,
        },
        "totals": asdict(report.totals),
        "by": ",".join(map(str, report.by)),
        "groups": [
            {"key": group.key, "values": group.values} | asdict(group.totals)
            for group in report.groups
        ],
        "every_seconds": report.period_seconds,
        "periods": [{"start": one.start} | asdict(one.totals) for one in report.periods],
        "unread": report.unread_writes and asdict(report.unread_writes),
        "absent": asdict(report.absent_rows),
        "rent": report.storage_costs and asdict(report.storage_costs),
    }
    return json.dumps(document, indent=2)


def finite_or_none(epoch_seconds: float) -> float | None:
    """Return None for an open end of a time range, which JSON cannot write."""
    return epoch_seconds if math.isfinite(epoch_seconds) else None
