"""The span exporter that writes a row for every LLM call into a local SQLite file.

`OTEL_TRACES_EXPORTER=promptcache_sqlite` enables it. It opens no file before the first call. If the
file fails (full disk, lock, corruption, deletion), the application continues undisturbed, the
exporter reports the batch to the SDK as failed, and it logs each kind of error once. A killed
process loses at most the batch that was not exported yet.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from logging import getLogger
from threading import Lock
from typing import Final
from weakref import WeakSet

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from promptcache_exporters.database import schema, sqlite_file
from promptcache_exporters.database.file_path import resolve_database_path
from promptcache_exporters.database.lost_rows import LostRows, lost_now
from promptcache_exporters.database.retention import prune_steps, read_retention

_logger = getLogger("promptcache_exporters.sqlite")

LOCK_TIMEOUT_SECONDS: Final = 5.0
"""How long to wait for a lock of another process.

After a failure the exporter waits a fiftieth of it, until a batch succeeds again.
"""
_PRUNE_INTERVAL_SECONDS: Final = 60.0
_PRUNE_STEPS: Final = 5
"""Transactions of pruning after one batch. If more is to be deleted, the next batch goes on."""


class SQLiteSpanExporter(SpanExporter):
    """Write LLM call spans to the file at `path` (see `file_path.resolve_database_path`).

    The exporter is safe with threads and across forks.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path: Final = resolve_database_path(path)
        self._connection: sqlite3.Connection | None = None
        self._opened_file_id = (0, 0)
        self._lock_timeout_seconds = LOCK_TIMEOUT_SECONDS
        self._warned_error_kinds: set[str] = set()
        self._lost: list[LostRows] = []
        self._retention = read_retention()
        self._next_prune_time = 0.0
        self._lock = Lock()
        self._has_fork_lock = self._is_orphaned = False
        _live_exporters.add(self)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write the LLM calls among `spans` in one transaction. File errors are never raised."""
        rows = schema.rows_from_spans(spans)
        if not any(rows):
            return SpanExportResult.SUCCESS
        with self._lock:
            try:
                self._insert_rows(rows)
            except (sqlite3.Error, OSError) as error:
                self._close_connection()
                self._lock_timeout_seconds = LOCK_TIMEOUT_SECONDS / 50
                self._remember_lost_rows(sum(map(len, rows)), error)
                self._warn_once_per_error_kind(error)
                return SpanExportResult.FAILURE
            self._lock_timeout_seconds = LOCK_TIMEOUT_SECONDS
            self._prune_now_and_then()
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Return True: `export` writes at once, so there is nothing to flush."""
        return True

    def shutdown(self) -> None:
        """Close the file. A later span opens it again."""
        with self._lock:
            self._close_connection()

    def before_fork(self) -> None:
        """Close the file: SQLite's locks do not survive a fork, even on an idle connection."""
        self._has_fork_lock = self._lock.acquire(timeout=1)
        if self._has_fork_lock:
            self._close_connection()

    def after_fork_in_parent(self) -> None:
        """Release the lock. The next batch opens the file again."""
        if self._has_fork_lock:
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Start again with a new lock.

        If the fork happened while a batch was being written, this process must not touch the file.
        """
        self._is_orphaned = self._is_orphaned or not self._has_fork_lock
        self._lock = Lock()
        self._lost = []  # the parent counts its own

    def _insert_rows(self, rows: schema.TableRows) -> None:
        connection = self._get_or_reopen_connection()
        connection.execute(f"PRAGMA busy_timeout = {self._lock_timeout_seconds * 1000:.0f}")
        sqlite_file.insert_rows(connection, rows, self._lost)
        self._lost.clear()

    def _remember_lost_rows(self, rows: int, error: Exception) -> None:
        """Count the rows of a failed batch, to write the count when the file works again."""
        kind = _error_kind(error)
        known = sum(one.rows for one in self._lost if one.reason == kind)
        self._lost = [one for one in self._lost if one.reason != kind]
        self._lost.append(lost_now(known + rows, kind))

    def _prune_now_and_then(self) -> None:
        """Delete calls that are too old, in the thread that writes, for a moment only."""
        if self._retention.keeps_everything or time.monotonic() < self._next_prune_time:
            return
        self._next_prune_time = time.monotonic() + _PRUNE_INTERVAL_SECONDS
        steps = prune_steps(self._get_or_reopen_connection(), self._retention, time.time())
        try:
            if sum(1 for _ in islice(steps, _PRUNE_STEPS)) == _PRUNE_STEPS:
                self._next_prune_time = 0.0  # there is more
        except sqlite3.Error as error:
            self._close_connection()
            self._warn_once_per_error_kind(error)

    def _get_or_reopen_connection(self) -> sqlite3.Connection:
        if self._is_orphaned:
            raise OSError("the process was forked while another batch was being written")
        if self._connection is not None and self._opened_file_id != self._file_device_and_inode():
            # The file was deleted or rotated: nobody would find new rows in the old one.
            self._close_connection()
        if self._connection is None:
            self._connection = sqlite_file.open_or_create_for_writing(
                self.path, self._lock_timeout_seconds
            )
            self._opened_file_id = self._file_device_and_inode()
        return self._connection

    def _file_device_and_inode(self) -> tuple[int, int]:
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return (0, 0)
        return (status.st_dev, status.st_ino)

    def _close_connection(self) -> None:
        if self._connection is not None and not self._is_orphaned:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _warn_once_per_error_kind(self, error: sqlite3.Error | OSError) -> None:
        kind = _error_kind(error)
        if kind not in self._warned_error_kinds:
            self._warned_error_kinds.add(kind)
            _logger.warning(
                "Cannot write %s, so LLM calls are missing from it (logged once): %s",
                self.path,
                error,
            )


def _error_kind(error: Exception) -> str:
    return getattr(error, "sqlite_errorname", None) or type(error).__name__


_live_exporters: Final[WeakSet[SQLiteSpanExporter]] = WeakSet()


def _prepare_exporters_for_fork() -> None:
    for exporter in list(_live_exporters):
        exporter.before_fork()


def _resume_exporters_in_parent() -> None:
    for exporter in list(_live_exporters):
        exporter.after_fork_in_parent()


def _reset_exporters_in_child() -> None:
    for exporter in list(_live_exporters):
        exporter.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_prepare_exporters_for_fork,
        after_in_parent=_resume_exporters_in_parent,
        after_in_child=_reset_exporters_in_child,
    )
