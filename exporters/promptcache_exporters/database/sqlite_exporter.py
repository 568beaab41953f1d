"""The embedded default: an exporter that keeps a row for every LLM call in a local SQLite table.

Switched on by `OTEL_TRACES_EXPORTER=promptcache_sqlite`. Nothing is opened before the first call arrives. Whatever
happens to the file (full disk, lock, corruption, deletion), the application goes on undisturbed, the batch is reported
to the SDK as failed, and each kind of trouble is said once in the log. A killed process loses at most
the batch that was not yet exported.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from logging import getLogger
from threading import Lock
from typing import Final
from weakref import WeakSet

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from promptcache_exporters.database import batch_spans as batch
from promptcache_exporters.database import columns as table
from promptcache_exporters.database import schema
from promptcache_exporters.database import sqlite_file as store
from promptcache_exporters.report import storage_costs as rent

_logger = getLogger("promptcache_exporters.sqlite")

LOCK_TIMEOUT_SECONDS: Final = 5.0
"""Seconds to wait for another process's lock; after a failure a fiftieth of it, until a batch gets through again."""


class SQLiteSpanExporter(SpanExporter):
    """Writes LLM call spans to the table at `path` (see `store.path_of`). Safe with threads and across forks."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path: Final = store.database_path(path)
        self._connection: sqlite3.Connection | None = None
        self._opened_file_id = (0, 0)
        self._lock_timeout_seconds = LOCK_TIMEOUT_SECONDS
        self._warned_error_kinds: set[str] = set()
        self._lock = Lock()
        self._has_fork_lock = self._is_orphaned = False
        _live_exporters.add(self)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Writes the LLM calls among `spans` in one transaction. Never raises for what the file does."""
        calls = [
            schema.CALLS_TABLE.row_from_span(one)
            for span in spans
            if table.is_llm_call(span)
            for one in batch.expand_batch_span(span)
        ]
        rents = [
            schema.STORAGE_COSTS_TABLE.row_from_span(span)
            for span in spans
            if rent.is_cache_operation(span)
        ]
        if not calls and not rents:
            return SpanExportResult.SUCCESS
        with self._lock:
            try:
                self._insert_rows(calls, rents)
            except (sqlite3.Error, OSError) as error:
                self._close()
                self._lock_timeout_seconds = LOCK_TIMEOUT_SECONDS / 50
                self._warn_once(error)
                return SpanExportResult.FAILURE
            self._lock_timeout_seconds = LOCK_TIMEOUT_SECONDS
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is ever held back, so there is nothing to flush."""
        return True

    def shutdown(self) -> None:
        """Closes the file. A span that comes later opens it again."""
        with self._lock:
            self._close()

    def before_fork(self) -> None:
        """Closes the file, since SQLite's locks do not survive a fork, not even those of connections left alone."""
        self._has_fork_lock = self._lock.acquire(timeout=1)
        if self._has_fork_lock:
            self._close()

    def after_fork_in_parent(self) -> None:
        """Goes on; the next batch opens the file again."""
        if self._has_fork_lock:
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Starts anew, unless a batch was being written: then this process must keep its hands off the file."""
        self._is_orphaned = self._is_orphaned or not self._has_fork_lock
        self._lock = Lock()

    def _insert_rows(self, *rows: list[tuple[table.ColumnValue, ...]]) -> None:
        connection = self._get_connection()
        connection.execute(f"PRAGMA busy_timeout = {self._lock_timeout_seconds * 1000:.0f}")
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            for one, new in zip(schema.TABLES, rows, strict=True):
                connection.executemany(one.insert_statement, new)

    def _get_connection(self) -> sqlite3.Connection:
        if self._is_orphaned:
            raise OSError("the process was forked while another batch was being written")
        if self._connection is not None and self._opened_file_id != self._current_file_id():
            self._close()  # deleted or rotated: rows written there would be seen by nobody
        if self._connection is None:
            self._connection = store.open_for_writing(self.path, self._lock_timeout_seconds)
            self._opened_file_id = self._current_file_id()
        return self._connection

    def _current_file_id(self) -> tuple[int, int]:
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return (0, 0)
        return (found.st_dev, found.st_ino)

    def _close(self) -> None:
        if self._connection is not None and not self._is_orphaned:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _warn_once(self, error: sqlite3.Error | OSError) -> None:
        kind = getattr(error, "sqlite_errorname", None) or type(error).__name__
        if kind not in self._warned_error_kinds:
            self._warned_error_kinds.add(kind)
            _logger.warning(
                "%s cannot be written, LLM calls are missing from it (said once): %s",
                self.path,
                error,
            )


_live_exporters: Final[WeakSet[SQLiteSpanExporter]] = WeakSet()


def _before_fork() -> None:
    for exporter in list(_live_exporters):
        exporter.before_fork()


def _after_fork_in_parent() -> None:
    for exporter in list(_live_exporters):
        exporter.after_fork_in_parent()


def _after_fork_in_child() -> None:
    for exporter in list(_live_exporters):
        exporter.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
