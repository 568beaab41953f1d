"""Build spans like promptcache's with the OpenTelemetry SDK, for tests of the local table."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.trace import SpanKind

from promptcache.semconv import (
    COST_AMOUNT,
    COST_WITHOUT_CACHE,
    GEN_AI_PROVIDER_NAME,
    GEN_AI_REQUEST_MODEL,
    INPUT_TOKENS,
    OUTCOME,
    OUTPUT_TOKENS,
    READ_TOKENS,
    UNCACHED_TOKENS,
    WRITE_TOKENS,
)
from promptcache_exporters.database import columns as table
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter

HIT: Final[Mapping[str, Any]] = {
    OUTCOME: "hit",
    GEN_AI_PROVIDER_NAME: "openai",
    GEN_AI_REQUEST_MODEL: "gpt-5.5",
    INPUT_TOKENS: 1000,
    READ_TOKENS: 800,
    WRITE_TOKENS: 0,
    UNCACHED_TOKENS: 200,
    OUTPUT_TOKENS: 50,
    COST_AMOUNT: 0.01,
    COST_WITHOUT_CACHE: 0.03,
}
"""The attributes of a priced call that hit the cache. A value of None omits an attribute."""

START: Final = 1_790_000_000
"""Epoch seconds of the first call of `record_calls`. Each later call starts a minute later."""


def make_tracer_provider(
    exporter: SpanExporter, service: str = "shop", sampler: Sampler = ALWAYS_ON
) -> TracerProvider:
    """Return a tracer provider that exports each span when it ends."""
    provider = TracerProvider(
        resource=Resource({"service.name": service}), sampler=sampler, shutdown_on_exit=False
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def end_span(provider: TracerProvider, attributes: Mapping[str, Any], at: float = START) -> None:
    """Start a span at `at` and end it two seconds later. Omit attributes that are None."""
    start = int(at * 1e9)
    known = {name: value for name, value in attributes.items() if value is not None}
    span = provider.get_tracer("test").start_span(
        "chat", kind=SpanKind.CLIENT, attributes=known, start_time=start
    )
    span.end(start + 2_000_000_000)


def record_calls(
    path: Path, *calls: Mapping[str, Any], service: str = "shop", at: float = START
) -> None:
    """Write a row for each of `calls`, which are changes to `HIT`."""
    exporter = SQLiteSpanExporter(path)
    provider = make_tracer_provider(exporter, service)
    for number, changes in enumerate(calls):
        end_span(provider, {**HIT, **changes}, at + 60 * number)
    provider.shutdown()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of the table, read without promptcache."""
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        return [
            dict(row)
            for row in connection.execute(f"SELECT * FROM {table.CALLS_TABLE_NAME} ORDER BY rowid")
        ]
    finally:
        connection.close()


def build_spans(*attributes: Mapping[str, Any]) -> list[ReadableSpan]:
    """Return ended spans without a context, each with changes to `HIT`."""
    return [
        ReadableSpan("chat", attributes={**HIT, **more}, start_time=1, end_time=2)
        for more in attributes
    ]
