"""Where the calls of a report are: the local table, an export of it, or spans of OTLP JSON."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from promptcache_exporters.database import parquet, sqlite_file
from promptcache_exporters.database.clickhouse import ClickHouseServer, is_clickhouse_url
from promptcache_exporters.database.dialect import CLICKHOUSE, DUCKDB, SQLITE, SQLDialect
from promptcache_exporters.database.otlp_import import import_otlp_json
from promptcache_exporters.database.query import QueryConnection
from promptcache_exporters.database.selected_calls import open_selected_calls

OTLP_JSON_SUFFIXES: Final = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
OpenConnection = Callable[[], AbstractContextManager[QueryConnection]]


@dataclass(frozen=True, slots=True)
class CallsSource:
    """Calls that the queries of a report can read.

    place: the file, for people.
    open_all_calls: opens a connection with the view of all calls. It raises `CallsFileReadError`,
    also in the block.
    is_local_table: whether it is a file of promptcache. It has row ids, whose ranges can be read at
    once, and the view `storage_costs`.
    note: what people must know of it.
    open_valid_rows: opens it with the rows that can be added up, and the others in the view
    `invalid_calls`; None where this is not known. `leaves_rows_out`: whether `open_all_calls` does
    so.
    condition, parameters: the SQL condition of the calls that `open` selects, `?` for a parameter.
    """

    place: str | Path
    dialect: SQLDialect
    open_all_calls: OpenConnection
    is_local_table: bool = False
    note: str = ""
    open_valid_rows: OpenConnection | None = None
    leaves_rows_out: bool = False
    condition: str = ""
    parameters: tuple[str | float, ...] = ()

    def open(self) -> AbstractContextManager[QueryConnection]:
        """Open a connection whose `calls` are the selected ones. See `open_all_calls`."""
        return open_selected_calls(
            self.dialect, self.condition, self.parameters, self.open_all_calls
        )

    def without_invalid_rows(self) -> CallsSource | None:
        """Return the source without the rows that cannot be added up; None if it has no such."""
        if self.open_valid_rows is None:
            return None
        return replace(
            self,
            open_all_calls=self.open_valid_rows,
            open_valid_rows=None,
            leaves_rows_out=True,
        )

    def select_calls(self, condition: str, parameters: Sequence[str | float]) -> CallsSource:
        """Return the source with the calls that fulfil an SQL condition, instead of all."""
        return replace(self, condition=condition, parameters=tuple(parameters))


def find_calls_source(path: Path) -> CallsSource:
    """Return the source that the name of a file tells: an export, or else a local table.

    The path of an export may be a pattern with `*`, for several files.
    """
    if parquet.has_parquet_suffix(path):
        return CallsSource(path, DUCKDB, lambda: parquet.open_parquet_read_only(path))
    return CallsSource(
        path,
        SQLITE,
        lambda: sqlite_file.open_sqlite_read_only(path),
        is_local_table=True,
        open_valid_rows=lambda: sqlite_file.open_sqlite_read_only(path, only_valid_rows=True),
    )


@contextmanager
def open_calls_source(
    text: str, default_sample_ratio: float | None = None
) -> Generator[CallsSource]:
    """Open the source that `text` names.

    It is a file or a pattern, as for `find_calls_source`, or a ClickHouse server
    (`clickhouse://user@host:8123/database`) with the view that `promptcache engine` makes.
    A file of OTLP JSON is first imported into a temporary table. `default_sample_ratio` is that of
    its spans whose trace state has none.

    Raises `CallsFileReadError` and OSError.
    """
    if is_clickhouse_url(text):
        server = ClickHouseServer.from_url(text)
        yield CallsSource(server.url, CLICKHOUSE, server.connect)
        return
    path = Path(text).expanduser().absolute()
    if not text.endswith(OTLP_JSON_SUFFIXES):
        yield find_calls_source(path)
        return
    with tempfile.TemporaryDirectory(prefix="promptcache-") as folder:
        table_path = Path(folder) / "calls.db"
        read = import_otlp_json(path, table_path, default_sample_ratio).read
        bad = (f"{read.bad_lines:,} of {read.lines:,} lines", f"{read.bad_spans:,} spans")
        yield CallsSource(
            path,
            SQLITE,
            lambda: sqlite_file.open_sqlite_read_only(table_path),
            is_local_table=True,
            note=f"Not readable: {bad[0]}, {bad[1]}." if read.bad_lines or read.bad_spans else "",
        )
