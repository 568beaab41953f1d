"""Parquet files of the calls: for archives, other tools, and reports over tens of millions.

DuckDB writes and reads the files (extra `duckdb`). Its reader of SQLite files is an extension that
it would have to download, so the rows go through JSON instead, with one list for each column.
SQLite builds the lists and releases the interpreter lock meanwhile, so several parts are written at
once. SQLite would lose digits of floating-point numbers, so Python writes their lists.
"""

from __future__ import annotations

import glob
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from promptcache_exporters.database import sqlite_file
from promptcache_exporters.database.columns import CALL_COLUMNS, NEVER_EXPORTED_COLUMNS
from promptcache_exporters.database.errors import (
    InvalidCallsFileError,
    InvalidRowValueError,
    MissingOptionalPackageError,
    MissingParquetFileError,
)
from promptcache_exporters.database.query import QueryConnection

ROWS_PER_PART: Final = 20_480
"""Parts are joined at the end."""
ROWS_PER_ROW_GROUP: Final = 61_440
"""Half of DuckDB's default, which halves the memory."""
ROWS_PER_JSON_OBJECT: Final = 2_000
"""All lists of one JSON object are in memory at the same time."""
MAX_JSON_OBJECT_BYTES: Final = 16_000_000
"""An object that is larger is split in halves, down to a single row."""
DUCKDB_MEMORY_LIMIT: Final = "1GB"
"""An upper bound. If every row has a chain of 64 hashes, DuckDB uses half of it."""
MAX_WORKERS: Final = min(2, os.cpu_count() or 1)
"""Parts that are written at the same time."""

_DUCKDB_TYPES: Final = {"TEXT": "VARCHAR", "INTEGER": "BIGINT", "REAL": "DOUBLE"}
_VIEW_COLUMN_TYPES: Final = {"id": "BIGINT"} | {
    column.name: _DUCKDB_TYPES[column.type.split()[0]] for column in CALL_COLUMNS
}
_COLUMN_TYPES: Final = {
    name: kind for name, kind in _VIEW_COLUMN_TYPES.items() if name not in NEVER_EXPORTED_COLUMNS
}
_DOUBLE_COLUMNS: Final = [name for name, kind in _COLUMN_TYPES.items() if kind == "DOUBLE"]
"""SQLite writes 15 digits of a number in JSON. Python writes all digits."""
_JSON_COLUMNS: Final = [name for name, kind in _COLUMN_TYPES.items() if kind != "DOUBLE"]
_FROM_ROW_RANGE: Final = "FROM calls WHERE id BETWEEN ? AND ?"
_JSON_LISTS: Final = ", ".join(f"json_group_array({name})" for name in _JSON_COLUMNS)
_JSON_LISTS_QUERY: Final = f"SELECT {_JSON_LISTS} {_FROM_ROW_RANGE}"  # our own names
_DOUBLES_QUERY: Final = f"SELECT {', '.join(_DOUBLE_COLUMNS)} {_FROM_ROW_RANGE}"  # our own names
_PARQUET_OPTIONS: Final = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROWS_PER_ROW_GROUP}"
_encode_json: Final = json.JSONEncoder(separators=(",", ":")).encode

ProgressCallback = Callable[[int, int], object]
"""Called with the number of finished parts and the number of all parts."""


def has_parquet_suffix(path: Path) -> bool:
    """Return whether the name of the file is that of an export, and not of a SQLite file."""
    return path.suffix == ".parquet"


