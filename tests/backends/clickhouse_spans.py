"""The Collector's tables of spans in ClickHouse's engine: make them, and insert into them.

The engine is behind clickhouse_server.py. The tables have the columns that the view reads, with the
exporter's types (its traces_table.sql and traces_json_table.sql).
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterable
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan

from promptcache_exporters.database.clickhouse_view import AttributeStorage, clickhouse_statements

_COLUMNS: Final = """
    Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)), TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)), ParentSpanId String CODEC(ZSTD(1)),
    TraceState String CODEC(ZSTD(1)), SpanName LowCardinality(String) CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    SpanAttributes {attributes} CODEC(ZSTD(1)), Duration UInt64 CODEC(ZSTD(1))"""
_TYPES: Final = {
    "otel_traces": "Map(LowCardinality(String), String)",
    "otel_traces_json": "JSON",
}


def post(url: str, sql: str) -> bytes:
    with urllib.request.urlopen(url, sql.encode(), timeout=3600) as response:
        return bytes(response.read())


def create_table(url: str, table: str) -> None:
    """Create `otel_traces` or `otel_traces_json` in the database otel."""
    columns = _COLUMNS.format(attributes=_TYPES[table])
    order = "ORDER BY (ServiceName, SpanName, toDateTime(Timestamp), Timestamp)"
    post(url, "CREATE DATABASE IF NOT EXISTS otel")
    post(url, f"CREATE TABLE otel.{table} ({columns}\n) ENGINE MergeTree {order}")


def insert_spans(url: str, table: str, spans: Iterable[ReadableSpan]) -> None:
    lines = "\n".join(json.dumps(encode_row(span, table)) for span in spans)
    post(url, f"INSERT INTO otel.{table} FORMAT JSONEachRow\n{lines}")


def create_view(url: str, table: str, storage: AttributeStorage, **options: bool) -> None:
    """Make the view over the table, in the database otel."""
    statements = clickhouse_statements(f"otel.{table}", storage, **options)
    statements = statements.replace("VIEW promptcache_calls", "VIEW otel.promptcache_calls")
    for statement in statements.split(";\n"):
        if statement.strip():
            post(url, statement)


def encode_row(span: ReadableSpan, table: str) -> dict[str, Any]:
    """Return the row of the exporter: in a map every attribute is text."""
    context, start = span.get_span_context(), span.start_time or 0
    if context is None:
        raise ValueError("a span without ids")
    encode = _encode_json if _TYPES[table] == "JSON" else _encode_text
    return {
        "Timestamp": f"{start // 10**9}.{start % 10**9:09}",
        "TraceId": format(context.trace_id, "032x"),
        "SpanId": format(context.span_id, "016x"),
        "ParentSpanId": format(span.parent.span_id, "016x") if span.parent else "",
        "TraceState": context.trace_state.to_header(),
        "SpanName": span.name,
        "ServiceName": span.resource.attributes["service.name"],
        "SpanAttributes": {name: encode(value) for name, value in (span.attributes or {}).items()},
        "Duration": (span.end_time or 0) - start,
    }


def _encode_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value)


def _encode_json(value: Any) -> Any:
    """Go writes a number without a fraction as a whole number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
