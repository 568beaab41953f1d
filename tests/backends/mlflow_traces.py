"""A real MLflow stores every call of the support agent, and reads its cached tokens itself.

Run by `make backends`, or by hand: python -m tests.backends.mlflow_traces .venv-mlflow/bin/mlflow

MLflow receives traces over OTLP/HTTP only, and no metrics. The header names the experiment. The
first request after the start takes seconds and needs a long timeout. The result of the exporter's
flush does not prove receipt, so this program reads the traces back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from promptcache.semconv import INPUT_TOKENS, OUTCOME, READ_TOKENS
from promptcache_emulator.server import running_server
from tests.alerts_e2e.local_services import BIN, free_port, running_program

AGENT = Path(__file__).parents[2] / "examples" / "support_agent.py"
CALLS = 20
EXPERIMENT = "0"


def request_json(url: str, body: object = None) -> Any:
    """Send a GET request, or a POST request with `body`, and return the JSON response."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def wait_until_ready(url: str, seconds: float = 240) -> float:
    """Wait until MLflow is healthy, and return the seconds."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return time.monotonic() - started
    sys.exit("MLflow did not become ready.")


def run_agent(url: str) -> None:
    """Run the support agent once against the emulator, and send its spans to MLflow."""
    with running_server() as model:
        variables = {
            "OPENAI_BASE_URL": f"{model}/v1",
            "OPENAI_API_KEY": "no-key-needed",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": f"x-mlflow-experiment-id={EXPERIMENT}",
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "60",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }
        exporters = [
            "--traces_exporter",
            "otlp",
            "--metrics_exporter",
            "none",
            "--logs_exporter",
            "none",
        ]
        endpoint = ["--exporter_otlp_traces_endpoint", f"{url}/v1/traces"]
        command: list[str | Path] = [
            BIN / "opentelemetry-instrument",
            "--service_name",
            "support-agent",
            *exporters,
            *endpoint,
        ]
        subprocess.run([*command, sys.executable, AGENT], env=os.environ | variables, check=True)


def wait_for_traces(url: str) -> list[dict[str, Any]]:
    """Wait for the traces of all calls, and return what MLflow stores about them."""
    location = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": EXPERIMENT}}
    traces: list[dict[str, Any]] = []
    for _ in range(60):
        traces = request_json(
            f"{url}/api/3.0/mlflow/traces/search", {"locations": [location], "max_results": 100}
        )["traces"]
        if len(traces) >= CALLS:
            break
        time.sleep(0.5)
    return traces


def read_attributes(url: str, trace: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes that MLflow stored for the only span of a trace."""
    (span,) = request_json(f"{url}/api/3.0/mlflow/traces/get?trace_id={trace['trace_id']}")[
        "trace"
    ]["spans"]
    return {pair["key"]: next(iter(pair["value"].values())) for pair in span["attributes"]}


def compare_tokens(url: str) -> None:
    """Compare the token usage that MLflow computed with the attributes of the spans."""
    stored = wait_for_traces(url)
    usages = [json.loads(trace["trace_metadata"]["mlflow.trace.tokenUsage"]) for trace in stored]
    spans = [read_attributes(url, trace) for trace in stored]
    mlflow_read = sum(usage.get("cache_read_input_tokens", 0) for usage in usages)
    read, total = (sum(int(span[name]) for span in spans) for name in (READ_TOKENS, INPUT_TOKENS))
    print(f"traces in MLflow: {len(stored)}, outcomes: {sorted({span[OUTCOME] for span in spans})}")
    print(f"our attributes: {read:,} of {total:,} input tokens read from the cache")
    print(f"MLflow's own: {mlflow_read:,} of {sum(usage['input_tokens'] for usage in usages):,}")
    if len(stored) != CALLS or not read or mlflow_read != read:
        sys.exit("MLflow does not store the calls of the agent.")


def main(program: str) -> None:
    """Run everything with the MLflow at the path `program`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with TemporaryDirectory() as folder:
        store = [
            "--backend-store-uri",
            f"sqlite:///{folder}/mlflow.db",
            "--default-artifact-root",
            folder,
        ]
        command = [
            program,
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
            *store,
        ]
        with running_program(Path(folder) / "log", *command):
            print(f"MLflow is ready after {wait_until_ready(url):.0f} s", flush=True)
            run_agent(url)
            compare_tokens(url)


if __name__ == "__main__":
    main(sys.argv[1])
