"""What the breaks of a test would cost at the volume of a local table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from promptcache_exporters.database.source import find_calls_source
from promptcache_testing.summaries import CallSummary, TestSummary
from promptcache_testing.turns import BREAKS

_DAYS: Final = 30
_QUERY: Final = (
    "SELECT request_model, COUNT(*) FROM calls WHERE time >= ? AND request_model IS NOT NULL "
    "GROUP BY request_model"
)


def count_calls_by_model(path: Path) -> dict[str, int]:
    """Return how many calls each model had in the last 30 days of the table's calls.

    Raise CallsFileReadError if the file cannot be read.
    """
    with find_calls_source(path).open() as connection:
        ((last,),) = connection.execute("SELECT MAX(time) FROM calls").fetchall()
        if last is None:
            return {}
        since = min(float(last), time.time()) - _DAYS * 86_400
        return {str(model): int(n) for model, n in connection.execute(_QUERY, (since,)).fetchall()}


def volume_lines(
    summaries: Sequence[TestSummary], path: Path, calls_by_model: dict[str, int]
) -> list[str]:
    """Return a line for each test and model with breaks: what they cost in a month."""
    lines: list[str] = []
    for one in summaries:
        models = sorted({call.model for call in one.calls if call.model is not None})
        for model in models:
            calls = [call for call in one.calls if call.model == model]
            usd = _usd_of_one_call(calls)
            if usd:
                count = calls_by_model.get(model, 0)
                lines.append(
                    f"promptcache: {one.nodeid}: {usd:.6f} USD a call are lost; at "
                    f"{count:,} calls of {model} in {_DAYS} days ({path.name}) "
                    f"{usd * count:,.2f} USD a month"
                )
    return lines


def _usd_of_one_call(calls: Sequence[CallSummary]) -> float:
    """Return what an average call loses by breaks of its prefix."""
    return sum(call.wasted_usd or 0.0 for call in calls if call.turn in BREAKS) / len(calls)
