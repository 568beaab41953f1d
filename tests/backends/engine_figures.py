"""All figures of the report by all groupings, equal to the last digit on every engine.

Run by `make engines`, or by hand:

    python -m tests.backends.engine_figures .venv-chdb/bin/python [CALLS]

The engines are SQLite (the local table), OTLP JSON, DuckDB on Parquet, the engine of ClickHouse
(clickhouse_server.py) through the view of `promptcache engine clickhouse`, and PostgreSQL. sqlglot
parses the queries of the other engines.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import duckdb
from opentelemetry.sdk.trace import ReadableSpan

from promptcache_exporters.database.clickhouse_view import clickhouse_view_statement
from promptcache_exporters.database.columns import CALL_COLUMNS
from promptcache_exporters.database.dialect import DIALECTS
from promptcache_exporters.database.parquet import export_calls_to_parquet
from promptcache_exporters.database.query import fetch_rows_by_name
from promptcache_exporters.database.source import open_calls_source
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from promptcache_exporters.report.figures import FIGURES
from promptcache_exporters.report.json import render_report_json
from promptcache_exporters.report.model import GroupBy
from promptcache_exporters.report.query import collect_report
from promptcache_exporters.report.sql import figures_by_group_sql
from tests.alerts_e2e.local_services import free_port, running_program, wait_until
from tests.backends.postgres_server import NULL, running_postgres
from tests.support.otlp_json import encode_otlp_json_line
from tests.support.seeded_day import seeded_day

SERVER: Final = Path(__file__).with_name("clickhouse_server.py")
PARSER: Final = Path(__file__).with_name("parse_dialects.py")
Figures = dict[GroupBy, dict[str | None, tuple[int | None, ...]]]
SPANS_TABLE: Final = """
CREATE TABLE otel_traces (
    Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)), TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)), ParentSpanId String CODEC(ZSTD(1)),
    TraceState String CODEC(ZSTD(1)), SpanName LowCardinality(String) CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    SpanAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    Duration UInt64 CODEC(ZSTD(1))
) ENGINE MergeTree ORDER BY (ServiceName, SpanName, toDateTime(Timestamp))
"""
"""The columns of the exporter's table that the view reads, with the exporter's types."""


def figures_of_source(place: str) -> Figures:
    """Return the figures of a source that the report can read."""
    found: Figures = {}
    with open_calls_source(place) as source, source.open() as connection:
        for by in GroupBy:
            statement = figures_by_group_sql(by, source.dialect, FIGURES, "calls", "")
            rows = fetch_rows_by_name(connection, statement)
            found[by] = {row["group_key"]: tuple(row[figure] for figure in FIGURES) for row in rows}
    return found


def figures_of_postgres(parquet: Path, folder: Path) -> Figures:
    """Load an export into PostgreSQL, and return the figures."""
    csv = folder / "calls.csv"
    duckdb.execute(f"COPY (FROM '{parquet}') TO '{csv}' (HEADER, NULLSTR '{NULL}', FORCE_QUOTE *)")
    types = {"TEXT": "text", "INTEGER": "bigint", "REAL": "double precision"}
    columns = ", ".join(f"{one.name} {types[one.type.split()[0]]}" for one in CALL_COLUMNS)
    with running_postgres() as server:
        server.run(
            f"CREATE TABLE calls (id bigint, {columns});\n"
            f"\\copy calls FROM '{csv}' (FORMAT csv, HEADER, NULL '{NULL}',"
            f" FORCE_NULL ({', '.join(['id', *(one.name for one in CALL_COLUMNS)])}))\n"
        )
        found: Figures = {}
        for by in GroupBy:
            rows = server.run(
                figures_by_group_sql(by, DIALECTS["postgres"], FIGURES, "calls", "") + ";"
            )
            found[by] = {
                key: tuple(None if value is None else int(value) for value in values)
                for key, *values in rows
            }
        return found


def post(url: str, sql: str) -> bool:
    with urllib.request.urlopen(url, sql.encode(), timeout=300) as response:
        response.read()
        return bool(response.status == 200)


def load_into_clickhouse(url: str, spans: Iterable[ReadableSpan]) -> None:
    """Create the exporter's table, insert the spans as the exporter does, and create the view."""
    post(url, "CREATE DATABASE otel")
    post(url, SPANS_TABLE.replace("otel_traces", "otel.otel_traces"))
    lines = "\n".join(json.dumps(encode_clickhouse_row(span)) for span in spans)
    post(url, f"INSERT INTO otel.otel_traces FORMAT JSONEachRow\n{lines}")
    view = clickhouse_view_statement("otel.otel_traces")
    view = view.replace("VIEW promptcache_calls", "VIEW otel.promptcache_calls")
    for _ in range(2):  # twice is once
        post(url, view)


