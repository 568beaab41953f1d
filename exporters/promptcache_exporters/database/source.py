"""Where the calls of a report are: the local table, or an export of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from promptcache_exporters.database import parquet, sqlite_file
from promptcache_exporters.database.dialect import DUCKDB, SQLITE, SQLDialect
from promptcache_exporters.database.query import QueryConnection

OpenConnection = Callable[[], AbstractContextManager[QueryConnection]]


@dataclass(frozen=True, slots=True)
class CallsSource:
    """Calls that the queries of a report can read.

    place: the file, for people.
    open: opens a connection with the view `calls`. It raises `CallsFileReadError`, also in the
    block.
    is_local_table: whether it is a file of promptcache. It has row ids, whose ranges can be read at
    once, and the view `storage_costs`.
    """

    place: str | Path
    dialect: SQLDialect
    open: OpenConnection
    is_local_table: bool = False


def find_calls_source(path: Path) -> CallsSource:
    """Return the source that the name of a file tells: an export, or else a local table."""
    if parquet.has_parquet_suffix(path):
        return CallsSource(path, DUCKDB, lambda: parquet.open_parquet_read_only(path))
    return CallsSource(
        path, SQLITE, lambda: sqlite_file.open_sqlite_read_only(path), is_local_table=True
    )
