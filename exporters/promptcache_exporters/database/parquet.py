"""The table as a Parquet file: for keeping, for other tools, and for reports over tens of millions of calls.

DuckDB writes and reads it (extra `duckdb`). Its own reader of SQLite files is an extension that it would have to
download, so rows go through JSON, a list for each column: SQLite makes these lists itself and lets go of the
interpreter meanwhile, so several parts are made at once. Only what would lose digits there is written by Python.
"""

from __future__ import annotations

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

from promptcache.cli.exit_codes import ExitCode
from promptcache_exporters.database import columns as table
from promptcache_exporters.database import sqlite_file as store

ROWS_PER_PART: Final = 20_480
"""Rows of one part; parts are joined in the end."""
ROWS_PER_ROW_GROUP: Final = 61_440
"""Rows of one row group: half of what DuckDB takes by itself, for half of the memory."""
ROWS_PER_JSON_OBJECT: Final = 2_000
"""Rows of one JSON object, whose lists are in memory at once."""
MAX_JSON_OBJECT_BYTES: Final = 16_000_000
"""Bytes of one JSON object: beyond that it is halved, down to one row."""
DUCKDB_MEMORY_LIMIT: Final = "1GB"
"""What DuckDB may use at most; it takes half of that where every row has a chain of 64 hashes."""
MAX_WORKERS: Final = min(2, os.cpu_count() or 1)
"""Parts made at once."""

_DUCKDB_TYPES: Final = {"TEXT": "VARCHAR", "INTEGER": "BIGINT", "REAL": "DOUBLE"}
_COLUMN_TYPES: Final = {"id": "BIGINT"} | {
    column.name: _DUCKDB_TYPES[column.type.split()[0]] for column in table.CALL_COLUMNS
}
_DOUBLE_COLUMNS: Final = [name for name, kind in _COLUMN_TYPES.items() if kind == "DOUBLE"]
"""SQLite writes 15 digits of a number in JSON, Python all of them."""
_JSON_COLUMNS: Final = [name for name, kind in _COLUMN_TYPES.items() if kind != "DOUBLE"]
_FROM_ROW_RANGE: Final = "FROM calls WHERE id BETWEEN ? AND ?"
_JSON_LISTS_QUERY: Final = f"SELECT {', '.join(f'json_group_array({name})' for name in _JSON_COLUMNS)} {_FROM_ROW_RANGE}"  # names of our own
_DOUBLES_QUERY: Final = f"SELECT {', '.join(_DOUBLE_COLUMNS)} {_FROM_ROW_RANGE}"  # names of our own
_PARQUET_OPTIONS: Final = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROWS_PER_ROW_GROUP}"
_encode_json: Final = json.JSONEncoder(separators=(",", ":")).encode

_ROW_TOO_LONG_MESSAGE: Final = (
    "The table cannot be read as one of promptcache's: row {} is too long."
)

ProgressCallback = Callable[[int, int], object]
"""Is told how many parts of how many are done."""


def is_parquet_file(path: Path) -> bool:
    """Whether the file is an export and not a table, by its name."""
    return path.suffix == ".parquet"


def export_calls(
    path: Path, out: Path, on_progress: ProgressCallback = lambda done, of: None
) -> int:
    """Writes the table's calls to `out`, mode 0600, replacing it when all are written; returns their number.

    Raises `store.UnusableError` where the table cannot be read or DuckDB is missing, OSError where `out` cannot be
    written.
    """
    duckdb = _import_duckdb()
    try:
        with tempfile.TemporaryDirectory(prefix=".promptcache-", dir=out.parent) as folder:
            # A thread for each part: DuckDB's own would share one part and hold several times as much of it.
            settings = {"memory_limit": DUCKDB_MEMORY_LIMIT, "temp_directory": folder, "threads": 1}
            with closing(duckdb.connect(config=settings)) as database:
                count = _ParquetExport(path, Path(folder), database).write(out, on_progress)
    except (duckdb.ConversionException, duckdb.InvalidInputException, TypeError) as error:
        raise store.UnreadableTableError(
            ExitCode.NOT_A_TABLE, store.INVALID_ROW_MESSAGE.format(path=path)
        ) from error
    except duckdb.Error as error:
        raise OSError(f"{out} cannot be written: {str(error).splitlines()[0]}") from error
    return count


