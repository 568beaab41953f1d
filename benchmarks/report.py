"""Measure how long a report over many calls takes: `python benchmarks/report.py [--rows N]`.

The calls of the demo's two agents are repeated a minute apart, with new ids, until there are N. The
report runs on SQLite and on Parquet. Goals for 10 million calls: 30 s from SQLite alone, 2 s with
DuckDB from the export, with memory that does not grow with the number of rows.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from promptcache_exporters.database.columns import CALL_COLUMNS, CALLS_TABLE_NAME

sys.path.insert(0, str(Path(__file__).parent.parent))

from examples import demo

COMMAND: Final = str(Path(sys.executable).parent / "promptcache")


def repeat_rows(path: Path, rows: int) -> None:
    """Repeat the rows of the database until there are `rows`."""
    new_values = {
        "trace_id": "lower(hex(randomblob(16)))",
        "span_id": "lower(hex(randomblob(8)))",
        "time": "time + n * 60.0",
    }
    names = [column.name for column in CALL_COLUMNS]
    values = ", ".join(new_values.get(name, name) for name in names)
    with closing(sqlite3.connect(path)) as connection, connection:
        (existing,) = connection.execute(f"SELECT count(*) FROM {CALLS_TABLE_NAME}").fetchone()
        connection.execute(f"CREATE TEMP TABLE seed AS SELECT * FROM main.{CALLS_TABLE_NAME}")
        connection.execute(
            "WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < ?) "
            f"INSERT INTO main.{CALLS_TABLE_NAME} ({', '.join(names)}) "
            f"SELECT {values} FROM many, temp.seed",
            (-(-rows // existing) - 1,),
        )


def measure_command(*arguments: str) -> str:
    """Run `promptcache` and return its wall and CPU seconds and its peak memory as text."""
    before = os.times()
    process = subprocess.Popen([COMMAND, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"promptcache {' '.join(arguments)} failed")
    wall = os.times().elapsed - before.elapsed
    cpu = usage.ru_utime + usage.ru_stime
    return f"{wall:6.1f} s, CPU {cpu:6.1f} s, {usage.ru_maxrss / 1024:5.0f} MiB"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="number of calls")
    rows: int = parser.parse_args(arguments).rows
    with tempfile.TemporaryDirectory() as folder:
        database, parquet = Path(folder) / "calls.db", Path(folder) / "calls.parquet"
        with demo.running_emulator() as url:
            demo.run_agent("support-agent", url, database=str(database))
            demo.run_agent("support-agent-with-clock", url, "--clock", database=str(database))
        repeat_rows(database, rows)
        print(f"{rows} rows, {database.stat().st_size / 1e6:.0f} MB", flush=True)
        for name, command in (
            ("report, SQLite", ("report", str(database), "--json")),
            ("export", ("export", str(database), "--out", str(parquet))),
            ("report, DuckDB", ("report", str(parquet), "--json")),
        ):
            print(f"{name:<16} {measure_command(*command)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
