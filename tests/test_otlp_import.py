"""Spans of a Collector's file give the rows that the exporter of the local table writes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from typer.testing import CliRunner, Result

from promptcache.cli.commands import app
from promptcache.cli.exit_codes import ExitCode
from promptcache.semconv import (
    BATCH,
    BATCH_RESULT_FIELDS,
    BATCH_RESULTS,
    CACHE_NAME,
    COST_AMOUNT,
    GEN_AI_OPERATION_NAME,
    GEN_AI_RESPONSE_FINISH_REASONS,
    OUTCOME,
    PREFIX_COMPLETE,
    READ_TOKENS,
)
from promptcache_exporters.database import otlp_json
from promptcache_exporters.database.otlp_import import import_otlp_json
from promptcache_exporters.database.parquet import export_calls_to_parquet
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from tests.support.otlp_json import encode_otlp_json_line
from tests.support.span_builders import HIT, START, end_span, make_tracer_provider, read_rows

BATCH_RESULT = json.dumps([{OUTCOME: "hit"}.get(name) for name in BATCH_RESULT_FIELDS])
CALLS: tuple[dict[str, Any], ...] = (
    {COST_AMOUNT: 0.1 + 0.2, GEN_AI_RESPONSE_FINISH_REASONS: ("a", "b")},
    {OUTCOME: "unreported", READ_TOKENS: None, PREFIX_COMPLETE: True},
    {OUTCOME: None},
    {BATCH: True, BATCH_RESULTS: (BATCH_RESULT, BATCH_RESULT)},
    {OUTCOME: None, CACHE_NAME: "caches/1", GEN_AI_OPERATION_NAME: "create_cache"},
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OTEL_PROMPTCACHE_DB", raising=False)
    return tmp_path


def make_spans() -> tuple[ReadableSpan, ...]:
    memory = InMemorySpanExporter()
    provider = make_tracer_provider(memory)
    for number, changes in enumerate(CALLS):
        end_span(provider, {**HIT, **changes}, START + number + 1 / 3)
    return memory.get_finished_spans()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_an_import_gives_the_rows_of_the_exporter(folder: Path) -> None:
    spans = make_spans()
    SQLiteSpanExporter(folder / "recorded.db").export(spans)
    lines = [encode_otlp_json_line(spans[:2]), "", encode_otlp_json_line(spans[2:])]
    (folder / "spans.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "spans.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    result = run("import", "spans.jsonl", "imported.db", "--unsampled")
    assert result.exit_code == ExitCode.OK
    assert "5 new rows from 5 spans in 3 lines." in " ".join(result.stderr.split())
    assert read_rows(folder / "imported.db") == read_rows(folder / "recorded.db")
    again = run("import", "spans.jsonl.gz", "imported.db")
    assert "0 new rows from 5 spans" in " ".join(again.stderr.split())
    reports = [
        json.loads(run("report", *place, "--json", "--unsampled").stdout)
        for place in (["recorded.db"], ["--from", "spans.jsonl"], ["--from", "spans.jsonl.gz"])
    ]
    assert [Path(report.pop("file")).name for report in reports] == [
        "recorded.db",
        "spans.jsonl",
        "spans.jsonl.gz",
    ]
    assert reports[0]["totals"]["calls"] == 4
    assert reports[1:] == reports[:1] * 2


def test_without_a_promise_the_sample_ratio_is_unknown(folder: Path) -> None:
    (folder / "spans.jsonl").write_text(encode_otlp_json_line(make_spans()))
    result = run("report", "--from", "spans.jsonl", "--fail-below", "0.5")
    assert result.exit_code == ExitCode.SAMPLED
    assert run("report", "--from", "spans.jsonl", "--unsampled").exit_code == ExitCode.OK


BAD_LINES = (
    "no JSON",
    "[]",
    "{",
    '"text"',
    "[" * 100_000,
    '{"a": ' + "9" * 5000 + "}",
)


def test_bad_lines_and_spans_are_counted(folder: Path) -> None:
    good = json.loads(encode_otlp_json_line(make_spans()[:1]))
    (span,) = good["resourceSpans"][0]["scopeSpans"][0]["spans"]
    changes: tuple[dict[str, Any], ...] = (
        {"traceId": "xyz"},
        {"traceId": "0" * 32},
        {"spanId": None},
        {"startTimeUnixNano": "soon"},
        {"startTimeUnixNano": 2**64},
        {"attributes": 7, "spanId": "f" * 16},
    )
    good["resourceSpans"][0]["scopeSpans"][0]["spans"] += [span | change for change in changes]
    logs = '{"resourceLogs": []}'
    (folder / "spans.jsonl").write_text("\n".join([json.dumps(good), *BAD_LINES, logs]))
    counts = import_otlp_json(folder / "spans.jsonl", folder / "calls.db")
    assert (counts.new_rows, counts.read.spans, counts.read.bad_spans) == (1, 2, 5)
    assert (counts.read.lines, counts.read.bad_lines) == (2 + len(BAD_LINES), len(BAD_LINES))
    result = run("report", "--from", "spans.jsonl")
    assert "Not readable: 6 of 8 lines, 5 spans." in " ".join(result.stderr.split())


def test_a_line_beyond_the_limit_is_a_bad_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = encode_otlp_json_line(make_spans()[:1])
    monkeypatch.setattr(otlp_json, "MAX_LINE_BYTES", len(line) + 5)
    (folder / "spans.jsonl").write_text("\n".join(["{" + "x" * 3 * len(line), line, "{" * 9999]))
    counts = import_otlp_json(folder / "spans.jsonl", folder / "calls.db").read
    assert (counts.lines, counts.bad_lines, counts.spans) == (3, 2, 1)


def test_a_file_that_is_cut_off_gives_its_whole_lines(folder: Path) -> None:
    lines = "\n".join([encode_otlp_json_line(make_spans())] * 50).encode()
    (folder / "spans.jsonl.gz").write_bytes(gzip.compress(lines)[:-200])
    counts = import_otlp_json(folder / "spans.jsonl.gz", folder / "calls.db").read
    assert counts.bad_lines == 1
    assert counts.spans >= 5


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x00\x00\x01\x00\x28\xb5\x2f\xfd....", "compression: zstd"),
        (b"\x00\x00\x01\x00\x0a\x04....", "format: json"),
        (b"SQLite format 3\x00", "format: json"),
    ],
)
def test_another_format_is_refused_by_name(folder: Path, content: bytes, words: str) -> None:
    (folder / "spans.jsonl").write_bytes(content)
    for command in (["import", "spans.jsonl"], ["report", "--from", "spans.jsonl"]):
        result = run(*command)
        assert result.exit_code == ExitCode.NOT_A_TABLE
        assert words in " ".join(result.stderr.split())
    assert not (folder / "promptcache.db").exists()


def test_a_missing_file_has_the_exit_code_of_a_missing_file() -> None:
    assert run("import", "no.jsonl").exit_code == ExitCode.NO_FILE
    assert run("report", "--from", "no.jsonl").exit_code == ExitCode.NO_FILE
    assert run("report", "--from", "no/*.parquet").exit_code == ExitCode.NO_FILE
    assert run("report", "calls.db", "--from", "spans.jsonl").exit_code == ExitCode.USAGE


JSON_KEYS = [
    "resourceSpans",
    "scopeSpans",
    "spans",
    "attributes",
    "key",
    "value",
    "arrayValue",
    "values",
    "intValue",
    "stringValue",
    "doubleValue",
    "resource",
    "traceId",
    "spanId",
    "startTimeUnixNano",
]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(
            st.sampled_from(JSON_KEYS),
            values,
        )
    ),
    max_leaves=30,
)


@given(JSON_VALUES)
def test_no_message_raises_an_error(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.mktemp("odd") / "spans.jsonl"
    path.write_text(json.dumps({"resourceSpans": value}))
    counts = otlp_json.ReadCounts()
    for span in otlp_json.read_otlp_json_spans(path, counts):
        assert span.context
    assert counts.lines == 1


def test_a_pattern_reads_several_exports_and_counts_a_call_once(folder: Path) -> None:
    spans = make_spans()
    for number, part in enumerate((spans[:1], spans[:2], spans[2:])):
        SQLiteSpanExporter(folder / f"{number}.db").export(part)
        export_calls_to_parquet(folder / f"{number}.db", folder / f"{number}.parquet")
    SQLiteSpanExporter(folder / "all.db").export(spans)
    from_files = json.loads(run("report", "--from", "*.parquet", "--json").stdout)
    from_table = json.loads(run("report", "all.db", "--json").stdout)
    assert from_files["totals"] == from_table["totals"]
    assert from_files["groups"] == from_table["groups"]
