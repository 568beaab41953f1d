"""The table as a Parquet file: for keeping, for other tools, and for reports over tens of millions of calls.

DuckDB writes and reads it (extra `duckdb`). Rows go through JSON lines, since DuckDB's own reader of SQLite files is an
extension that it would have to download.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from promptcache.exits import Exit

from . import store, table

CHUNK: Final = 100_000
"""Rows that pass at a time."""

_TYPES: Final = {"TEXT": "VARCHAR", "INTEGER": "BIGINT", "REAL": "DOUBLE"}
_COLUMNS: Final = {"id": "BIGINT"} | {column.name: _TYPES[column.type.split()[0]] for column in table.COLUMNS}


def is_one(path: Path) -> bool:
    """Whether the file is an export and not a table, by its name."""
    return path.suffix == ".parquet"


def export(path: Path, out: Path) -> int:
    """Writes the table's calls to `out`, mode 0600, replacing it when all are written; returns their number.

    Raises `store.UnusableError` where the table cannot be read or DuckDB is missing, OSError where `out` cannot be
    written.
    """
    duckdb = _duckdb()
    try:
        return _export(duckdb, path, out)
    except (duckdb.ConversionException, duckdb.InvalidInputException, TypeError) as error:
        raise store.UnusableError(Exit.NOT_A_TABLE, store.EDITED.format(path=path)) from error


def _export(duckdb: Any, path: Path, out: Path) -> int:
    with tempfile.TemporaryDirectory(prefix=".promptcache-", dir=out.parent) as folder:
        half = Path(folder) / "calls.parquet"
        with closing(duckdb.connect(str(Path(folder) / "calls.duckdb"))) as calls:
            calls.execute(f"CREATE TABLE calls ({', '.join(f'{name} {kind}' for name, kind in _COLUMNS.items())})")
            count = sum(_load(calls, lines) for lines in _chunks(path, Path(folder) / "chunk.json"))
            calls.execute("COPY calls TO ? (FORMAT parquet, COMPRESSION zstd)", (str(half),))
        half.chmod(0o600)
        half.replace(out)
    return count


@contextmanager
def open_to_read(path: Path) -> Generator[store.Readable]:
    """A connection with the view `calls`, as `store.open_to_read` gives it. Raises `store.UnusableError`."""
    if not path.exists():
        raise store.UnusableError(Exit.NO_FILE, f"{path} does not exist. Make it: promptcache export --out {path}")
    duckdb = _duckdb()
    try:
        with closing(duckdb.connect()) as connection:
            found = connection.execute("SELECT name FROM parquet_schema(?)", (str(path),)).fetchall()
            present = {name for (name,) in found}
            columns = (name if name in present else f"NULL::{kind} AS {name}" for name, kind in _COLUMNS.items())
            source = str(path).replace("'", "''")  # DuckDB takes no parameters in a view
            view = f"CREATE TEMP VIEW calls AS SELECT {', '.join(columns)} FROM read_parquet('{source}')"  # noqa: S608  # quoted
            connection.execute(view)
            yield connection
    except duckdb.Error as error:
        text = f"{path} cannot be read as an export of promptcache's: {str(error).splitlines()[0]}."
        raise store.UnusableError(Exit.NOT_A_TABLE, text) from error


def _duckdb() -> Any:
    if not find_spec("duckdb"):
        raise store.UnusableError(Exit.USAGE, 'Parquet needs an extra: pip install "promptcache[duckdb]"')
    import duckdb

    return duckdb


def _chunks(path: Path, file: Path) -> Iterator[tuple[Path, int]]:
    """The table's calls as JSON lines in `file`, `CHUNK` at a time, with their number."""
    names = list(_COLUMNS)
    with store.open_to_read(path) as connection:
        rows = connection.execute(f"SELECT {', '.join(names)} FROM calls ORDER BY id")  # noqa: S608  # names of our own
        while chunk := rows.fetchmany(CHUNK):
            with open(os.open(file, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w", encoding="utf-8") as lines:
                lines.writelines(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in chunk)
            yield file, len(chunk)


def _load(calls: Any, lines: tuple[Path, int]) -> int:
    file, count = lines
    columns = ", ".join(f"{name}: '{kind}'" for name, kind in _COLUMNS.items())
    query = f"INSERT INTO calls SELECT * FROM read_json(?, format = 'newline_delimited', columns = {{{columns}}})"  # noqa: S608  # names of our own
    calls.execute(query, (str(file),))
    return count
