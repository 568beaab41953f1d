"""`promptcache engine` prints SQL, and `report --from clickhouse://` asks a server and explains."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner, Result

from promptcache.cli.commands import app
from promptcache.cli.engine import Engine
from promptcache.cli.exit_codes import ExitCode
from promptcache_exporters.alerts.counter_figures import COUNTER_FIGURES
from promptcache_exporters.database import clickhouse
from promptcache_exporters.database.clickhouse import ClickHouseServer
from promptcache_exporters.database.clickhouse_view import (
    TYPED_COLUMNS,
    TYPED_NAMES,
    AttributeStorage,
)
from promptcache_exporters.database.columns import CALL_COLUMNS
from promptcache_exporters.database.dialect import CLICKHOUSE, DIALECTS
from promptcache_exporters.database.errors import EngineError
from promptcache_exporters.database.source import open_calls_source
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.figures import FIGURES
from promptcache_exporters.report.sql import QUERIES, figures_by_group_sql
from promptcache_exporters.report.unread_writes import UNREAD_WRITES_QUERY


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_every_dialect_is_an_engine_of_the_command() -> None:
    assert [*Engine] == [*DIALECTS, Engine.PROMETHEUS]


@pytest.mark.parametrize("name", DIALECTS)
def test_the_query_names_every_figure(name: str) -> None:
    result = run("engine", name, "--query", "report", "--by", "callsite", "--table", "my.calls")
    assert result.exit_code == ExitCode.OK
    assert all(f" AS {figure}" in result.stdout for figure in FIGURES)
    assert "FROM my.calls" in result.stdout
    assert ("never run" in result.stdout) is not DIALECTS[name].is_executed


def test_the_view_has_every_column_of_the_table() -> None:
    statement = run("engine", "clickhouse").stdout
    assert all(f" AS {column.name}" in statement for column in CALL_COLUMNS)
    assert "CREATE OR REPLACE VIEW promptcache_calls" in statement
    assert "ALTER" not in statement


def test_typed_columns_are_added_once_and_cover_what_a_report_reads() -> None:
    statements = run("engine", "clickhouse", "--attributes", "typed").stdout
    assert statements.count("ADD COLUMN IF NOT EXISTS") == len(TYPED_NAMES)
    assert "ALTER TABLE my.spans" in (
        run("engine", "clickhouse", "--attributes", "typed", "--table", "my.spans").stdout
    )
    names = {column.name for column in CALL_COLUMNS if column.attribute or "ratio" in column.name}
    queries = [query.sql for query in (*QUERIES, UNREAD_WRITES_QUERY)]
    queries += [figures_by_group_sql(by, CLICKHOUSE, FIGURES, "calls", "") for by in GroupBy]
    read = {word for query in queries for word in re.findall(r"\w+", query)} & names
    assert read == {column.name for column in TYPED_COLUMNS}


@pytest.mark.parametrize("storage", AttributeStorage)
def test_a_span_counts_once_only_if_that_is_asked_for(storage: str) -> None:
    once = run("engine", "clickhouse", "--attributes", storage, "--deduplicate").stdout
    twice = run("engine", "clickhouse", "--attributes", storage).stdout
    assert ("LIMIT 1 BY TraceId, SpanId" in once, "LIMIT" in twice) == (True, False)


def test_counters_give_figures_only_for_groups_that_they_have() -> None:
    query = run("engine", "prometheus", "--query", "report", "--by", "model").stdout
    assert all(f'"figure", "{name}"' in query for name in COUNTER_FIGURES)
    by_outcome = run("engine", "prometheus", "--query", "report", "--by", "outcome").stdout
    assert '"total_calls"' in by_outcome
    assert '"cost_usd"' not in by_outcome
    for arguments in (("--by", "prefix"), ("--window", "a day"), ("--service-label", "a b")):
        result = run("engine", "prometheus", "--query", "report", *arguments)
        assert result.exit_code == ExitCode.USAGE


def test_an_engine_without_a_view_needs_a_query() -> None:
    assert run("engine", "postgres").exit_code == ExitCode.USAGE


class Stub:
    """A server that gives one answer, and keeps the requests."""

    def __init__(self) -> None:
        self.status, self.body, self.location = 200, b"", ""
        self.requests: list[tuple[str, dict[str, str], str]] = []


@pytest.fixture
def stub() -> Iterator[tuple[Stub, str]]:
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            stub.requests.append((self.path, dict(self.headers), body.decode()))
            self.send_response(stub.status)
            if stub.location:
                self.send_header("location", stub.location)
            self.send_header("content-length", str(len(stub.body)))
            self.end_headers()
            self.wfile.write(stub.body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # name of the base
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield stub, f"clickhouse://reader@127.0.0.1:{server.server_address[1]}/otel"
    server.shutdown()
    thread.join()
    server.server_close()


def test_values_keep_all_their_digits(
    stub: tuple[Stub, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = stub
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "no-secret")
    meta = [
        {"name": "a", "type": "Nullable(Int128)"},
        {"name": "b", "type": "Float64"},
        {"name": "c", "type": "Nullable(UInt64)"},
        {"name": "d", "type": "String"},
    ]
    data = [["170141183460469231731687303715884105727", 0.1, None, "7"]]
    server.body = json.dumps({"meta": meta, "data": data}).encode()
    result = ClickHouseServer.from_url(url).execute("SELECT ? FROM calls", (0.1 + 0.2,))
    assert result.fetchall() == [[2**127 - 1, 0.1, None, "7"]]
    assert result.description == [("a",), ("b",), ("c",), ("d",)]
    ((path, headers, body),) = server.requests
    settings = parse_qs(urlsplit(path).query)
    assert settings["param_p0"] == ["0.30000000000000004"]
    assert (settings["readonly"], settings["database"]) == (["2"], ["otel"])
    assert body.endswith("SELECT {p0:Float64} FROM calls")
    assert "no-secret" not in path + body
    assert (headers["X-ClickHouse-User"], headers["X-ClickHouse-Key"]) == ("reader", "no-secret")


# The first lines as ClickHouse 26.9 writes them (DB::Exception of src/Common/ErrorCodes.cpp).
REFUSALS = (
    (404, "Code: 60. DB::Exception: Unknown table expression identifier", "promptcache engine"),
    (404, "Code: 47. DB::Exception: Unknown expression identifier", "of an older promptcache"),
    (404, "Code: 81. DB::Exception: Database otle does not exist", "no such database"),
    (403, "Code: 497. DB::Exception: reader: Not enough privileges.", "GRANT SELECT"),
    (403, "Code: 516. DB::Exception: reader: Authentication failed", "CLICKHOUSE_PASSWORD"),
    (500, "Code: 164. DB::Exception: Cannot modify setting in readonly mode", "readonly = 2"),
    (500, "Code: 241. DB::Exception: Memory limit exceeded", "Memory limit exceeded"),
    (502, "<html>Bad gateway</html>", "did not answer as ClickHouse does (HTTP 502)"),
    (200, "<html>hello</html>", "did not answer as ClickHouse does"),
    (200, '{"meta": [], "data": [[1]]}', "did not answer as ClickHouse does"),
)


@pytest.mark.parametrize(("status", "body", "words"), REFUSALS)
def test_a_refusal_says_what_to_do(
    stub: tuple[Stub, str], status: int, body: str, words: str
) -> None:
    server, url = stub
    server.status, server.body = status, body.encode()
    result = run("report", "--from", url)
    assert result.exit_code == ExitCode.USAGE
    assert words in " ".join(result.stderr.split())


def test_a_redirect_is_not_followed(stub: tuple[Stub, str]) -> None:
    server, url = stub
    server.status, server.location = 307, url.replace("clickhouse://reader@", "http://")
    assert "HTTP 307" in " ".join(run("report", "--from", url).stderr.split())
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("clickhouse://reader:secret@localhost/otel", "Put the password into CLICKHOUSE_PASSWORD"),
        ("clickhouse:///otel", "The URL has the form"),
        ("clickhouse://localhost:x/otel", "The URL has the form"),
        ("clickhouse://127.0.0.1:1/otel", "cannot be reached"),
        ("clickhouses://127.0.0.1:1/otel", "cannot be reached"),
    ],
)
def test_a_wrong_url_is_explained(url: str, words: str) -> None:
    result = run("report", "--from", url)
    assert result.exit_code == ExitCode.USAGE
    assert words in " ".join(result.stderr.split())
    assert "secret" not in result.stderr


def answer_size(server: Stub, columns: int, parts: int) -> None:
    names = ("typed_columns", "parts", "all_rows", "all_bytes")
    meta = [{"name": name, "type": "UInt64"} for name in names]
    data = [[columns, parts, "2000000", "123456789"]]
    server.body = json.dumps({"meta": meta, "data": data}).encode()


def test_a_backfill_says_its_size_and_starts_only_when_confirmed(stub: tuple[Stub, str]) -> None:
    server, url = stub
    answer_size(server, len(TYPED_NAMES), 3)
    result = run("backfill", url)
    assert result.exit_code == ExitCode.OK
    assert "2,000,000 rows in 3 parts" in result.stdout
    assert "123.5 MB" in result.stdout
    ((path, _, body),) = server.requests
    assert "readonly=2" in path
    assert body.startswith("SELECT")
    assert "Started" in run("backfill", url, "--yes").stdout
    path, _, body = server.requests[-1]
    assert body.startswith("ALTER TABLE otel_traces")
    assert body.count("MATERIALIZE COLUMN") == len(TYPED_NAMES)
    assert "readonly" not in path


def test_a_backfill_with_nothing_to_do_changes_nothing(stub: tuple[Stub, str]) -> None:
    server, url = stub
    answer_size(server, len(TYPED_NAMES), 0)
    assert "of all rows are computed" in run("backfill", url, "--yes").stdout
    assert len(server.requests) == 1


def test_a_backfill_needs_the_columns_first(stub: tuple[Stub, str]) -> None:
    server, url = stub
    answer_size(server, 7, 3)
    result = run("backfill", url, "--yes")
    assert result.exit_code == ExitCode.USAGE
    assert "7 of 38 typed columns" in " ".join(result.stderr.split())
    assert len(server.requests) == 1


@pytest.mark.parametrize("command", [("explain", "--worst", "1"), ("whatif",)])
def test_other_commands_explain_a_refusal_too(stub: tuple[Stub, str], command: list[str]) -> None:
    server, url = stub
    server.status, server.body = 404, b"Code: 60. DB::Exception: Unknown table"
    result = run(*command, "--from", url)
    assert result.exit_code == ExitCode.USAGE
    assert "There is no view promptcache_calls" in " ".join(result.stderr.split())


@pytest.mark.parametrize("text", ["it's", "a\\b", "tab\tline\n", ""])
def test_a_text_is_a_parameter_with_escapes(stub: tuple[Stub, str], text: str) -> None:
    server, url = stub
    server.body = b'{"meta": [], "data": []}'
    ClickHouseServer.from_url(url).execute("SELECT ?, ?", (text, 7))
    ((path, _, body),) = server.requests
    settings = parse_qs(urlsplit(path).query, keep_blank_values=True)
    assert settings["param_p0"][0].encode().decode("unicode_escape") == text
    assert settings["param_p1"] == ["7"]
    assert body.endswith("SELECT {p0:String}, {p1:Int64}")


@pytest.mark.parametrize("condition", ["", "time < ?"])
def test_a_statement_reads_the_view_of_the_server_as_calls(
    stub: tuple[Stub, str], condition: str
) -> None:
    server, url = stub
    server.body = b'{"meta": [], "data": []}'
    with open_calls_source(url) as source:
        if condition:
            source = source.select_calls(condition, (7.5,))
        with source.open() as connection:
            connection.execute("SELECT count(*) FROM calls")
    ((_, _, body),) = server.requests
    where = " WHERE time < {p0:Float64}" if condition else ""
    view = f"SELECT * FROM promptcache_calls{where}"
    assert body == f"WITH calls AS ({view}) SELECT count(*) FROM calls"


def test_a_server_that_is_too_slow_is_not_called_unreachable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clickhouse, "TIMEOUT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        result = run("report", "--from", f"clickhouse://127.0.0.1:{silent.getsockname()[1]}/otel")
    assert result.exit_code == ExitCode.USAGE
    assert "did not answer within 0.05 s" in " ".join(result.stderr.split())


def test_a_certificate_of_nobody_is_refused(stub: tuple[Stub, str]) -> None:
    with pytest.raises(EngineError, match="cannot be reached"):
        ClickHouseServer.from_url(stub[1].replace("clickhouse:", "clickhouses:")).execute(
            "SELECT 1"
        )
