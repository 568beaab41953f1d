"""How long a report over many calls takes: `python benchmarks/report.py [--rows N]`, from SQLite and from Parquet.

The calls of the demo's two agents, repeated a minute apart with ids of their own until there are N. Goals for 10
million: 30 s from SQLite alone, 2 s with DuckDB from the export, whose memory does not grow with the rows.
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

from promptcache_exporters.database import columns as table

sys.path.insert(0, str(Path(__file__).parent.parent))

from examples import demo

COMMAND: Final = str(Path(sys.executable).parent / "promptcache")


def repeat_rows(path: Path, rows: int) -> None:
    """Repeats the table's rows until there are `rows`."""
    fresh = {
        "trace_id": "lower(hex(randomblob(16)))",
        "span_id": "lower(hex(randomblob(8)))",
        "time": "time + n * 60.0",
    }
    names = [column.name for column in table.CALL_COLUMNS]
    values = ", ".join(fresh.get(name, name) for name in names)
    with closing(sqlite3.connect(path)) as connection, connection:
        (had,) = connection.execute(
            f"SELECT count(*) FROM {table.CALLS_TABLE_NAME}"
        ).fetchone()  # a name of ours
        connection.execute(f"CREATE TEMP TABLE seed AS SELECT * FROM main.{table.CALLS_TABLE_NAME}")
        connection.execute(
            f"WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < ?) "
            f"INSERT INTO main.{table.CALLS_TABLE_NAME} ({', '.join(names)}) SELECT {values} FROM many, temp.seed",
            (-(-rows // had) - 1,),
        )


def measure_command(*arguments: str) -> str:
    """Wall and CPU seconds of one run of the command line, and its peak memory."""
    before = os.times()
    process = subprocess.Popen([COMMAND, *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"promptcache {' '.join(arguments)} failed")
    wall = os.times().elapsed - before.elapsed
    return f"{wall:6.1f} s, CPU {used.ru_utime + used.ru_stime:6.1f} s, {used.ru_maxrss / 1024:5.0f} MiB"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        many, parquet = Path(folder) / "calls.db", Path(folder) / "calls.parquet"
        with demo.running_emulator() as url:
            demo.run_agent("support-agent", url, many)
            demo.run_agent("support-agent-with-clock", url, many, "--clock")
        repeat_rows(many, given.rows)
        print(f"{given.rows} rows, {many.stat().st_size / 1e6:.0f} MB", flush=True)
        print(f"report, SQLite   {measure_command('report', str(many), '--json')}", flush=True)
        print(
            f"export           {measure_command('export', str(many), '--out', str(parquet))}",
            flush=True,
        )
        print(f"report, DuckDB   {measure_command('report', str(parquet), '--json')}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
