"""Measure seconds and memory of a report by model over many rows, on each engine with a program.

    python -m benchmarks.engine_rows clickhouse .venv-chdb/bin/python 1000000 10000000
    python -m benchmarks.engine_rows postgres 1000000 10000000
    python -m benchmarks.engine_rows spark .venv-spark/bin/python 1000000 10000000
    python -m benchmarks.engine_rows otlp 100000 1000000

The rows repeat a seeded day, each time a day later. `benchmarks/report_rows.py` measures the local
table and Parquet. For OTLP JSON it is the whole command, on the other engines the query that
`promptcache engine` prints. Memory is that of the engine's process.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import duckdb

from benchmarks.report_rows import ROWS_OF_DAY, grow_parquet, measure, select_day
from promptcache_exporters.database.clickhouse_view import AttributeStorage, backfill_statement
from promptcache_exporters.database.dialect import DIALECTS
from promptcache_exporters.database.parquet import export_calls_to_parquet
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.figures import FIGURES
from promptcache_exporters.report.sql import figures_by_group_sql
from tests.alerts_e2e.local_services import free_port, running_program, wait_until
from tests.backends.clickhouse_checks import SERVER
from tests.backends.clickhouse_spans import create_table, create_view, insert_spans, post
from tests.backends.engine_figures import EXPORTED_COLUMNS
from tests.backends.postgres_server import NULL, running_postgres
from tests.backends.spark_figures import RUNNER
from tests.support.otlp_json import encode_otlp_json_line
from tests.support.seeded_day import seeded_day

SPANS_PER_LINE: Final = 100
_GROW_SPANS: Final = """
INSERT INTO otel.{table} SELECT
    Timestamp + toIntervalDay(number) AS Timestamp, TraceId,
    leftPad(lower(hex(sipHash64(SpanId, number))), 16, '0') AS SpanId,
    ParentSpanId, TraceState, SpanName, ServiceName, SpanAttributes, Duration
