"""Requests contain canary words. No byte that leaves the process contains one of them."""

from __future__ import annotations

import gzip
import io
import logging
import re
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from rich.console import Console

from promptcache import PromptCacheInstrumentor, Settings
from promptcache.common import safely as safety
from promptcache.providers.prompt import BlockCollector
from promptcache.semconv import GEN_AI_REQUEST_MODEL, PREFIX_HASH
from promptcache_emulator.engine import Emulator
from promptcache_exporters.database import parquet
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from promptcache_exporters.explain import query as explain
from promptcache_exporters.explain.render import print_comparisons, render_comparisons_json
from promptcache_exporters.page.html_file import render_html
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.json import render_report_json
from promptcache_exporters.report.query import collect_report
from promptcache_exporters.report.terminal import print_report
from tests.support.canaries import CALLS_WITH_CANARIES, CANARY, canary_encodings, canary_hashes
from tests.support.telemetry import Telemetry

# google-genai 3.4 makes a subclass that aiohttp 3.14 warns of.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"
)

grpc: Any = import_module("grpc")  # it has no types

MakeCalls = Callable[[str, Telemetry], None]
KEYS = {"public hashes": None, "keyed, everything": f"{CANARY}-secret"}


@pytest.fixture(params=KEYS)
def telemetry(request: pytest.FixtureRequest) -> Iterator[Telemetry]:
    telemetry, key = Telemetry(), KEYS[request.param]
    telemetry.settings = Settings(hash_key=key, hashes="all" if key else "static")
    telemetry.instrument(telemetry.settings)
    yield telemetry
    PromptCacheInstrumentor().uninstrument()


@contextmanager
def http_collector(requests: list[bytes]) -> Generator[str]:
    """Serve OTLP over HTTP, and append each request with its headers to `requests`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            requests.append(bytes(self.headers) + self.path.encode() + gzip.decompress(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name of the base class
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def grpc_collector(requests: list[bytes]) -> Generator[str]:
    """Serve OTLP over gRPC, and append each message to `requests`. gRPC decompresses it."""

    def find_handler(call: Any) -> Any:
        def append(message: bytes, context: Any) -> bytes:
            requests.append(repr(call).encode() + message)
            return b""

        return grpc.unary_unary_rpc_method_handler(append)

    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers=[SimpleNamespace(service=find_handler)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"http://127.0.0.1:{port}"
        server.stop(None).wait()


def otlp_output(telemetry: Telemetry) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each OTLP transport."""
    metrics: Any = telemetry.reader.get_metrics_data()
    over_http, over_grpc = list[bytes](), list[bytes]()
    with http_collector(over_http) as url:
        by_http: Any = ((HttpSpans, "traces", telemetry.spans), (HttpMetrics, "metrics", metrics))
        for exporter, path, data in by_http:
            otlp_exporter = exporter(f"{url}/v1/{path}", compression=Compression.Gzip)
            otlp_exporter.export(data)
            otlp_exporter.shutdown()
    with grpc_collector(over_grpc) as url:
        by_grpc: Any = ((GrpcSpans, telemetry.spans), (GrpcMetrics, metrics))
        for exporter, data in by_grpc:
            otlp_exporter = exporter(endpoint=url, insecure=True, compression=grpc.Compression.Gzip)
            otlp_exporter.export(data)
            otlp_exporter.shutdown()
    for name, requests in (("OTLP over HTTP", over_http), ("OTLP over gRPC", over_grpc)):
        assert len(requests) == 2
        yield name, b"".join(requests)


def local_table_output(telemetry: Telemetry, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the files of the open and the closed table, its export and its reports."""
    table, out = folder / "calls.db", folder / "calls.parquet"
    exporter = SQLiteSpanExporter(str(table))
    exporter.export(telemetry.spans)
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == ["calls.db", "calls.db-shm", "calls.db-wal"]
    yield "table, being written", b"".join(file.read_bytes() for file in files)
    exporter.shutdown()
    yield "table", table.read_bytes()
    parquet.export_calls_to_parquet(table, out)
    yield (
        "export",
        out.read_bytes()
        + repr(duckdb.execute("SELECT * FROM read_parquet(?)", [str(out)]).fetchall()).encode(),
    )
    text = io.StringIO()
    console = Console(file=text, width=200)
    for by in GroupBy:
        report = collect_report(table, by=by)
        print_report(report, console, 0)
        yield f"report by {by}", (render_report_json(report) + render_html(report)).encode()
    trace_ids = {f"{span.context.trace_id:032x}" for span in telemetry.spans if span.context}
    comparisons = explain.compare_costliest_misses(table, 9)
    for trace_id in sorted(trace_ids):
        comparisons += explain.compare_trace_calls(table, trace_id)
    assert comparisons
    print_comparisons(comparisons, console)
    yield (
        "report and explanation",
        (text.getvalue() + render_comparisons_json(comparisons)).encode(),
    )


def log_output(caplog: pytest.LogCaptureFixture) -> bytes:
    """Return our log messages of all levels with their tracebacks."""
    ours = [record for record in caplog.records if record.name.startswith("promptcache")]
    return "\n".join(map(logging.Formatter("%(message)s %(args)s").format, ours)).encode()


@pytest.mark.parametrize("make_calls", CALLS_WITH_CANARIES.values(), ids=CALLS_WITH_CANARIES)
def test_no_canary_leaves_the_process(
    make_calls: MakeCalls,
    telemetry: Telemetry,
    emulator_url: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    make_calls(emulator_url, telemetry)
    calls = [span.attributes or {} for span in telemetry.calls]
    assert len(calls) >= 4
    assert any(call.get(PREFIX_HASH) for call in calls)
    output = dict(
        [
            *otlp_output(telemetry),
            *local_table_output(telemetry, tmp_path),
            ("log", log_output(caplog)),
        ]
    )
    assert all(
        str(calls[0][GEN_AI_REQUEST_MODEL]).encode() in output[name]
        for name in output
        if name.startswith("OTLP")
    )
    words = [*canary_encodings(), *canary_hashes()]
    assert not [(name, word) for name, text in output.items() for word in words if word in text]


def test_a_logged_failure_contains_no_exception_message(
    telemetry: Telemetry,
    emulator_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)

    def fail(*_: object) -> None:
        raise ValueError(CANARY)

    safety.failure_counts.clear()
    monkeypatch.setattr(BlockCollector, "add", fail)
    CALLS_WITH_CANARIES["openai"](emulator_url, telemetry)
    assert b"ValueError" in log_output(caplog)
    assert CANARY.encode() not in log_output(caplog)


def test_every_exported_hash_depends_on_the_key(emulator: Emulator, emulator_url: str) -> None:
    """Two keys give no common hash, and the same key gives the same hashes again."""

    def exported_hashes(key: str) -> set[str]:
        emulator.reset()
        telemetry = Telemetry()
        telemetry.instrument(Settings(hash_key=key, hashes="all"))
        CALLS_WITH_CANARIES["openai"](emulator_url, telemetry)
        PromptCacheInstrumentor().uninstrument()
        return set(
            re.findall(r"\b\w+:[0-9a-f]{16}\b", "".join(span.to_json() for span in telemetry.calls))
        )

    one, again, other = (exported_hashes(key) for key in ("one", "one", "other"))
    assert one == again
    assert len(one) > 9
    assert not one & other
