"""Measure time and memory of a report over many rows, on each engine.

    python -m benchmarks.engine_rows 1000000 10000000 --engines sqlite parquet postgres
    python -m benchmarks.engine_rows 1000000 --engines spark --spark .venv-spark/bin/python

`make engine-rows` makes the table of docs/engines.md. The rows repeat a seeded day, each time a day
later. On SQLite, Parquet and OTLP JSON the whole command is measured, on the other engines the
query by model that `promptcache engine` prints. Memory is the peak of the engine's process.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import duckdb

from benchmarks.report_rows import (
    ROWS_OF_DAY,
    grow_parquet,
    make_day,
    measure,
    measure_parquet,
    measure_sqlite,
    print_measurement,
    select_day,
)
from promptcache_exporters.database.clickhouse_view import AttributeStorage, backfill_statement
from promptcache_exporters.database.dialect import DIALECTS
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
ENGINES: Final = ("sqlite", "parquet", "postgres", "spark", "clickhouse", "clickhouse-json")
"""Of the table in docs/engines.md."""
_GROW_SPANS: Final = """
INSERT INTO otel.{table} SELECT
    Timestamp + toIntervalDay(number) AS Timestamp, TraceId,
    leftPad(lower(hex(sipHash64(SpanId, number))), 16, '0') AS SpanId,
    ParentSpanId, TraceState, SpanName, ServiceName, SpanAttributes, Duration
FROM otel.{table} CROSS JOIN numbers(1, {days}) AS days"""


def peak_megabytes(pid: int | str) -> int:
    """Return the peak memory of a process (on Linux)."""
    return megabytes_of_status(Path(f"/proc/{pid}/status").read_text())


def megabytes_of_status(status: str) -> int:
    match = re.search(r"VmHWM:\s*(\d+)", status)
    return int(match[1]) // 1000 if match else 0


def processor_seconds(pid: int) -> float:
    """Return the time that a process has used (on Linux): the fields utime and stime."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class ClickHouseEngine(NamedTuple):
    """A running engine of ClickHouse with `rows` spans."""

    http: str
    pid: int
    rows: int

    def measure(self, name: str, statement: str) -> None:
        """Run a statement, and print what it took. The peak is that of all statements so far."""
        before = processor_seconds(self.pid)
        seconds = timed(lambda: post(self.http, statement))
        used = processor_seconds(self.pid) - before
        title = f"ClickHouse's engine: {name}"
        print_measurement(title, self.rows, seconds, used, peak_megabytes(self.pid))


def measure_clickhouse(table: str, python: str, rows: int) -> None:
    port = free_port()
    http = f"http://127.0.0.1:{port}/"
    with (
        TemporaryDirectory() as folder,
        running_program(Path(folder) / "log", python, SERVER, str(port), folder) as server,
    ):
        wait_until("ClickHouse answers", lambda: bool(post(http, "SELECT 1")), 120)
        create_table(http, table)
        insert_spans(http, table, list(seeded_day(ROWS_OF_DAY)))
        engine = ClickHouseEngine(http, server.pid, rows)
        days = rows // ROWS_OF_DAY - 1
        engine.measure(f"insert into {table}", _GROW_SPANS.format(table=table, days=days))
        # Merges in the background would count for the first query.
        post(http, f"OPTIMIZE TABLE otel.{table} FINAL")
        if table == "otel_traces_json":
            create_view(http, table, AttributeStorage.JSON)
            engine.measure("JSON", report_query("clickhouse"))
        else:
            measure_map_and_typed(engine)


def measure_map_and_typed(engine: ClickHouseEngine) -> None:
    """Measure the map, the back-fill, and the typed columns after it."""
    query = report_query("clickhouse")
    create_view(engine.http, "otel_traces", AttributeStorage.MAP)
    engine.measure("map", query)
    create_view(engine.http, "otel_traces", AttributeStorage.TYPED)
    fill = f"{backfill_statement('otel.otel_traces')} SETTINGS mutations_sync = 2"
    engine.measure("back-fill", fill)
    engine.measure("typed and filled", query)
    create_view(engine.http, "otel_traces", AttributeStorage.TYPED, is_deduplicated=True)
    engine.measure("typed and filled, --deduplicate", query)


def report_query(dialect: str) -> str:
    table = "otel.promptcache_calls" if dialect == "clickhouse" else "calls"
    return figures_by_group_sql(GroupBy.MODEL, DIALECTS[dialect], FIGURES, table, "")


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
        print_measurement("PostgreSQL", rows, seconds, None, megabytes_of_status(status or ""))


def measure_spark(python: str, rows: int) -> None:
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
        *seconds, kilobytes = re.findall(r"[\d.]+", done.stderr.strip().splitlines()[-1])
        for name, each in zip(("first run", "second run"), seconds, strict=True):
            print_measurement(f"Spark, {name}", rows, float(each), None, int(kilobytes) // 1000)


def measure_otlp(rows: int) -> None:
    with TemporaryDirectory() as name:
        path = Path(name) / "spans.jsonl"
        with path.open("w") as file:
            for day in range(rows // ROWS_OF_DAY):
                spans = list(seeded_day(ROWS_OF_DAY, seed=day))
                for at in range(0, ROWS_OF_DAY, SPANS_PER_LINE):
                    file.write(encode_otlp_json_line(spans[at : at + SPANS_PER_LINE]) + "\n")
        measure(f"OTLP JSON of {path.stat().st_size / 1e6:,.0f} MB", path, rows)


def main(arguments: argparse.Namespace) -> None:
    """Measure each engine with each number of rows, smallest first."""
    clickhouse = {
        name: partial(measure_clickhouse, table, arguments.chdb)
        for name, table in (("clickhouse", "otel_traces"), ("clickhouse-json", "otel_traces_json"))
    }
    measures: dict[str, Callable[[int], None]] = {
        "sqlite": measure_sqlite,
        "parquet": measure_parquet,
        "postgres": measure_postgres,
        "spark": partial(measure_spark, arguments.spark),
        **clickhouse,
        "otlp": measure_otlp,
    }
    print("| | rows | seconds | of the processor | peak MB |\n|---|--:|--:|--:|--:|", flush=True)
    for engine in arguments.engines:
        for rows in sorted(arguments.rows):
            measures[engine](rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="+", type=int)
    parser.add_argument("--engines", nargs="+", default=ENGINES)
    parser.add_argument("--chdb", help="Python with chDB")
    parser.add_argument("--spark", help="Python with PySpark")
    main(parser.parse_args())
