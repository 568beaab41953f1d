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

from promptcache.exits import Exit
from promptcache_exporters import store, table

PART: Final = 20_480
"""Rows of one part; parts are joined in the end."""
GROUP: Final = 61_440
"""Rows of one row group: half of what DuckDB takes by itself, for half of the memory."""
LIST: Final = 2_000
"""Rows of one JSON object, whose lists are in memory at once."""
LONGEST: Final = 16_000_000
"""Bytes of one JSON object: beyond that it is halved, down to one row."""
MEMORY: Final = "1GB"
"""What DuckDB may use at most; it takes half of that where every row has a chain of 64 hashes."""
WORKERS: Final = min(2, os.cpu_count() or 1)
"""Parts made at once."""

_TYPES: Final = {"TEXT": "VARCHAR", "INTEGER": "BIGINT", "REAL": "DOUBLE"}
_COLUMNS: Final = {"id": "BIGINT"} | {
    column.name: _TYPES[column.type.split()[0]] for column in table.COLUMNS
}
_EXACT: Final = [name for name, kind in _COLUMNS.items() if kind == "DOUBLE"]
"""SQLite writes 15 digits of a number in JSON, Python all of them."""
_LISTED: Final = [name for name, kind in _COLUMNS.items() if kind != "DOUBLE"]
_SOME: Final = "FROM calls WHERE id BETWEEN ? AND ?"
_LISTS: Final = f"SELECT {', '.join(f'json_group_array({name})' for name in _LISTED)} {_SOME}"  # names of our own
_NUMBERS: Final = f"SELECT {', '.join(_EXACT)} {_SOME}"  # names of our own
_FORMAT: Final = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {GROUP}"
_ENCODE: Final = json.JSONEncoder(separators=(",", ":")).encode

_LONG: Final = "The table cannot be read as one of promptcache's: row {} is too long."

Tell = Callable[[int, int], object]
"""Is told how many parts of how many are done."""


def is_one(path: Path) -> bool:
    """Whether the file is an export and not a table, by its name."""
    return path.suffix == ".parquet"


def export(path: Path, out: Path, tell: Tell = lambda done, of: None) -> int:
    """Writes the table's calls to `out`, mode 0600, replacing it when all are written; returns their number.

    Raises `store.UnusableError` where the table cannot be read or DuckDB is missing, OSError where `out` cannot be
    written.
    """
    duckdb = _duckdb()
    try:
        with tempfile.TemporaryDirectory(prefix=".promptcache-", dir=out.parent) as folder:
            # A thread for each part: DuckDB's own would share one part and hold several times as much of it.
            settings = {"memory_limit": MEMORY, "temp_directory": folder, "threads": 1}
            with closing(duckdb.connect(config=settings)) as database:
                count = _Export(path, Path(folder), database).write(out, tell)
    except (duckdb.ConversionException, duckdb.InvalidInputException, TypeError) as error:
        raise store.UnusableError(Exit.NOT_A_TABLE, store.EDITED.format(path=path)) from error
    except duckdb.Error as error:
        raise OSError(f"{out} cannot be written: {str(error).splitlines()[0]}") from error
    return count