@dataclass(frozen=True)
class _ParquetExport:
    """One export: the table, a folder of its own beside the file to be written, and a DuckDB."""

    path: Path
    folder: Path
    database: Any

    def write(self, out: Path, on_progress: ProgressCallback) -> int:
        with store.open_for_reading(self.path) as connection:
            low, high = connection.execute(
                "SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM calls"
            ).fetchone()
        firsts = range(
            low, high + 1, ROWS_PER_PART
        )  # of a fixed last row, as rows are never changed: one consistent picture
        count = 0
        lasts = (min(first + ROWS_PER_PART - 1, high) for first in firsts)
        with ThreadPoolExecutor(
            MAX_WORKERS
        ) as pool:  # on a way out before its end, `map` drops the parts not begun
            for done, rows in enumerate(pool.map(self._write_part, firsts, lasts), 1):
                count += rows
                on_progress(done, len(firsts))
        half = self.folder / "calls.parquet"
        self._copy_to_parquet(
            half, "read_parquet(?)", [str(self._part_path(first)) for first in firsts]
        )
        half.chmod(0o600)
        half.replace(out)
        return count

    def _part_path(self, first: int) -> Path:
        return self.folder / f"{first}.parquet"

    def _write_part(self, first: int, last: int) -> int:
        """Writes the part with the rows from `first` to `last`, and says how many there are."""
        lists = self.folder / f"{first}.json"
        with lists.open("wb") as file:
            file.writelines(json_objects(self.path, first, last))
        columns = ", ".join(f"{name}: '{kind}[]'" for name, kind in _COLUMN_TYPES.items())
        source = f"read_json(?, format = 'newline_delimited', columns = {{{columns}}}, maximum_object_size = {MAX_JSON_OBJECT_BYTES})"
        count = self._copy_to_parquet(
            self._part_path(first), source, str(lists), "unnest({0}) AS {0}"
        )
        lists.unlink()
        return count

    def _copy_to_parquet(self, out: Path, source: str, given: Any, each: str = "{0}") -> int:
        query = f"SELECT {', '.join(map(each.format, _COLUMN_TYPES))} FROM {source}"  # noqa: S608  # names of our own
        with closing(self.database.cursor()) as cursor:
            cursor.execute(f"COPY ({query}) TO ? ({_PARQUET_OPTIONS})", (given, str(out)))
            (count,) = cursor.fetchone()
        return int(count)


def json_objects(path: Path, first: int, last: int) -> Iterator[bytes]:
    """The rows from `first` to `last` as lines of JSON: an object each, with a list for each column."""
    with store.open_for_reading(path) as connection:
        connection.text_factory = bytes
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_JSON_OBJECT_BYTES)
        connection.execute("BEGIN")  # or the two queries could see different rows
        for start in range(first, last + 1, ROWS_PER_JSON_OBJECT):
            yield from _bounded_json_objects(
                connection, start, min(start + ROWS_PER_JSON_OBJECT - 1, last)
            )


def _bounded_json_objects(connection: sqlite3.Connection, first: int, last: int) -> Iterator[bytes]:
    try:
        made = _json_object(connection, first, last)
    except sqlite3.DataError:  # a list is too long already
        made = None
    if made is not None and len(made) <= MAX_JSON_OBJECT_BYTES:
        yield made
    elif first == last:
        raise store.UnreadableTableError(ExitCode.NOT_A_TABLE, _ROW_TOO_LONG_MESSAGE.format(first))
    else:
        middle = (first + last) // 2
        yield from _bounded_json_objects(connection, first, middle)
        yield from _bounded_json_objects(connection, middle + 1, last)


def _json_object(connection: sqlite3.Connection, first: int, last: int) -> bytes:
    lists = dict(
        zip(
            _JSON_COLUMNS,
            connection.execute(_JSON_LISTS_QUERY, (first, last)).fetchone(),
            strict=True,
        )
    )
    numbers = connection.execute(_DOUBLES_QUERY, (first, last)).fetchall()
    lists |= {
        name: _encode_json([row[at] for row in numbers]).encode()
        for at, name in enumerate(_DOUBLE_COLUMNS)
    }
    return b"{%s}\n" % b",".join(
        b'"%s":%s' % (name.encode(), values) for name, values in lists.items()
    )


@contextmanager
def open_for_reading(path: Path) -> Generator[store.QueryConnection]:
    """A connection with the view `calls`, as `store.open_to_read` gives it. Raises `store.UnusableError`."""
    if not path.exists():
        raise store.UnreadableTableError(
            ExitCode.NO_FILE, f"{path} does not exist. Make it: promptcache export --out {path}"
        )
    duckdb = _import_duckdb()
    try:
        with closing(duckdb.connect()) as connection:
            found = connection.execute(
                "SELECT name FROM parquet_schema(?)", (str(path),)
            ).fetchall()
            present = {name for (name,) in found}
            columns = (
                name if name in present else f"NULL::{kind} AS {name}"
                for name, kind in _COLUMN_TYPES.items()
            )
            source = str(path).replace("'", "''")  # DuckDB takes no parameters in a view
            view = f"CREATE TEMP VIEW calls AS SELECT {', '.join(columns)} FROM read_parquet('{source}')"  # noqa: S608  # quoted
            connection.execute(view)
            yield connection
    except duckdb.Error as error:
        text = f"{path} cannot be read as an export of promptcache's: {str(error).splitlines()[0]}."
        raise store.UnreadableTableError(ExitCode.NOT_A_TABLE, text) from error


def _import_duckdb() -> Any:
    if not find_spec("duckdb"):
        raise store.UnreadableTableError(
            ExitCode.USAGE, 'Parquet needs an extra: pip install "promptcache[duckdb]"'
        )
    import duckdb

    return duckdb
