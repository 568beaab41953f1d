"""The recipes of the README run as printed. Only the address of the backend is replaced by a
receiver on loopback."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import grpc  # type: ignore[import-untyped]  # it ships no types
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service

from promptcache.semconv import OUTCOME, READ_TOKENS
from promptcache_emulator.server import running_server
from tests.alerts_e2e.local_services import free_port

README = (Path(__file__).parent.parent / "README.md").read_text()
APP = """
import sys
from openai import OpenAI

client = OpenAI()
for question in ("Where is it?", "And now?", "Really?"):
    system = {"role": "system", "content": "Follow the handbook. " * 1000}
    prompt = [system, {"role": "user", "content": question}]
    client.chat.completions.create(model="gpt-5.4", messages=prompt)
print("done", flush=True)
sys.stdin.read()
"""
CALLS = 3


def read_recipe(title: str) -> str:
    """Return the commands below a heading of the README, without `pip install`."""
    (block,) = re.findall(rf"^### {title}.*?\n```sh\n(.*?)```", README, re.MULTILINE | re.DOTALL)
    return "\n".join(line for line in block.splitlines() if not line.startswith("pip install"))


@pytest.fixture
def model() -> Iterator[str]:
    with running_server() as url:
        yield url


class OTLPReceiver(service.TraceServiceServicer):
    """An OTLP backend for gRPC and HTTP. It keeps spans, metric names, and headers by path."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.metrics: set[str] = set()
        self.headers: dict[str, Mapping[str, str]] = {}

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        for resource in request.resource_spans:
            (name,) = (
                pair.value.string_value
                for pair in resource.resource.attributes
                if pair.key == "service.name"
            )
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                values = {
                    pair.key: pair.value.string_value or pair.value.int_value
                    for pair in span.attributes
                }
                self.spans.append(values | {"service": name})
        return messages.ExportTraceServiceResponse()

    def receive(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            self.Export(messages.ExportTraceServiceRequest.FromString(body), None)
            return
        assert path == "/v1/metrics"
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            self.metrics |= {
                metric.name for scope in resource.scope_metrics for metric in scope.metrics
            }


@pytest.fixture
def http_receiver() -> Iterator[tuple[OTLPReceiver, str]]:
    receiver = OTLPReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.headers[self.path] = dict(self.headers)
            receiver.receive(
                self.path,
                gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body,
            )
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # name of the base
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield receiver, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def grpc_receiver() -> Iterator[tuple[OTLPReceiver, str]]:
    receiver, server = OTLPReceiver(), grpc.server(ThreadPoolExecutor(2))
    generated_code = cast("Any", service)
    generated_code.add_TraceServiceServicer_to_server(receiver, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield receiver, f"http://127.0.0.1:{port}"
    server.stop(None).wait()


def start_recipe(commands: str, folder: Path, model: str, **more: str) -> subprocess.Popen[str]:
    """Start a recipe, and return when its application has made its calls.

    The application ends when its standard input ends.
    """
    (folder / "app.py").write_text(APP)
    variables = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OPENAI_API_KEY": "no-key-needed",
    }
    env = os.environ | variables | {"OPENAI_BASE_URL": f"{model}/v1"} | more
    pipe = subprocess.PIPE
    shell = subprocess.Popen(
        ["bash", "-ec", commands], cwd=folder, env=env, stdin=pipe, stdout=pipe, text=True
    )
    assert shell.stdout is not None
    assert shell.stdout.readline() == "done\n"
    return shell


def run_recipe(commands: str, folder: Path, model: str, **more: str) -> None:
    with start_recipe(commands, folder, model, **more) as shell:
        shell.communicate(timeout=30)
    assert shell.returncode == 0


def assert_all_calls_received(receiver: OTLPReceiver) -> None:
    assert len(receiver.spans) == CALLS
    assert {span["service"] for span in receiver.spans} == {"my-app"}
    assert [span[OUTCOME] for span in receiver.spans] == ["cold", "hit", "hit"]
    assert receiver.spans[-1][READ_TOKENS] > 1024


def test_the_jaeger_recipe_exports_all_calls(
    grpc_receiver: tuple[OTLPReceiver, str], model: str, tmp_path: Path
) -> None:
    receiver, url = grpc_receiver
    commands = read_recipe("Jaeger")
    assert "http://localhost:4317" in commands
    run_recipe(commands.replace("http://localhost:4317", url), tmp_path, model)
    assert_all_calls_received(receiver)


def test_the_honeycomb_recipe_exports_all_calls_with_its_headers(
    http_receiver: tuple[OTLPReceiver, str], model: str, tmp_path: Path
) -> None:
    receiver, url = http_receiver
    commands = read_recipe("Honeycomb")
    assert "https://api.honeycomb.io" in commands
    run_recipe(
        commands.replace("https://api.honeycomb.io", url), tmp_path, model, HONEYCOMB_KEY="my-key"
    )
    assert_all_calls_received(receiver)
    assert "promptcache.read.tokens" in receiver.metrics
    spans, metrics = (receiver.headers[f"/v1/{signal}"] for signal in ("traces", "metrics"))
    assert (spans["x-honeycomb-team"], metrics["x-honeycomb-team"]) == ("my-key", "my-key")
    assert metrics["x-honeycomb-dataset"] == "my-app-metrics"


def test_the_phoenix_recipe_exports_all_calls_and_no_metrics(
    http_receiver: tuple[OTLPReceiver, str], model: str, tmp_path: Path
) -> None:
    receiver, url = http_receiver
    commands = read_recipe("Phoenix")
    assert "http://localhost:6006" in commands
    run_recipe(commands.replace("http://localhost:6006", url), tmp_path, model)
    assert_all_calls_received(receiver)
    assert not receiver.metrics


def test_the_prometheus_recipe_serves_the_named_metrics(model: str, tmp_path: Path) -> None:
    port = str(free_port())
    with start_recipe(
        read_recipe("Prometheus"), tmp_path, model, OTEL_EXPORTER_PROMETHEUS_PORT=port
    ) as shell:
        with urllib.request.urlopen(f"http://localhost:{port}/metrics", timeout=5) as response:
            text = response.read().decode()
        shell.communicate(timeout=30)
    names = set(re.findall(r"promptcache_\w+_total", README))
    assert names
    assert all(f"\n{name}{{" in text for name in names)
    assert 'service_name="my-app"' in text