@dataclass(frozen=True)
class _Export:
    """One export: the table, a folder of its own beside the file to be written, and a DuckDB."""

    path: Path
    folder: Path
    database: Any

    def write(self, out: Path, tell: Tell) -> int:
        with store.open_to_read(self.path) as connection:
            low, high = connection.execute(
                "SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM calls"
            ).fetchone()
        firsts = range(
            low, high + 1, PART
        )  # of a fixed last row, as rows are never changed: one consistent picture
        count = 0
        lasts = (min(first + PART - 1, high) for first in firsts)
        with ThreadPoolExecutor(
            WORKERS
        ) as pool:  # on a way out before its end, `map` drops the parts not begun
            for done, rows in enumerate(pool.map(self._part, firsts, lasts), 1):
                count += rows
                tell(done, len(firsts))
        half = self.folder / "calls.parquet"
        self._copy(half, "read_parquet(?)", [str(self._of(first)) for first in firsts])
        half.chmod(0o600)
        half.replace(out)
        return count

    def _of(self, first: int) -> Path:
        return self.folder / f"{first}.parquet"

    def _part(self, first: int, last: int) -> int:
        """Writes the part with the rows from `first` to `last`, and says how many there are."""
        lists = self.folder / f"{first}.json"
        with lists.open("wb") as file:
            file.writelines(objects(self.path, first, last))
        columns = ", ".join(f"{name}: '{kind}[]'" for name, kind in _COLUMNS.items())
        source = f"read_json(?, format = 'newline_delimited', columns = {{{columns}}}, maximum_object_size = {LONGEST})"
        count = self._copy(self._of(first), source, str(lists), "unnest({0}) AS {0}")
        lists.unlink()
        return count

    def _copy(self, out: Path, source: str, given: Any, each: str = "{0}") -> int:
        query = f"SELECT {', '.join(map(each.format, _COLUMNS))} FROM {source}"  # noqa: S608  # names of our own
        with closing(self.database.cursor()) as cursor:
            cursor.execute(f"COPY ({query}) TO ? ({_FORMAT})", (given, str(out)))
            (count,) = cursor.fetchone()
        return int(count)


def objects(path: Path, first: int, last: int) -> Iterator[bytes]:
    """The rows from `first` to `last` as lines of JSON: an object each, with a list for each column."""
    with store.open_to_read(path) as connection:
        connection.text_factory = bytes
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
        connection.execute("BEGIN")  # or the two queries could see different rows
        for start in range(first, last + 1, LIST):
            yield from _halved(connection, start, min(start + LIST - 1, last))


def _halved(connection: sqlite3.Connection, first: int, last: int) -> Iterator[bytes]:
    try:
        made = _object(connection, first, last)
    except sqlite3.DataError:  # a list is too long already
        made = None
    if made is not None and len(made) <= LONGEST:
        yield made
    elif first == last:
        raise store.UnusableError(Exit.NOT_A_TABLE, _LONG.format(first))
    else:
        middle = (first + last) // 2
        yield from _halved(connection, first, middle)
        yield from _halved(connection, middle + 1, last)


def _object(connection: sqlite3.Connection, first: int, last: int) -> bytes:
    lists = dict(zip(_LISTED, connection.execute(_LISTS, (first, last)).fetchone(), strict=True))
    numbers = connection.execute(_NUMBERS, (first, last)).fetchall()
    lists |= {
        name: _ENCODE([row[at] for row in numbers]).encode() for at, name in enumerate(_EXACT)
    }
    return b"{%s}\n" % b",".join(
        b'"%s":%s' % (name.encode(), values) for name, values in lists.items()
    )


@contextmanager
def open_to_read(path: Path) -> Generator[store.Readable]:
    """A connection with the view `calls`, as `store.open_to_read` gives it. Raises `store.UnusableError`."""
    if not path.exists():
        raise store.UnusableError(
            Exit.NO_FILE, f"{path} does not exist. Make it: promptcache export --out {path}"
        )
    duckdb = _duckdb()
    try:
        with closing(duckdb.connect()) as connection:
            found = connection.execute(
                "SELECT name FROM parquet_schema(?)", (str(path),)
            ).fetchall()
            present = {name for (name,) in found}
            columns = (
                name if name in present else f"NULL::{kind} AS {name}"
                for name, kind in _COLUMNS.items()
            )
            source = str(path).replace("'", "''")  # DuckDB takes no parameters in a view
            view = f"CREATE TEMP VIEW calls AS SELECT {', '.join(columns)} FROM read_parquet('{source}')"  # noqa: S608  # quoted
            connection.execute(view)
            yield connection
    except duckdb.Error as error:
        text = f"{path} cannot be read as an export of promptcache's: {str(error).splitlines()[0]}."
        raise store.UnusableError(Exit.NOT_A_TABLE, text) from error


def _duckdb() -> Any:
    if not find_spec("duckdb"):
        raise store.UnusableError(
            Exit.USAGE, 'Parquet needs an extra: pip install "promptcache[duckdb]"'
        )
    import duckdb

    return duckdb
