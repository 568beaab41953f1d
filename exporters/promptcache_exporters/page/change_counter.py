"""Whether the table has changed, at the price of one PRAGMA."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final

from promptcache_exporters.database.sqlite_file import connect_to_existing_file

_LOCK_TIMEOUT_SECONDS: Final = 1.0


class ChangeCounter:
    """Asks SQLite for `PRAGMA data_version`, which changes when another connection commits.

    The number has a meaning on one connection only, so the connection stays open.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None

    def count(self) -> str:
        """Return a text that changes with the table; '0' while there is no file."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = connect_to_existing_file(self._path, _LOCK_TIMEOUT_SECONDS)
                    self._connection.execute("PRAGMA query_only = ON")
                (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            except (sqlite3.Error, OSError):
                self._close()
                return "0"
            return str(version)

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
