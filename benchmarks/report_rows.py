"""Measure seconds and memory of `promptcache report` over many rows: the local table and Parquet.

    python -m benchmarks.report_rows 1000000 10000000

The rows repeat a seeded day, each time a day later. The table is measured up to `MAX_TABLE_ROWS`.
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
MAX_TABLE_ROWS: Final = 10_000_000
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
import atexit, re, sys
from pathlib import Path
from promptcache.cli import main
status = lambda: Path("/proc/self/status").read_text()
atexit.register(lambda: print(re.search("VmHWM: *(.*)", status())[1], file=sys.stderr))
main()
"""


def measure(name: str, place: str | Path, rows: int) -> None:
    """Run the command once, and print its seconds and its memory (on Linux)."""
    command = [sys.executable, "-c", RUN_COMMAND, "report", "--from", str(place), "--json"]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    memory = done.stderr.strip().splitlines()[-1]
    print(f"{name}, {rows:,} rows: {seconds:.1f} s, {memory}", flush=True)


def main(counts: list[int]) -> None:
    """Measure each number of rows, smallest first."""
    for rows in sorted(counts):
        with TemporaryDirectory() as name:
            day, exported, table = (Path(name) / one for one in ("day.db", "day.parquet", "all.db"))
            spans = list(seeded_day(ROWS_OF_DAY))
            SQLiteSpanExporter(day).export(spans)
            export_calls_to_parquet(day, exported)
            days = rows // ROWS_OF_DAY
            grow_parquet(exported, Path(name) / "all.parquet", days)
            measure("Parquet with DuckDB", Path(name) / "all.parquet", rows)
            if rows <= MAX_TABLE_ROWS:
                SQLiteSpanExporter(table).export(spans)
                grow_table(table, days)
                measure("SQLite", table, rows)


if __name__ == "__main__":
    main([int(one) for one in sys.argv[1:]])
