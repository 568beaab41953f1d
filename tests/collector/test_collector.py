"""A real collector with the generated configuration has exact counters under tail sampling.

`make collector` builds it and runs this test. `PROMPTCACHE_COLLECTOR` is the path of the program.
"""

from __future__ import annotations

import os
import re
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import grpc  # type: ignore[import-untyped]  # it ships no types
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, Sampler, SamplingResult
from opentelemetry.trace import TraceState

from promptcache.semconv import (
    BATCH,
    GEN_AI_REQUEST_MODEL,
    INPUT_TOKENS,
    OUTCOME,
    PREFIX_HASH,
    READ_TOKENS,
    WASTED_USD,
)
from promptcache_exporters.alerts import collector
from promptcache_exporters.alerts.definition import DEFAULT_DEFINITION
from tests.alerts_e2e.local_services import free_port, running_program, wait_until

PROGRAM = os.environ.get("PROMPTCACHE_COLLECTOR", "otelcol-promptcache")
HITS, MISSES, COLD, EXPENSIVE, SAMPLED = 400, 30, 20, 10, 6


@dataclass
class TraceReceiver(service.TraceServiceServicer):
    """The spans that the collector exports to the address of Jaeger."""

    spans: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += [
                    {pair.key: pair.value.string_value for pair in span.attributes}
                    for span in scope.spans
                ]
        return messages.ExportTraceServiceResponse()


@contextmanager
def running_receiver() -> Generator[tuple[TraceReceiver, int]]:
    receiver, server = TraceReceiver(), grpc.server(ThreadPoolExecutor(2))
    generated_code = cast("Any", service)
    generated_code.add_TraceServiceServicer_to_server(receiver, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield receiver, port
    finally:
        server.stop(None)


class HalfSampler(Sampler):
    """Record each span with the trace state of a consistent sampler of 50 %."""

    def should_sample(
        self,
        parent_context: Any,
        trace_id: int,
        name: str,
        kind: Any = None,
        attributes: Any = None,
        links: Any = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, TraceState([("ot", "th:8")]))

    def get_description(self) -> str:
        return "HalfSampler"


def send_calls(endpoint: str) -> None:
    """Send hits, misses, cold calls, expensive partial reads, a batch result and sampled calls."""
    send_spans(
        endpoint,
        [
            ("hit", 800, 0.0, HITS),
            ("miss", 0, 0.001, MISSES),
            ("cold", 0, 0.0, COLD),
            ("partial", 100, 0.5, EXPENSIVE),
        ],
    )
    send_spans(endpoint, [("prewarm", 0, 0.0, SAMPLED)], HalfSampler())


def send_spans(
    endpoint: str, rows: list[tuple[str, int, float, int]], sampler: Sampler = ALWAYS_ON
) -> None:
    provider = TracerProvider(resource=Resource({"service.name": "shop"}), sampler=sampler)
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces"), max_queue_size=4096)
    )
    tracer = provider.get_tracer("test")
    for outcome, read, waste, times in rows:
        for _ in range(times):
            numbers = {INPUT_TOKENS: 1000, READ_TOKENS: read, WASTED_USD: waste}
            texts = {
                OUTCOME: outcome,
                GEN_AI_REQUEST_MODEL: "gpt-5.4",
                PREFIX_HASH: f"p1:{outcome}",
            }
            tracer.start_span("chat gpt-5.4", attributes={**numbers, **texts}).end()
    if sampler is ALWAYS_ON:
        tracer.start_span(
            "chat gpt-5.4", attributes={OUTCOME: "hit", INPUT_TOKENS: 7, BATCH: True}
        ).end()
    tracer.start_span("GET /").end()
    provider.shutdown()


