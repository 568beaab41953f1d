"""The figures of a source by all groupings, and their comparison with those of the local table."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from promptcache_exporters.database.query import fetch_rows_by_name
from promptcache_exporters.database.source import open_calls_source
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.figures import FIGURES
from promptcache_exporters.report.sql import figures_by_group_sql

Figures = dict[GroupBy, dict[str | None, tuple[int | None, ...]]]


def figures_of_source(place: str) -> Figures:
    """Return the figures of a source that the report can read."""
    found: Figures = {}
    with open_calls_source(place) as source, source.open() as connection:
        for by in GroupBy:
            statement = figures_by_group_sql(by, source.dialect, FIGURES, "calls", "")
            rows = fetch_rows_by_name(connection, statement)
            found[by] = {row["group_key"]: tuple(row[figure] for figure in FIGURES) for row in rows}
    return found


def compare(name: str, compute: Callable[[], Figures], expected: Figures) -> None:
    """End the program if a figure differs."""
    start = time.perf_counter()
    found = compute()
    seconds = time.perf_counter() - start
    for by in GroupBy:
        if found[by] == expected[by]:
            continue
        for key in {*found[by], *expected[by]}:
            pair = found[by].get(key), expected[by].get(key)
            if pair[0] != pair[1]:
                print(f"{name}, by {by}, {key!r}:\n  {pair[0]}\n  {pair[1]}")
        sys.exit("The engines do not agree.")
    count = sum(len(groups) for groups in found.values()) * len(FIGURES)
    print(f"{name}: {count:,} figures of {len(GroupBy)} groupings are equal ({seconds:.2f} s)")
