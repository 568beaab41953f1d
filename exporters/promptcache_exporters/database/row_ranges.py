"""Read all calls of a source with one statement; of a local table, range by range.

All figures are sums over calls. The local table is read in ranges of rows, whose sums are added up
afterwards. A range fits into SQLite's sorter, and several ranges are read at once, since SQLite
releases the interpreter lock. Rows never change, so a fixed last row gives one consistent snapshot,
although other processes continue to write.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

from promptcache_exporters.database.query import Query, fetch_rows_by_name
from promptcache_exporters.database.source import CallsSource

ROWS_PER_RANGE: Final = 500_000
"""Rows that one query reads."""
_MAX_WORKERS: Final = min(8, os.cpu_count() or 1)
_RANGE_CONDITION: Final = "id BETWEEN ? AND ? AND +time >= ?"
"""`+time` keeps SQLite from reading the whole table through the index on the time."""

OnProgress = Callable[[float], None]
"""Takes the share of a scan that is done, from 0 to 1. It may run in any thread."""


class CallIdRange(NamedTuple):
    """The range of the row ids. Both are None if there are no calls."""

    first_id: int | None
    last_id: int | None


ID_RANGE_QUERY: Final = Query(
    CallIdRange, "SELECT min(id) AS first_id, max(id) AS last_id FROM calls WHERE time >= ?"
)


def ignore_progress(share: float) -> None:
    """Tell nobody."""


def scan_calls(
    source: CallsSource,
    statement_with: Callable[[str], str],
    since: float,
    *parameters: object,
    on_progress: OnProgress = ignore_progress,
) -> list[dict[str, Any]]:
    """Return the rows of a statement over the calls since `since`; of a local table, of each range.

    `statement_with` returns the statement with a condition, which comes before the `?` of
    `parameters`. Raises `CallsFileReadError`.
    """
    if not source.is_local_table:  # all other engines distribute one query by themselves
        with source.open() as connection:
            statement = statement_with("time >= ?")
            return fetch_rows_by_name(connection, statement, since, *parameters)
    with source.open() as connection:
        id_range = ID_RANGE_QUERY.fetch_one(connection, since)
    first_id, last_id = id_range.first_id or 0, id_range.last_id or 0
    statement = statement_with(_RANGE_CONDITION)

    def scan_range(start: int) -> list[dict[str, Any]]:
        with source.open() as connection:
            last = min(start + ROWS_PER_RANGE - 1, last_id)
            return fetch_rows_by_name(connection, statement, start, last, since, *parameters)

    found: list[dict[str, Any]] = []
    starts = range(first_id, last_id + 1, ROWS_PER_RANGE)
    with ThreadPoolExecutor(_MAX_WORKERS) as pool:
        for done, rows in enumerate(pool.map(scan_range, starts), 1):
            found += rows
            on_progress(done / len(starts))
    return found