def export_calls_to_parquet(
    sqlite_path: Path, parquet_path: Path, on_progress: ProgressCallback = lambda done, of: None
) -> int:
    """Write all calls of the SQLite file at `sqlite_path` to `parquet_path`; return their number.

    `parquet_path` gets mode 0600. An existing file is replaced only after all calls are written.

    Raises `CallsFileReadError` if the SQLite file cannot be read or DuckDB is not installed, and
    OSError if `parquet_path` cannot be written.
    """
    duckdb = _import_duckdb()
    try:
        with tempfile.TemporaryDirectory(prefix=".promptcache-", dir=parquet_path.parent) as folder:
            # DuckDB gets one thread, since each part has a thread of its own. More threads of
            # DuckDB would share one part and use several times the memory for it.
            settings = {"memory_limit": DUCKDB_MEMORY_LIMIT, "temp_directory": folder, "threads": 1}
            with closing(duckdb.connect(config=settings)) as database:
                count = _ParquetExport(sqlite_path, Path(folder), database).write_parquet_file(
                    parquet_path, on_progress
                )
    except (duckdb.ConversionException, duckdb.InvalidInputException, TypeError) as error:
        raise InvalidRowValueError(sqlite_path) from error
    except duckdb.Error as error:
        raise OSError(f"{parquet_path} cannot be written: {str(error).splitlines()[0]}") from error
    return count


@dataclass(frozen=True)
class _ParquetExport:
    """One export: the SQLite file, a temporary folder beside the output, and a DuckDB database."""

    path: Path
    folder: Path
    database: Any

    def write_parquet_file(self, out: Path, on_progress: ProgressCallback) -> int:
        with sqlite_file.open_sqlite_read_only(self.path) as connection:
            low, high = connection.execute(
                "SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM calls"
            ).fetchone()
        # Rows never change, so a fixed last row gives one consistent snapshot.
        firsts = range(low, high + 1, ROWS_PER_PART)
        lasts = (min(first + ROWS_PER_PART - 1, high) for first in firsts)
        count = 0
        # If the loop ends early, `map` cancels the parts that have not started.
        with ThreadPoolExecutor(MAX_WORKERS) as pool:
            for done, rows in enumerate(pool.map(self._write_part, firsts, lasts), 1):
                count += rows
                on_progress(done, len(firsts))
        joined = self.folder / "calls.parquet"
        parts = [str(self._part_path(first)) for first in firsts]
        self._copy_to_parquet(joined, "read_parquet(?)", parts)
        joined.chmod(0o600)
        joined.replace(out)
        return count

    def _part_path(self, first_row_id: int) -> Path:
        return self.folder / f"{first_row_id}.parquet"

    def _write_part(self, first_row_id: int, last_row_id: int) -> int:
        """Write the rows with the ids `first_row_id` to `last_row_id`, and return their number."""
        lists = self.folder / f"{first_row_id}.json"
        with lists.open("wb") as file:
            file.writelines(columnar_json_lines(self.path, first_row_id, last_row_id))
        columns = ", ".join(f"{name}: '{kind}[]'" for name, kind in _COLUMN_TYPES.items())
        source = (
            f"read_json(?, format = 'newline_delimited', columns = {{{columns}}},"
            f" maximum_object_size = {MAX_JSON_OBJECT_BYTES})"
        )
        count = self._copy_to_parquet(
            self._part_path(first_row_id), source, str(lists), "unnest({0}) AS {0}"
        )
        lists.unlink()
        return count

    def _copy_to_parquet(
        self, out: Path, from_clause: str, from_parameter: Any, column_format: str = "{0}"
    ) -> int:
        """Copy the rows of a FROM clause to a Parquet file, and return their number."""
        columns = ", ".join(map(column_format.format, _COLUMN_TYPES))
        query = f"SELECT {columns} FROM {from_clause}"  # noqa: S608  # our own names
        with closing(self.database.cursor()) as cursor:
            cursor.execute(f"COPY ({query}) TO ? ({_PARQUET_OPTIONS})", (from_parameter, str(out)))
            (count,) = cursor.fetchone()
        return int(count)


def columnar_json_lines(path: Path, first_row_id: int, last_row_id: int) -> Iterator[bytes]:
    """Yield the rows with ids `first_row_id` to `last_row_id` as lines of JSON.

    Each line is one object with a list for each column.
    """
    with sqlite_file.open_sqlite_read_only(path) as connection:
        connection.text_factory = bytes
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_JSON_OBJECT_BYTES)
        connection.execute("BEGIN")  # both queries must see the same rows
        for start in range(first_row_id, last_row_id + 1, ROWS_PER_JSON_OBJECT):
            yield from _size_limited_columnar_json_lines(
                connection, start, min(start + ROWS_PER_JSON_OBJECT - 1, last_row_id)
            )