def scrape_counters(url: str) -> dict[tuple[str, str, str], float]:
    """Return the values that Prometheus scrapes, by counter name, outcome and batch flag."""
    with urllib.request.urlopen(url, timeout=5) as response:
        text = response.read().decode()
    counters: dict[tuple[str, str, str], float] = {}
    for name, labels, value in re.findall(
        r"^(promptcache_spans_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE
    ):
        pairs = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        assert (pairs["job"], pairs.get("gen_ai_request_model", "gpt-5.4")) == ("shop", "gpt-5.4")
        counters[name, pairs["promptcache_outcome"], pairs["promptcache_batch"]] = float(value)
    return counters


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the generated configuration."""
    folder = tmp_path_factory.mktemp("collector")
    for name, text in collector.render_files_by_path(DEFAULT_DEFINITION).items():
        (folder / Path(name).name).write_text(text)
    return folder


@pytest.mark.parametrize("files", [["promptcache.yaml"], ["promptcache.yaml", "clickhouse.yaml"]])
def test_the_configuration_is_valid(configuration: Path, files: list[str]) -> None:
    options = [f"--config={configuration / name}" for name in files]
    process = subprocess.run(
        [PROGRAM, "validate", *options], capture_output=True, text=True, check=False, timeout=30
    )
    assert process.returncode == 0, process.stderr


def test_counters_are_exact_and_traces_of_misses_are_kept(configuration: Path) -> None:
    http, metrics = free_port(), free_port()
    all_calls = HITS + MISSES + COLD + EXPENSIVE + 1 + 2 * SAMPLED
    with running_receiver() as (receiver, jaeger):
        ports = {
            "PROMPTCACHE_HTTP_PORT": http,
            "PROMPTCACHE_PROMETHEUS_PORT": metrics,
            "PROMPTCACHE_GRPC_PORT": free_port(),
        }
        env = {name: str(port) for name, port in ports.items()}
        env |= {"JAEGER_ENDPOINT": f"127.0.0.1:{jaeger}", "PROMPTCACHE_WAIT": "1s"}
        # The metrics of the collector itself have a fixed port, which another collector may use.
        (configuration / "quiet.yaml").write_text("service: {telemetry: {metrics: {level: none}}}")
        configs = [
            f"--config={configuration / name}" for name in ("promptcache.yaml", "quiet.yaml")
        ]
        with running_program(configuration / "log", PROGRAM, *configs, env=env):
            url = f"http://127.0.0.1:{metrics}/metrics"
            wait_until("the collector listens", lambda: scrape_counters(url) == {}, 20)
            send_calls(f"http://127.0.0.1:{http}")
            wait_until(
                "all calls are counted", lambda: count_calls(scrape_counters(url)) == all_calls, 20
            )
            counters = scrape_counters(url)
            wait_until(
                "the traces of misses arrive",
                lambda: count_outcomes(receiver)["miss"] == MISSES,
                20,
            )
            wait_until(
                "the traces of cold and expensive calls arrive",
                lambda: (
                    (count_outcomes(receiver)["cold"], count_outcomes(receiver)["partial"])
                    == (COLD, EXPENSIVE)
                ),
                5,
            )
    tokens = {
        outcome: counters["promptcache_spans_input_tokens_total", outcome, "false"]
        for outcome in ("hit", "miss")
    }
    assert tokens == {"hit": HITS * 1000, "miss": MISSES * 1000}
    assert counters["promptcache_spans_read_tokens_total", "hit", "false"] == HITS * 800
    assert counters["promptcache_spans_input_tokens_total", "hit", "true"] == 7
    assert (
        counters["promptcache_spans_input_tokens_total", "prewarm", "false"] == 2 * SAMPLED * 1000
    )
    assert counters["promptcache_spans_wasted_usd_total", "partial", "false"] == pytest.approx(
        EXPENSIVE * 0.5
    )
    assert count_outcomes(receiver)["hit"] < HITS / 4, "the tail sampler keeps 5 % of the hits"


def count_calls(counters: dict[tuple[str, str, str], float]) -> float:
    return sum(
        value for (name, _, _), value in counters.items() if name == "promptcache_spans_calls_total"
    )


def count_outcomes(receiver: TraceReceiver) -> Counter[str]:
    return Counter(span.get(OUTCOME, "") for span in receiver.spans)
