"""A collector with the committed configuration: counters stay exact under tail sampling, traces of
misses are kept.

Run by `make collector`, which builds it; `PROMPTCACHE_COLLECTOR` names the program.
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
from typing import Any

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
from tests.alerts_e2e.stage import free_port, started, wait

PROGRAM = os.environ.get("PROMPTCACHE_COLLECTOR", "otelcol-promptcache")
HITS, MISSES, COLD, DEAR, HALVED = 400, 30, 20, 10, 6


@dataclass
class Sink(service.TraceServiceServicer):
    """Stands where Jaeger would: keeps what the collector exports."""

    spans: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802  # the name of the remote call
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += [
                    {pair.key: pair.value.string_value for pair in span.attributes}
                    for span in scope.spans
                ]
        return messages.ExportTraceServiceResponse()


@contextmanager
def sink() -> Generator[tuple[Sink, int]]:
    kept, server = Sink(), grpc.server(ThreadPoolExecutor(2))
    service.add_TraceServiceServicer_to_server(kept, server)  # type: ignore[no-untyped-call]  # generated code  # pyright: ignore[reportUnknownMemberType]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield kept, port
    finally:
        server.stop(None)


class Half(Sampler):
    """Says of each span that it stands for two, as a consistent sampler of 50 % does."""

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
        return "Half"


def send(endpoint: str) -> None:
    """Calls of one service: hits, misses, cold ones, hits that wasted much, a batch result, and
    sampled ones."""
    spans(
        endpoint,
        [
            ("hit", 800, 0.0, HITS),
            ("miss", 0, 0.001, MISSES),
            ("cold", 0, 0.0, COLD),
            ("partial", 100, 0.5, DEAR),
        ],
    )
    spans(endpoint, [("prewarm", 0, 0.0, HALVED)], Half())


def spans(
    endpoint: str, rows: list[tuple[str, int, float, int]], sampler: Sampler = ALWAYS_ON
) -> None:
    provider = TracerProvider(resource=Resource({"service.name": "shop"}), sampler=sampler)
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces"), max_queue_size=4096)
    )
    tracer = provider.get_tracer("test")
    for outcome, read, waste, times in rows:
        for _ in range(times):
            figures = {INPUT_TOKENS: 1000, READ_TOKENS: read, WASTED_USD: waste}
            words = {
                OUTCOME: outcome,
                GEN_AI_REQUEST_MODEL: "gpt-5.4",
                PREFIX_HASH: f"p1:{outcome}",
            }
            tracer.start_span("chat gpt-5.4", attributes={**figures, **words}).end()
    if sampler is ALWAYS_ON:
        tracer.start_span(
            "chat gpt-5.4", attributes={OUTCOME: "hit", INPUT_TOKENS: 7, BATCH: True}
        ).end()
    tracer.start_span("GET /").end()
    provider.shutdown()


def samples(url: str) -> dict[tuple[str, str, str], float]:
    """Our counters as Prometheus scrapes them, by name, outcome and whether they are of a batch."""
    with urllib.request.urlopen(url, timeout=5) as answer:  # loopback
        text = answer.read().decode()
    found: dict[tuple[str, str, str], float] = {}
    for name, labels, value in re.findall(
        r"^(promptcache_spans_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE
    ):
        pairs = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        assert (pairs["job"], pairs.get("gen_ai_request_model", "gpt-5.4")) == ("shop", "gpt-5.4")
        found[name, pairs["promptcache_outcome"], pairs["promptcache_batch"]] = float(value)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the configuration as the command makes it."""
    folder = tmp_path_factory.mktemp("collector")
    for name, text in collector.render_files_by_path(DEFAULT_DEFINITION).items():
        (folder / Path(name).name).write_text(text)
    return folder


@pytest.mark.parametrize("files", [["promptcache.yaml"], ["promptcache.yaml", "clickhouse.yaml"]])
def test_the_configuration_is_valid(made: Path, files: list[str]) -> None:
    options = [f"--config={made / name}" for name in files]
    done = subprocess.run(
        [PROGRAM, "validate", *options], capture_output=True, text=True, check=False, timeout=30
    )  # the program under test
    assert done.returncode == 0, done.stderr


def test_counters_are_exact_and_traces_of_misses_are_kept(made: Path) -> None:
    http, metrics = free_port(), free_port()
    everything = HITS + MISSES + COLD + DEAR + 1 + 2 * HALVED
    with sink() as (kept, jaeger):
        ports = {
            "PROMPTCACHE_HTTP_PORT": http,
            "PROMPTCACHE_PROMETHEUS_PORT": metrics,
            "PROMPTCACHE_GRPC_PORT": free_port(),
        }
        env = {name: str(port) for name, port in ports.items()}
        env |= {"JAEGER_ENDPOINT": f"127.0.0.1:{jaeger}", "PROMPTCACHE_WAIT": "1s"}
        # The collector's own metrics have a fixed port; off, since another collector may have it.
        (made / "quiet.yaml").write_text("service: {telemetry: {metrics: {level: none}}}")
        configs = [f"--config={made / name}" for name in ("promptcache.yaml", "quiet.yaml")]
        with started(made / "log", PROGRAM, *configs, env=env):
            url = f"http://127.0.0.1:{metrics}/metrics"
            wait("the collector listens", lambda: samples(url) == {}, 20)
            send(f"http://127.0.0.1:{http}")
            wait("all calls are counted", lambda: calls(samples(url)) == everything, 20)
            found = samples(url)
            wait("the traces of misses arrive", lambda: outcomes(kept)["miss"] == MISSES, 20)
            wait(
                "cold and dear ones, too",
                lambda: (outcomes(kept)["cold"], outcomes(kept)["partial"]) == (COLD, DEAR),
                5,
            )
    tokens = {
        outcome: found["promptcache_spans_input_tokens_total", outcome, "false"]
        for outcome in ("hit", "miss")
    }
    assert tokens == {"hit": HITS * 1000, "miss": MISSES * 1000}
    assert found["promptcache_spans_read_tokens_total", "hit", "false"] == HITS * 800
    assert found["promptcache_spans_input_tokens_total", "hit", "true"] == 7
    assert found["promptcache_spans_input_tokens_total", "prewarm", "false"] == 2 * HALVED * 1000
    assert found["promptcache_spans_wasted_usd_total", "partial", "false"] == pytest.approx(
        DEAR * 0.5
    )
    assert outcomes(kept)["hit"] < HITS / 4, "5 % of the rest are kept"


def calls(found: dict[tuple[str, str, str], float]) -> float:
    return sum(
        value for (name, _, _), value in found.items() if name == "promptcache_spans_calls_total"
    )


def outcomes(kept: Sink) -> Counter[str]:
    return Counter(span.get(OUTCOME, "") for span in kept.spans)