def _size_limited_columnar_json_lines(
    connection: sqlite3.Connection, first_row_id: int, last_row_id: int
) -> Iterator[bytes]:
    try:
        json_object = _columnar_json_line(connection, first_row_id, last_row_id)
    except sqlite3.DataError:  # one list alone exceeds the limit
        json_object = None
    if json_object is not None and len(json_object) <= MAX_JSON_OBJECT_BYTES:
        yield json_object
    elif first_row_id == last_row_id:
        raise InvalidCallsFileError(
            f"The file cannot be read as a table of promptcache: row {first_row_id} is too long."
        )
    else:
        middle = (first_row_id + last_row_id) // 2
        yield from _size_limited_columnar_json_lines(connection, first_row_id, middle)
        yield from _size_limited_columnar_json_lines(connection, middle + 1, last_row_id)


def _columnar_json_line(
    connection: sqlite3.Connection, first_row_id: int, last_row_id: int
) -> bytes:
    json_lists = connection.execute(_JSON_LISTS_QUERY, (first_row_id, last_row_id)).fetchone()
    lists: dict[str, bytes] = dict(zip(_JSON_COLUMNS, json_lists, strict=True))
    numbers = connection.execute(_DOUBLES_QUERY, (first_row_id, last_row_id)).fetchall()
    lists |= {
        name: _encode_json([row[index] for row in numbers]).encode()
        for index, name in enumerate(_DOUBLE_COLUMNS)
    }
    return b"{%s}\n" % b",".join(
        b'"%s":%s' % (name.encode(), values) for name, values in lists.items()
    )


@contextmanager
def open_parquet_read_only(path: Path) -> Generator[QueryConnection]:
    """Open an export with the view `calls`, as `sqlite_file.open_sqlite_read_only` does.

    The name may be a pattern such as `*.parquet`. A call that several files have counts once.

    Raises `CallsFileReadError`.
    """
    is_pattern = not path.exists() and "*" in str(path)
    if not path.exists() and not (is_pattern and glob.glob(str(path))):
        raise MissingParquetFileError(path)
    duckdb = _import_duckdb()
    source = str(path) if is_pattern else glob.escape(str(path))
    try:
        with closing(duckdb.connect()) as connection:
            connection.execute(_create_view_statement(connection, source, is_pattern))
            yield connection
    except duckdb.Error as error:
        raise InvalidCallsFileError(
            f"{path} cannot be read as an export of promptcache: {str(error).splitlines()[0]}."
        ) from error


def _create_view_statement(connection: Any, pattern: str, has_several_files: bool) -> str:
    """Return the statement for the view `calls` over the files. Missing columns are NULL."""
    names = connection.execute("SELECT name FROM parquet_schema(?)", (pattern,)).fetchall()
    existing_columns = {name for (name,) in names}
    columns = ", ".join(
        name if name in existing_columns else f"NULL::{kind} AS {name}"
        for name, kind in _VIEW_COLUMN_TYPES.items()
    )
    source = pattern.replace("'", "''")  # DuckDB allows no parameters in a view
    query = f"SELECT {columns} FROM read_parquet('{source}', union_by_name = true)"  # noqa: S608
    if has_several_files:
        query += (
            " QUALIFY trace_id IS NULL"
            " OR row_number() OVER (PARTITION BY trace_id, span_id ORDER BY filename, id) = 1"
        )
        query = query.replace("union_by_name = true", "union_by_name = true, filename = true")
    return f"CREATE TEMP VIEW calls AS {query}"


def _import_duckdb() -> Any:
    if not find_spec("duckdb"):
        raise MissingOptionalPackageError(
            'Parquet needs an extra: pip install "promptcache[duckdb]"'
        )
    import duckdb

    return duckdb
