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

from promptcache_exporters import batch, rent, schema, store, table

log = getLogger(__name__)

PATIENCE: Final = 5.0
"""Seconds to wait for another process's lock; after a failure a fiftieth of it, until a batch gets through again."""


class SQLiteSpanExporter(SpanExporter):
    """Writes LLM call spans to the table at `path` (see `store.path_of`). Safe with threads and across forks."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path: Final = store.path_of(path)
        self._connection: sqlite3.Connection | None = None
        self._file = (0, 0)
        self._patience = PATIENCE
        self._said: set[str] = set()
        self._lock = Lock()
        self._held = self._orphaned = False
        _alive.add(self)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Writes the LLM calls among `spans` in one transaction. Never raises for what the file does."""
        calls = [
            schema.CALLS.row(one)
            for span in spans
            if table.wanted(span)
            for one in batch.told(span)
        ]
        rents = [schema.RENTS.row(span) for span in spans if rent.wanted(span)]
        if not calls and not rents:
            return SpanExportResult.SUCCESS
        with self._lock:
            try:
                self._write(calls, rents)
            except (sqlite3.Error, OSError) as error:
                self._close()
                self._patience = PATIENCE / 50
                self._say(error)
                return SpanExportResult.FAILURE
            self._patience = PATIENCE
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
        self._held = self._lock.acquire(timeout=1)
        if self._held:
            self._close()

    def after_fork_in_parent(self) -> None:
        """Goes on; the next batch opens the file again."""
        if self._held:
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Starts anew, unless a batch was being written: then this process must keep its hands off the file."""
        self._orphaned = self._orphaned or not self._held
        self._lock = Lock()

    def _write(self, *rows: list[tuple[table.Value, ...]]) -> None:
        connection = self._opened()
        connection.execute(f"PRAGMA busy_timeout = {self._patience * 1000:.0f}")
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            for one, new in zip(schema.TABLES, rows, strict=True):
                connection.executemany(one.insert, new)

    def _opened(self) -> sqlite3.Connection:
        if self._orphaned:
            raise OSError("the process was forked while another batch was being written")
        if self._connection is not None and self._file != self._identity():
            self._close()  # deleted or rotated: rows written there would be seen by nobody
        if self._connection is None:
            self._connection = store.open_to_write(self.path, self._patience)
            self._file = self._identity()
        return self._connection

    def _identity(self) -> tuple[int, int]:
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return (0, 0)
        return (found.st_dev, found.st_ino)

    def _close(self) -> None:
        if self._connection is not None and not self._orphaned:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _say(self, error: sqlite3.Error | OSError) -> None:
        kind = getattr(error, "sqlite_errorname", None) or type(error).__name__
        if kind not in self._said:
            self._said.add(kind)
            log.warning(
                "%s cannot be written, LLM calls are missing from it (said once): %s",
                self.path,
                error,
            )


_alive: Final[WeakSet[SQLiteSpanExporter]] = WeakSet()


def _before_fork() -> None:
    for exporter in list(_alive):
        exporter.before_fork()


def _after_fork_in_parent() -> None:
    for exporter in list(_alive):
        exporter.after_fork_in_parent()


def _after_fork_in_child() -> None:
    for exporter in list(_alive):
        exporter.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
