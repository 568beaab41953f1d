"""A real MLflow holds what the support agent did: every call, and its cached tokens as MLflow
itself reads them.

Run by `make backends`, or by hand: python -m tests.backends.mlflow_traces .venv-mlflow/bin/mlflow

MLflow takes traces over OTLP/HTTP only, and no metrics; the header names the experiment. Its first
request after the start takes seconds, hence the long time-out. What the exporter's flush returns
says nothing of receipt: only what is read back counts.
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


def ask(url: str, body: object = None) -> Any:
    """The JSON answer to a GET, or to a POST of `body`."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def ready(url: str, seconds: float = 240) -> float:
    """How long MLflow took to say that it is well."""
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return time.monotonic() - begun
    sys.exit("MLflow did not become ready.")


def work(url: str) -> None:
    """One run of the agent against the emulator, its spans sent to MLflow."""
    with running_server() as model:
        around = {
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
        subprocess.run([*command, sys.executable, AGENT], env=os.environ | around, check=True)


def traces(url: str) -> list[dict[str, Any]]:
    """What MLflow knows of every trace, once all calls are there."""
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": EXPERIMENT}}
    found: list[dict[str, Any]] = []
    for _ in range(60):
        found = ask(
            f"{url}/api/3.0/mlflow/traces/search", {"locations": [place], "max_results": 100}
        )["traces"]
        if len(found) >= CALLS:
            break
        time.sleep(0.5)
    return found


def attributes(url: str, trace: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a trace's only span, as MLflow stored them."""
    (span,) = ask(f"{url}/api/3.0/mlflow/traces/get?trace_id={trace['trace_id']}")["trace"]["spans"]
    return {pair["key"]: next(iter(pair["value"].values())) for pair in span["attributes"]}


def check(url: str) -> None:
    """Compares what MLflow made of the spans with what they say."""
    held = traces(url)
    usages = [json.loads(trace["trace_metadata"]["mlflow.trace.tokenUsage"]) for trace in held]
    ours = [attributes(url, trace) for trace in held]
    theirs = sum(usage.get("cache_read_input_tokens", 0) for usage in usages)
    read, total = (sum(int(span[name]) for span in ours) for name in (READ_TOKENS, INPUT_TOKENS))
    print(f"traces in MLflow: {len(held)}, outcomes: {sorted({span[OUTCOME] for span in ours})}")
    print(f"our attributes: {read:,} of {total:,} input tokens read from the cache")
    print(f"MLflow's own: {theirs:,} of {sum(usage['input_tokens'] for usage in usages):,}")
    if len(held) != CALLS or not read or theirs != read:
        sys.exit("MLflow does not hold what the agent did.")


def main(program: str) -> None:
    """All of it, with the MLflow that is installed as `program`."""
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
            print(f"MLflow is ready after {ready(url):.0f} s", flush=True)
            work(url)
            check(url)


if __name__ == "__main__":
    main(sys.argv[1])