def encode_clickhouse_row(span: ReadableSpan) -> dict[str, Any]:
    """Return the row of the exporter: every attribute is text."""
    context, start = span.get_span_context(), span.start_time or 0
    if context is None:
        raise ValueError("a span without ids")
    return {
        "Timestamp": f"{start // 10**9}.{start % 10**9:09}",
        "TraceId": format(context.trace_id, "032x"),
        "SpanId": format(context.span_id, "016x"),
        "TraceState": context.trace_state.to_header(),
        "SpanName": span.name,
        "ServiceName": span.resource.attributes["service.name"],
        "SpanAttributes": {
            name: value
            if isinstance(value, str)
            else json.dumps(list(value) if isinstance(value, tuple) else value)
            for name, value in (span.attributes or {}).items()
        },
        "Duration": (span.end_time or 0) - start,
    }


def compare(name: str, found: Figures, expected: Figures) -> None:
    """End the program if a figure differs."""
    for by in GroupBy:
        if found[by] == expected[by]:
            continue
        for key in {*found[by], *expected[by]}:
            pair = found[by].get(key), expected[by].get(key)
            if pair[0] != pair[1]:
                print(f"{name}, by {by}, {key!r}:\n  {pair[0]}\n  {pair[1]}")
        sys.exit("The engines do not agree.")
    count = sum(len(groups) for groups in found.values()) * len(FIGURES)
    print(f"{name}: {count:,} figures of {len(GroupBy)} groupings are equal")


def parse_dialects(python: str) -> None:
    """Parse the queries of all dialects by sqlglot."""
    queries = {
        dialect.name: [
            figures_by_group_sql(by, dialect, FIGURES, "calls", "time >= 0") for by in GroupBy
        ]
        for dialect in DIALECTS.values()
    }
    subprocess.run([python, PARSER], input=json.dumps(queries), text=True, check=True)


def report_json(place: str) -> str:
    with open_calls_source(place) as source:
        return render_report_json(collect_report(source, GroupBy.MODEL))


def timed(name: str, function: Callable[[], Figures]) -> Figures:
    start = time.perf_counter()
    found = function()
    print(f"{name}: {time.perf_counter() - start:.2f} s for all groupings")
    return found


def main(python: str, calls: int = 5_000) -> None:
    """Compare all engines; `python` has chDB and sqlglot."""
    parse_dialects(python)
    with TemporaryDirectory() as name:
        folder = Path(name)
        spans = list(seeded_day(calls))
        table, exported, lines = (folder / f"calls.{end}" for end in ("db", "parquet", "jsonl"))
        SQLiteSpanExporter(table).export(spans)
        export_calls_to_parquet(table, exported)
        lines.write_text(
            "".join(
                encode_otlp_json_line(spans[at : at + 100]) + "\n" for at in range(0, calls, 100)
            )
        )
        expected = timed("SQLite", lambda: figures_of_source(str(table)))
        for title, place in (("OTLP JSON", lines), ("DuckDB on Parquet", exported)):
            compare(title, timed(title, partial(figures_of_source, str(place))), expected)
        port = free_port()
        with running_program(folder / "server.log", python, SERVER, str(port), folder):
            http, url = f"http://127.0.0.1:{port}/", f"clickhouse://127.0.0.1:{port}/otel"
            wait_until("ClickHouse answers", lambda: post(http, "SELECT 1"), 60)
            load_into_clickhouse(http, spans)
            title = "ClickHouse's engine, by the view"
            compare(title, timed(title, lambda: figures_of_source(url)), expected)
            if report_json(url) != report_json(str(table)):
                sys.exit("The reports differ.")
            print("promptcache report --from clickhouse:// is equal to that of the local table")
        found = timed("PostgreSQL", lambda: figures_of_postgres(exported, folder))
        compare("PostgreSQL", found, expected)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
