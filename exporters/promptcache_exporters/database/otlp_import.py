"""Write the spans of a file of OTLP JSON into a local table, by the code that records them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from promptcache_exporters.database import schema, sqlite_file
from promptcache_exporters.database.errors import InvalidCallsFileError, MissingSpansFileError
from promptcache_exporters.database.otlp_json import ReadCounts, read_otlp_json_spans
from promptcache_exporters.database.recorded_span import PlainSpan

_SPANS_PER_TRANSACTION: Final = 2_000
_LOCK_TIMEOUT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import read, and how many rows the table gained. A repeated import adds no row."""

    read: ReadCounts
    new_rows: int


def import_otlp_json(
    spans_path: Path, table_path: Path, default_sample_ratio: float | None = None
) -> ImportResult:
    """Write the calls among the spans of `spans_path` into the local table at `table_path`.

    The table is created if it does not exist. `default_sample_ratio` is as in
    `read_otlp_json_spans`.

    Raises `CallsFileReadError`, and OSError for a file that cannot be read or written.
    """
    if not spans_path.exists():
        raise MissingSpansFileError(spans_path)
    counts = ReadCounts()
    spans = read_otlp_json_spans(spans_path, counts, default_sample_ratio)
    first = list(islice(spans, _SPANS_PER_TRANSACTION))  # a wrong file must not create a table
    try:
        with closing(
            sqlite_file.open_or_create_for_writing(table_path, _LOCK_TIMEOUT_SECONDS)
        ) as connection:
            new_rows = sum(
                sqlite_file.insert_rows(connection, schema.rows_from_spans(part))
                for part in _parts(first, spans)
            )
            return ImportResult(counts, new_rows)
    except sqlite3.Error as error:
        raise InvalidCallsFileError(
            f"{table_path} cannot be written as a table of promptcache: {error}."
        ) from error


def _parts(first: list[PlainSpan], rest: Iterator[PlainSpan]) -> Iterator[list[PlainSpan]]:
    part = first
    while part:
        yield part
        part = list(islice(rest, _SPANS_PER_TRANSACTION))
