"""How long the local table keeps its calls, and how calls that are older leave it.

Nothing is deleted unless `OTEL_PROMPTCACHE_KEEP` says so. The newest call always stays: SQLite
would give its number to another call.
"""

from __future__ import annotations

import math
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from logging import getLogger
from typing import Final

from promptcache.settings import OTEL_PROMPTCACHE_KEEP
from promptcache_exporters.database.columns import CALLS_TABLE_NAME, STORAGE_COSTS_TABLE_NAME

_logger = getLogger("promptcache_exporters.sqlite")

ROWS_PER_TRANSACTION: Final = 1000
"""Other writers wait for one such transaction at most."""
_PART_PATTERN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(h|d|w|kb|mb|gb|tb)", re.IGNORECASE)
_SECONDS: Final = {"h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_BYTES: Final = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12}
_ALLOWED: Final = "allowed: an age, a size or both, such as 30d,2GB"


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept: calls that are younger than `max_age_seconds`, and at most `max_bytes`."""

    max_age_seconds: float = math.inf
    max_bytes: float = math.inf

    @property
    def keeps_everything(self) -> bool:
        """Whether nothing is ever deleted."""
        return math.isinf(self.max_age_seconds) and math.isinf(self.max_bytes)


def parse_retention(text: str) -> Retention:
    """Return the retention of `30d,2GB`. Raises ValueError for any other text."""
    limits: dict[str, float] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        match = _PART_PATTERN.fullmatch(part)
        if match is None:
            raise ValueError(_ALLOWED)
        number, unit = float(match[1]), match[2].lower()
        name = "max_age_seconds" if unit in _SECONDS else "max_bytes"
        if name in limits or number <= 0:
            raise ValueError(_ALLOWED)
        limits[name] = number * (_SECONDS | _BYTES)[unit]
    return Retention(**limits)


def read_retention(environ: Mapping[str, str] | None = None) -> Retention:
    """Return the retention of `OTEL_PROMPTCACHE_KEEP`. What cannot be parsed deletes nothing."""
    text = (os.environ if environ is None else environ).get(OTEL_PROMPTCACHE_KEEP, "").strip()
    try:
        return parse_retention(text)
    except ValueError as error:
        _logger.warning("%s cannot be parsed, nothing is deleted; %s", OTEL_PROMPTCACHE_KEEP, error)
        return Retention()


def prune_steps(connection: sqlite3.Connection, retention: Retention, now: float) -> Iterator[int]:
    """Delete the calls that are not kept, and yield the number of each transaction.

    Operations on named caches go too, once the cache has expired and all of them are too old. `now`
    is in epoch seconds. The caller may stop between two steps. Raises sqlite3.Error.
    """
    while True:
        deleted = _delete_oldest(connection, now - retention.max_age_seconds)
        if not deleted and _used_bytes(connection) > retention.max_bytes:
            deleted = _delete_oldest(connection, math.inf)
        if not deleted:
            deleted = _delete_ended_storage(connection, now - retention.max_age_seconds)
        if not deleted:
            return
        connection.executescript("PRAGMA incremental_vacuum")  # `execute` frees one page only
        yield deleted


def count_prunable(connection: sqlite3.Connection, retention: Retention, now: float) -> int:
    """Return about how many calls `prune_steps` would delete; exactly, if only the age counts."""
    calls, old = connection.execute(
        f"SELECT count(*), count(*) FILTER (WHERE time < ?) FROM {CALLS_TABLE_NAME}",  # noqa: S608
        (now - retention.max_age_seconds,),
    ).fetchone()
    excess = max(0.0, 1 - retention.max_bytes / max(1, _used_bytes(connection)))
    return int(min(max(old, math.ceil(calls * excess)), max(0, calls - 1)))


def _delete_oldest(connection: sqlite3.Connection, before: float) -> int:
    """Delete up to `ROWS_PER_TRANSACTION` calls that started before `before` (epoch seconds)."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        # The newest row by number stays, also if its clock was wrong.
        cursor = connection.execute(
            f"DELETE FROM {CALLS_TABLE_NAME} WHERE rowid IN (SELECT rowid FROM {CALLS_TABLE_NAME}"  # noqa: S608
            f" WHERE time < ? AND rowid < (SELECT max(rowid) FROM {CALLS_TABLE_NAME})"
            " ORDER BY time LIMIT ?)",
            (before, ROWS_PER_TRANSACTION),
        )
    return cursor.rowcount


def _delete_ended_storage(connection: sqlite3.Connection, before: float) -> int:
    """Delete operations on named caches that ended before then (epoch seconds)."""
    if math.isinf(before):
        return 0
    expired = datetime.fromtimestamp(max(0.0, before), UTC).isoformat()
    table = STORAGE_COSTS_TABLE_NAME
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        cursor = connection.execute(
            f"DELETE FROM {table} WHERE rowid IN (SELECT old.rowid FROM {table} AS old"  # noqa: S608
            " WHERE old.time < ? AND coalesce(old.expires, '') < ? AND NOT EXISTS"
            f" (SELECT 1 FROM {table} AS later WHERE later.name IS old.name"
            " AND (later.time >= ? OR later.expires >= ?)) LIMIT ?)",
            (before, expired, before, expired, ROWS_PER_TRANSACTION),
        )
    return cursor.rowcount


def _used_bytes(connection: sqlite3.Connection) -> int:
    values = [
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    ]
    return int((values[0] - values[1]) * values[2])


def can_shrink(connection: sqlite3.Connection) -> bool:
    """Return whether the file gets smaller by pruning. Files of older releases do not."""
    return bool(connection.execute("PRAGMA auto_vacuum").fetchone()[0])
