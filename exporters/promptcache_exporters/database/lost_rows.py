"""Rows that could not be written: counted in the table itself, once it can be written again."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

LOST_ROWS_TABLE_NAME: Final = "lost_rows"
LOST_ROWS_COLUMNS: Final = ("time", "rows", "reason")
CREATE_STATEMENT: Final = (
    f"CREATE TABLE IF NOT EXISTS {LOST_ROWS_TABLE_NAME} (time REAL, rows INTEGER, reason TEXT)"
)


class LostRows(NamedTuple):
    """Some rows that one batch could not write. `time` is in epoch seconds."""

    time: float
    rows: int
    reason: str


def lost_now(rows: int, reason: str) -> LostRows:
    """Return the record of rows that were lost now."""
    return LostRows(time.time(), rows, reason)


def insert_lost_rows(connection: Any, lost: Iterable[LostRows]) -> None:
    """Write the records, within the transaction of the caller."""
    connection.executemany(
        f"INSERT INTO {LOST_ROWS_TABLE_NAME} VALUES (?, ?, ?)",  # noqa: S608  # our own name
        list(lost),
    )


def count_lost_rows(connection: Any) -> int:
    """Return how many rows were lost; 0 in a file of an older release, which did not count."""
    if not has_table(connection, LOST_ROWS_TABLE_NAME):
        return 0
    (count,) = connection.execute(
        f"SELECT coalesce(sum(rows), 0) FROM {LOST_ROWS_TABLE_NAME}"  # noqa: S608  # our own name
    ).fetchone()
    return int(count)


def has_table(connection: Any, name: str) -> bool:
    """Return whether the file has the table `name`."""
    query = "SELECT count(*) FROM main.sqlite_master WHERE type = 'table' AND name = ?"
    return bool(connection.execute(query, (name,)).fetchone()[0])