FROM otel.{table} CROSS JOIN numbers(1, {days}) AS days"""


def peak_megabytes(pid: int) -> int:
    """Return the peak memory of a process (on Linux)."""
    match = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) // 1000 if match else 0


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure_clickhouse(rows: int, python: str) -> None:
    """Measure the map, typed columns before and after the back-fill, and JSON."""
    for table in ("otel_traces", "otel_traces_json"):
        with TemporaryDirectory() as name:
            measure_spans_table(table, rows, python, Path(name))


def measure_spans_table(table: str, rows: int, python: str, folder: Path) -> None:
    port = free_port()
    http = f"http://127.0.0.1:{port}/"
    with running_program(folder / "log", python, SERVER, str(port), folder) as server:
        wait_until("ClickHouse answers", lambda: bool(post(http, "SELECT 1")), 120)
        create_table(http, table)
        insert_spans(http, table, list(seeded_day(ROWS_OF_DAY)))
        grow = _GROW_SPANS.format(table=table, days=rows // ROWS_OF_DAY - 1)
        print(f"{table}: {timed(lambda: post(http, grow)):.1f} s to insert", flush=True)
        measure_views(http, table, rows)
        print(f"peak memory of the engine: {peak_megabytes(server.pid)} MB", flush=True)


def measure_views(http: str, table: str, rows: int) -> None:
    if table == "otel_traces_json":
        create_view(http, table, AttributeStorage.JSON)
        measure_query("JSON", http, rows)
        return
    create_view(http, table, AttributeStorage.MAP)
    measure_query("map", http, rows)
    create_view(http, table, AttributeStorage.TYPED)
    fill = f"{backfill_statement('otel.otel_traces')} SETTINGS mutations_sync = 2"
    print(f"back-fill: {timed(lambda: post(http, fill)):.1f} s", flush=True)
    measure_query("typed and filled", http, rows)
    create_view(http, table, AttributeStorage.TYPED, is_deduplicated=True)
    measure_query("typed and filled, --deduplicate", http, rows)


def measure_query(name: str, http: str, rows: int) -> None:
    dialect = DIALECTS["clickhouse"]
    query = figures_by_group_sql(GroupBy.MODEL, dialect, FIGURES, "otel.promptcache_calls", "")
    seconds = timed(lambda: post(http, query))
    print(f"ClickHouse's engine, {name}, {rows:,} rows: {seconds:.2f} s", flush=True)


def make_day(folder: Path) -> Path:
    """Return an export of the seeded day."""
    SQLiteSpanExporter(folder / "day.db").export(list(seeded_day(ROWS_OF_DAY)))
    export_calls_to_parquet(folder / "day.db", folder / "day.parquet")
    return folder / "day.parquet"


def report_query(dialect: str) -> str:
    return figures_by_group_sql(GroupBy.MODEL, DIALECTS[dialect], FIGURES, "calls", "")


def measure_postgres(rows: int) -> None:
    types = {"TEXT": "text", "INTEGER": "bigint", "REAL": "double precision"}
    columns = ", ".join(f"{one.name} {types[one.type.split()[0]]}" for one in EXPORTED_COLUMNS)
    names = ", ".join(["id", *(one.name for one in EXPORTED_COLUMNS)])
    with TemporaryDirectory() as name, running_postgres() as server:
        csv = Path(name) / "day.csv"
        options = f"HEADER, NULLSTR '{NULL}', FORCE_QUOTE *"
        duckdb.execute(f"COPY (FROM '{make_day(Path(name))}') TO '{csv}' ({options})")
        later = select_day("day", EXPORTED_COLUMNS).replace("hex(day)", "to_hex(day)")
        server.run(
            f"CREATE UNLOGGED TABLE calls (id bigint, {columns});\n"
            f"\\copy calls FROM '{csv}' (FORMAT csv, HEADER, NULL '{NULL}', FORCE_NULL ({names}))\n"
            f"INSERT INTO calls SELECT id, {later} FROM calls,"
            f" generate_series(1, {rows // ROWS_OF_DAY - 1}) AS days(day);\nANALYZE calls;\n"
        )
        query = report_query("postgres")
        seconds = timed(lambda: server.run(f"{query};"))
        *_, (status, *_) = server.run(f"{query};\nSELECT pg_read_file('/proc/self/status');")
        memory = re.search(r"VmHWM:\s*(\d+)", status or "")
        megabytes = int(memory[1]) // 1000 if memory else 0
        print(f"PostgreSQL, {rows:,} rows: {seconds:.1f} s, {megabytes} MB", flush=True)


def measure_spark(rows: int, python: str) -> None:
    """Measure the first and the second run of the query: the first one compiles it."""
    with TemporaryDirectory() as name:
        path = Path(name) / "all.parquet"
        grow_parquet(make_day(Path(name)), path, rows // ROWS_OF_DAY)
        done = subprocess.run(
            [python, RUNNER, path],
            input=json.dumps([report_query("spark")] * 2),
            check=True,
            capture_output=True,
            text=True,
        )
        measured = done.stderr.strip().splitlines()[-1]
        print(f"Spark, {rows:,} rows: {measured}", flush=True)


def measure_otlp(rows: int) -> None:
    with TemporaryDirectory() as name:
        path = Path(name) / "spans.jsonl"
        with path.open("w") as file:
            for day in range(rows // ROWS_OF_DAY):
                spans = list(seeded_day(ROWS_OF_DAY, seed=day))
                for at in range(0, ROWS_OF_DAY, SPANS_PER_LINE):
                    file.write(encode_otlp_json_line(spans[at : at + SPANS_PER_LINE]) + "\n")
        print(f"the file has {path.stat().st_size / 1e6:,.0f} MB", flush=True)
        measure("OTLP JSON", path, rows)


def main(engine: str, arguments: Sequence[str]) -> None:
    """Measure one engine with each number of rows."""
    counts = [int(one) for one in arguments if one.isdecimal()]
    programs = [one for one in arguments if not one.isdecimal()]
    measures: dict[str, Callable[..., None]] = {
        "clickhouse": measure_clickhouse,
        "postgres": measure_postgres,
        "spark": measure_spark,
        "otlp": measure_otlp,
    }
    measure_rows = measures[engine]
    for rows in sorted(counts):
        measure_rows(rows, *programs)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
