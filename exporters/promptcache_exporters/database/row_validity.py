"""Which rows a report can add up: numbers where numbers belong, nothing negative, a real time.

No exporter writes other rows. But a table can be edited, and a clock can be wrong; one such row
must not stop a report.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from promptcache_exporters.database.column import MAX_NUMBER, TableColumn

MAX_TIME: Final = 253_402_300_799
"""The last second of the year 9999, in epoch seconds: the last one that can be shown as a date."""
_SQLITE_TYPES: Final = {
    "TEXT": "'text', 'null'",
    "INTEGER": "'integer', 'null'",
    "REAL": "'integer', 'real', 'null'",
}


def valid_row_condition(columns: Iterable[TableColumn], existing: Collection[str]) -> str:
    """Return SQLite's condition for the rows that a report can add up. It is never NULL."""
    parts = ["time IS NOT NULL", f"time BETWEEN 0 AND {MAX_TIME}"]
    for column in columns:
        if column.name not in existing:
            continue
        kind = column.type.split()[0]
        parts.append(f"typeof({column.name}) IN ({_SQLITE_TYPES[kind]})")
        if kind != "TEXT":
            parts.append(f"({column.name} IS NULL OR {column.name} BETWEEN 0 AND {MAX_NUMBER})")
    return " AND ".join(parts)
