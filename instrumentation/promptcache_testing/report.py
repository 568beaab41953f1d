"""The list of calls on the terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from promptcache_testing.profile_date import PROFILE_DATE
from promptcache_testing.summaries import TestSummary
from promptcache_testing.turns import BREAKS


def to_json(summaries: Sequence[TestSummary]) -> str:
    """Return all summaries as JSON, for `--promptcache-json`."""
    data: dict[str, Any] = {
        "schema": 1,
        "profile_date": PROFILE_DATE,
        "tests": [one.to_json() for one in summaries],
    }
    return json.dumps(data, indent=2) + "\n"


def _format_rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1%}"


def _rows(summaries: Sequence[TestSummary]) -> list[tuple[str, ...]]:
    return [
        (
            str(len(one.calls)),
            _format_rate(one.hit_rate),
            f"{sum(call.input_tokens for call in one.calls):,}",
            f"{one.volatile_bytes:,}",
            one.nodeid,
        )
        for one in summaries
    ]


_TITLES = ("calls", "hit rate", "input tokens", "volatile bytes")


def format_terminal(summaries: Sequence[TestSummary], unit: str = "test") -> list[str]:
    """Return the lines of a table, with a line for each place that broke the prefix.

    `unit` says what has the calls: a test or a program.
    """
    title = f"promptcache: LLM calls by {unit} (rules of {PROFILE_DATE})"
    if not summaries:
        return ["", title, "no LLM call was seen"]
    ordered = sorted(summaries, key=lambda one: one.nodeid)
    rows = [(*_TITLES, unit), *_rows(ordered)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    lines = ["", title]
    for row, summary in zip(rows, [None, *ordered], strict=True):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[-1]]))
        lines += [] if summary is None else [f"    {line}" for line in break_lines(summary)]
    return lines


def break_lines(summary: TestSummary) -> list[str]:
    """Return one line for each different break of a test."""
    found: dict[str, int] = {}
    for call in summary.calls:
        if call.turn in BREAKS:
            place = call.turn_place or "a parameter"
            text = f"{call.turn}: {place} at {call.file}:{call.line}"
            found[text] = found.get(text, 0) + 1
        for place in call.second_run_places:
            text = f"second run differs: {place} at {call.file}:{call.line}"
            found[text] = found.get(text, 0) + 1
    return [text if count == 1 else f"{text} ({count} calls)" for text, count in found.items()]


def append_step_summary(summaries: Sequence[TestSummary], unit: str = "test") -> None:
    """Append the table to the file of GITHUB_STEP_SUMMARY, if there is one."""
    if summaries and (summary := os.environ.get("GITHUB_STEP_SUMMARY")):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(_format_markdown(summaries, unit))


def _format_markdown(summaries: Sequence[TestSummary], unit: str) -> str:
    lines = [
        f"### Prompt cache (rules of {PROFILE_DATE})",
        "",
        f"| {unit} | calls | hit rate | input tokens | volatile bytes |",
        "|---|--:|--:|--:|--:|",
    ]
    for row, summary in zip(_rows(summaries), summaries, strict=True):
        *numbers, test = row
        lines.append(f"| `{test}` | " + " | ".join(numbers) + " |")
        lines += [f"| {line} | | | | |" for line in break_lines(summary)]
    return "\n".join(lines) + "\n"
