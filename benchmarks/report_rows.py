"""Measure time and memory of `promptcache report` over many rows: the local table and Parquet.

The rows repeat a seeded day, each time a day later. engine_rows.py runs this.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import duckdb

from promptcache_exporters.database.column import TableColumn
from promptcache_exporters.database.columns import NEVER_EXPORTED_COLUMNS
from promptcache_exporters.database.parquet import export_calls_to_parquet
from promptcache_exporters.database.schema import CALLS_TABLE
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from promptcache_exporters.database.sqlite_file import open_or_create_for_writing
from tests.support.seeded_day import seeded_day

ROWS_OF_DAY: Final = 5_000
_LATER: Final = {"time": "time + {day} * 86400", "span_id": "hex({day}) || '-' || span_id"}


def select_day(day: str, columns: Iterable[TableColumn] = CALLS_TABLE.columns) -> str:
    """Return the columns of a call, as many days later as the expression `day` says."""
    return ", ".join(
        f"{_LATER.get(column.name, column.name).format(day=day)} AS {column.name}"
        for column in columns
    )


def grow_table(path: Path, days: int) -> None:
    names = ", ".join(column.name for column in CALLS_TABLE.columns)
    with closing(open_or_create_for_writing(path, 10)) as connection:
        connection.execute("PRAGMA cache_size = -1000000")  # 1 GB, for the indexes
        connection.execute("CREATE TEMP TABLE day AS SELECT * FROM llm_calls")
        for day in range(1, days):
            connection.execute(
                f"INSERT INTO llm_calls ({names}) SELECT {select_day(str(day))} FROM day"
            )


def grow_parquet(source: Path, target: Path, days: int) -> None:
    exported = [one for one in CALLS_TABLE.columns if one.name not in NEVER_EXPORTED_COLUMNS]
    duckdb.execute(
        f"COPY (SELECT id, {select_day('day', exported)} FROM read_parquet('{source}'),"
        f" range({days}) AS days(day)) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
    )


# VmHWM is the memory of the command alone; that of a child contains the fork of this process.
RUN_COMMAND: Final = """
import atexit, re, sys, time
from pathlib import Path
from promptcache.cli import main
def print_used():
    kilobytes = re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]
    print(f"{time.process_time()} {kilobytes}", file=sys.stderr)
atexit.register(print_used)
main()
"""


def measure(name: str, place: str | Path, rows: int) -> None:
    """Run the command once, and print its time and its memory (on Linux)."""
    command = [sys.executable, "-c", RUN_COMMAND, "report", "--from", str(place), "--json"]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    processor_seconds, kilobytes = done.stderr.strip().splitlines()[-1].split()
    print_measurement(name, rows, seconds, float(processor_seconds), int(kilobytes) // 1000)


def print_measurement(
    name: str,
    rows: int,
    seconds: float,
    processor_seconds: float | None = None,
    megabytes: int | None = None,
) -> None:
    """Print a row of the table in docs/engines.md: where others work too, only the time of the
    processor tells how the work grows."""
    processor = "" if processor_seconds is None else f"{processor_seconds:.1f}"
    memory = "" if megabytes is None else f"{megabytes:,}"
    print(f"| {name} | {rows:,} | {seconds:.1f} | {processor} | {memory} |", flush=True)


def make_day(folder: Path) -> Path:
    """Return an export of the seeded day."""
    SQLiteSpanExporter(folder / "day.db").export(list(seeded_day(ROWS_OF_DAY)))
    export_calls_to_parquet(folder / "day.db", folder / "day.parquet")
    return folder / "day.parquet"


def measure_parquet(rows: int) -> None:
    with TemporaryDirectory() as name:
        path = Path(name) / "all.parquet"
        grow_parquet(make_day(Path(name)), path, rows // ROWS_OF_DAY)
        measure("Parquet with DuckDB", path, rows)


def measure_sqlite(rows: int) -> None:
    with TemporaryDirectory() as name:
        path = Path(name) / "all.db"
        SQLiteSpanExporter(path).export(list(seeded_day(ROWS_OF_DAY)))
        grow_table(path, rows // ROWS_OF_DAY)
        measure("SQLite", path, rows)
