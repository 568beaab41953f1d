"""The SQLite exporter writes typed rows into a private file, and reads files of other versions."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import (
    SpanContext,
    StatusCode,
)

from promptcache.semconv import (
    CODE_FILE_PATH,
    CODE_LINE_NUMBER,
    ERROR_TYPE,
    GEN_AI_REQUEST_MODEL,
    GEN_AI_REQUEST_STREAM,
    GEN_AI_RESPONSE_FINISH_REASONS,
    GEN_AI_USAGE_INPUT_TOKENS,
    MISS_CONFIDENCE,
    OUTCOME,
    PREFIX_BREAKPOINTS,
    PREFIX_FAMILY,
    PREFIX_HASH,
    READ_TOKENS,
    WRITE_TOKENS_BY_TTL,
)
from promptcache_exporters.database import column, schema
from promptcache_exporters.database import columns as table
from promptcache_exporters.database import sqlite_file as store
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from tests.support.span_builders import (
    HIT,
    START,
    build_spans,
    end_span,
    make_tracer_provider,
    read_rows,
    record_calls,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.db"


def test_a_call_is_one_typed_row(path: Path) -> None:
    record_calls(
        path,
        {
            CODE_FILE_PATH: "app.py",
            CODE_LINE_NUMBER: 7,
            GEN_AI_REQUEST_STREAM: True,
            GEN_AI_RESPONSE_FINISH_REASONS: ("stop",),
            PREFIX_BREAKPOINTS: ("system[0] 1h",),
            MISS_CONFIDENCE: 1,
            WRITE_TOKENS_BY_TTL["1h"]: 3,
        },
    )
    (row,) = read_rows(path)
    expected = {
        "time": START,
        "service": "shop",
        "provider": "openai",
        "request_model": "gpt-5.5",
        "outcome": "hit",
        "batch": 0,
        "input_tokens": 1000,
        "read_tokens": 800,
        "uncached_tokens": 200,
        "output_tokens": 50,
        "write_1h_tokens": 3,
        "write_5m_tokens": None,
        "cost_amount": 0.01,
        "code_file": "app.py",
        "code_line": 7,
        "stream": 1,
        "finish_reasons": '["stop"]',
        "prefix_breakpoints": '["system[0] 1h"]',
        "miss_confidence": 1.0,
        "duration": 2.0,
        "first_chunk": None,
        "sample_ratio": 1.0,
        "parent_span_id": None,
    }
    assert {name: row[name] for name in expected} == expected
    assert (len(row["trace_id"]), len(row["span_id"])) == (32, 16)


def test_unreported_is_null_and_reported_zero_is_zero(path: Path) -> None:
    record_calls(path, {READ_TOKENS: None, OUTCOME: "unreported"}, {READ_TOKENS: 0})
    assert [row["read_tokens"] for row in read_rows(path)] == [None, 0]


def test_only_spans_with_an_outcome_become_rows(path: Path) -> None:
    provider = make_tracer_provider(SQLiteSpanExporter(path))
    end_span(provider, {GEN_AI_USAGE_INPUT_TOKENS: 5, GEN_AI_REQUEST_MODEL: "an agent's span"})
    assert not path.exists()
    # A foreign span may have another count under the standard name.
    end_span(provider, {**HIT, GEN_AI_USAGE_INPUT_TOKENS: 99_999})
    provider.shutdown()
    assert [row["input_tokens"] for row in read_rows(path)] == [1000]


def test_a_span_exported_twice_counts_once(path: Path) -> None:
    exporter = SQLiteSpanExporter(path)
    context = SpanContext(trace_id=1, span_id=2, is_remote=False)
    span = ReadableSpan("chat", context, attributes=HIT, start_time=1, end_time=2)
    for _ in range(2):
        assert exporter.export([span]) is SpanExportResult.SUCCESS
    exporter.shutdown()
    assert len(read_rows(path)) == 1


UNUSUAL_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.binary(),
    st.tuples(st.integers(), st.integers()),
    st.text(st.sampled_from("a\u00e9\ud800\0")),
    st.just("x" * 100_000),
)


# Hypothesis first reads the constants of the sources. On a busy machine that counts as slow.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                *HIT,
                GEN_AI_REQUEST_STREAM,
                GEN_AI_RESPONSE_FINISH_REASONS,
                CODE_LINE_NUMBER,
                ERROR_TYPE,
            ]
        ),
        UNUSUAL_VALUES,
    )
)
def test_hostile_attributes_never_fail_a_batch(attributes: dict[str, Any]) -> None:
    (span,) = build_spans(attributes)
    connection = sqlite3.connect(":memory:")
    connection.execute(schema.CALLS_TABLE.create_statement)
    connection.execute(
        schema.CALLS_TABLE.insert_or_ignore_statement, schema.CALLS_TABLE.row_from_span(span)
    )
    connection.execute(
        f"SELECT sum(input_tokens), sum(cost_amount) FROM {table.CALLS_TABLE_NAME}"
    ).fetchone()
    (size,) = connection.execute(
        f"SELECT max(length(request_model)) FROM {table.CALLS_TABLE_NAME}"
    ).fetchone()
    connection.close()
    assert (size or 0) <= column.MAX_TEXT_LENGTH


@pytest.mark.parametrize("value", [True, -1, 2**62, 1.5, "12", float("nan")])
def test_a_value_that_is_no_count_becomes_null(value: Any) -> None:
    assert column.to_sql_count(value) is None


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 10**400, "0.1", True])
def test_a_value_that_is_no_finite_number_becomes_null(value: Any) -> None:
    assert column.to_sql_real(value) is None


def test_control_and_surrogate_characters_are_replaced() -> None:
    assert column.to_truncated_sql_text("a\0b\ud800") == "a?b?"


def test_no_file_is_created_before_the_first_call(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_PROMPTCACHE_DB", str(path))
    exporter = SQLiteSpanExporter()
    assert exporter.path == path
    assert exporter.export([]) is SpanExportResult.SUCCESS
    assert exporter.force_flush()
    exporter.shutdown()
    assert not path.exists()


def test_the_path_is_fixed_when_the_exporter_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTEL_PROMPTCACHE_DB", raising=False)
    monkeypatch.chdir(tmp_path)
    exporter = SQLiteSpanExporter()
    monkeypatch.chdir("/")
    assert exporter.path == tmp_path / "promptcache.db"


def test_files_are_created_with_mode_600(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes_at_connect: list[int] = []
    connect = store.connect_to_existing_file

    def record_mode_and_connect(path: Path, patience: float) -> sqlite3.Connection:
        modes_at_connect.append(stat.S_IMODE(path.stat().st_mode))
        return connect(path, patience)

    monkeypatch.setattr(store, "connect_to_existing_file", record_mode_and_connect)
    umask = os.umask(0)
    try:
        exporter = SQLiteSpanExporter(path)
        exporter.export(build_spans({}))
        modes_after_export = {
            file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()
        }
    finally:
        os.umask(umask)
    exporter.shutdown()
    assert modes_at_connect == [0o600]
    assert modes_after_export == dict.fromkeys(("calls.db", "calls.db-wal", "calls.db-shm"), 0o600)


def test_the_file_contains_only_values_of_its_columns(path: Path) -> None:
    canary = "canary-7c1f"
    exporter = SQLiteSpanExporter(path)
    provider = make_tracer_provider(exporter)
    attributes = {
        **HIT,
        "gen_ai.input.messages": canary,
        "http.request.header.authorization": canary,
    }
    span = provider.get_tracer(canary).start_span(canary, attributes=attributes)
    span.add_event(canary, {"exception.message": canary})
    span.record_exception(ValueError(canary))
    span.set_status(StatusCode.ERROR, canary)
    span.end()
    written = [file.read_bytes() for file in path.parent.iterdir()]
    provider.shutdown()
    assert len(written) == 3
    assert not any(canary.encode() in content for content in (*written, path.read_bytes()))


def test_a_family_of_its_own_takes_no_room_and_is_in_the_views(path: Path) -> None:
    own = {PREFIX_HASH: "p1:a", PREFIX_FAMILY: "p1:a"}
    record_calls(path, own, {PREFIX_HASH: "p1:b", PREFIX_FAMILY: "p1:a"})
    assert [row["prefix_family"] for row in read_rows(path)] == [None, "p1:a"]
    with store.open_sqlite_read_only(path) as connection:
        families = connection.execute("SELECT prefix_family FROM calls").fetchall()
    assert families == [("p1:a",), ("p1:a",)]


# Versions


def test_an_older_file_gains_the_missing_columns(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute(
        f"CREATE TABLE {table.CALLS_TABLE_NAME} (time REAL NOT NULL,"
        " trace_id TEXT, span_id TEXT, service TEXT)"
    )
    connection.execute(f"INSERT INTO {table.CALLS_TABLE_NAME} VALUES (1.5, 'a', 'b', 'old')")
    connection.execute(f"PRAGMA application_id = {store.APPLICATION_ID}")
    for name, columns in (("span", "trace_id, span_id"), ("time", "time")):
        connection.execute(
            f"CREATE INDEX {table.CALLS_TABLE_NAME}_{name} ON {table.CALLS_TABLE_NAME} ({columns})"
        )
    connection.execute("PRAGMA user_version = 4")
    connection.commit()
    connection.close()
    record_calls(path, {})
    with closing(sqlite3.connect(path)) as reopened:
        names = [name for _, name, *_ in reopened.execute("PRAGMA index_list(llm_calls)")]
    assert sorted(names) == [
        f"llm_calls_{kind}" for kind in ("sampled", "time_and_span", "trace", "unpriced")
    ]
    old, new = read_rows(path)
    assert (old["time"], old["service"], old["input_tokens"]) == (1.5, "old", None)
    assert (new["service"], new["input_tokens"]) == ("shop", 1000)


@pytest.mark.parametrize(
    ("pragma", "kind"),
    [("user_version = 100000", "newer"), ("application_id = 7", "another application")],
)
def test_a_file_of_a_newer_version_or_another_application_is_not_changed(
    path: Path, caplog: pytest.LogCaptureFixture, pragma: str, kind: str
) -> None:
    record_calls(path, {})
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA {pragma}")
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    before = path.read_bytes()
    exporter = SQLiteSpanExporter(path)
    assert [exporter.export(build_spans({})) for _ in range(3)] == [SpanExportResult.FAILURE] * 3
    assert path.read_bytes() == before
    assert [kind in record.message for record in caplog.records] == [True]


def test_a_database_without_an_application_id_is_not_changed(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE customers (name)")
    connection.close()
    before = path.read_bytes()
    assert SQLiteSpanExporter(path).export(build_spans({})) is SpanExportResult.FAILURE
    assert path.read_bytes() == before
    assert "another application" in caplog.text
