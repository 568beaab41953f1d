"""The support agent's spans in a real Arize Phoenix, and what Phoenix makes of them.

    make phoenix

Starts Phoenix and the emulator on loopback, runs `support_agent.py` under `opentelemetry-instrument` with the OTLP
exporter, reads the spans back through Phoenix's API and adds up the cached tokens that it knows. Phoenix takes no
metrics, hence `--metrics_exporter none`. It opens a gRPC port on all interfaces, whatever `PHOENIX_HOST` says: not for
a machine that others can reach.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

BIN_DIR: Final = Path(sys.executable).parent
AGENT_SCRIPT: Final = Path(__file__).resolve().parent.parent / "support_agent.py"
SERVICE_NAME: Final = "support-agent"
CALL_COUNT: Final = 20

TOTALS_QUERY: Final = """{ projects { edges { node { name traceCount
  costSummary { total { tokens cost } }
  spans(first: 100) { edges { node { name tokenCountPrompt
    tokenPromptDetails { cacheRead } } } } } } } }"""


@contextmanager
def running_process(
    command: list[str | Path], environ: Mapping[str, str], stdout: int
) -> Generator[subprocess.Popen[str]]:
    """A server that is stopped with the block; `stdout` is where its standard output goes."""
    process = subprocess.Popen(
        command, env=os.environ | environ, stdout=stdout, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def request_json(url: str, body: object = None) -> Any:
    """A JSON answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def wait_until_ready(url: str, process: subprocess.Popen[str], seconds: float = 300) -> float:
    """How long Phoenix took to answer `/readyz`."""
    started = time.monotonic()
    while process.poll() is None and time.monotonic() - started < seconds:
        try:
            urllib.request.urlopen(f"{url}/readyz", timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
        else:
            return time.monotonic() - started
    sys.exit("Phoenix did not become ready.")


def run_agent(phoenix: str) -> None:
    """One run of the agent against the emulator, its spans sent to Phoenix."""
    with running_process(
        [BIN_DIR / "promptcache", "emulate", "--port", "0"], {}, subprocess.PIPE
    ) as emulator:
        assert emulator.stdout is not None
        url = next(word for word in emulator.stdout.readline().split() if word.startswith("http"))
        subprocess.run(
            [
                BIN_DIR / "opentelemetry-instrument",
                *("--service_name", SERVICE_NAME),
                *("--traces_exporter", "otlp"),
                *("--exporter_otlp_protocol", "http/protobuf"),
                *("--exporter_otlp_traces_endpoint", f"{phoenix}/v1/traces"),
                *("--metrics_exporter", "none"),
                *("--logs_exporter", "none"),
                sys.executable,
                AGENT_SCRIPT,
            ],
            env=os.environ
            | {"OPENAI_BASE_URL": f"{url.rstrip('/')}/v1", "OPENAI_API_KEY": "no-key-needed"},
            check=True,
        )


def read_spans(phoenix: str) -> list[Mapping[str, Any]]:
    """The attributes of all spans that Phoenix holds, once it has taken in every call."""
    found: list[Mapping[str, Any]] = []
    for _ in range(60):
        found = [
            span["attributes"]
            for span in request_json(f"{phoenix}/v1/projects/default/spans?limit=100")["data"]
        ]
        if len(found) >= CALL_COUNT:
            break
        time.sleep(0.5)
    return found


def print_summary(phoenix: str) -> None:
    """What Phoenix stored of ours, and what it worked out by itself."""
    stored = read_spans(phoenix)
    read, total = (
        sum(span[f"promptcache.{name}_tokens"] for span in stored) for name in ("read", "input")
    )
    print(
        f"spans in Phoenix: {len(stored)}, outcomes: {sorted({span['promptcache.outcome'] for span in stored})}"
    )
    print(
        f"our attributes: {read:,} of {total:,} input tokens read from the cache, {read / total:.1%}"
    )
    print(f"our cost: {sum(span['promptcache.cost.amount'] for span in stored):.4f} USD")
    theirs = 0
    for edge in request_json(f"{phoenix}/graphql", {"query": TOTALS_QUERY})["data"]["projects"][
        "edges"
    ]:
        project = edge["node"]
        seen: list[dict[str, Any]] = [span["node"] for span in project["spans"]["edges"]]
        cached = sum(
            details["cacheRead"] or 0 for span in seen if (details := span["tokenPromptDetails"])
        )
        total = sum(span["tokenCountPrompt"] or 0 for span in seen)
        print(
            f"Phoenix's own: {cached:,} of {total:,} tokens, {project['costSummary']['total']['cost']:.4f} USD"
        )
        theirs += cached
    if len(stored) != CALL_COUNT or not read or theirs != read:
        sys.exit("Phoenix does not hold what the agent did.")


def main(phoenix: str) -> None:
    """All of it, with the Phoenix that is installed as the program `phoenix`."""
    port, grpc = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        environ = {
            "PHOENIX_WORKING_DIR": folder,
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(port),
            "PHOENIX_GRPC_PORT": str(grpc),
            "PHOENIX_TELEMETRY_ENABLED": "false",
        }
        # Not into a pipe: what a new Phoenix says of its migrations fills one, and then it waits for a reader.
        with running_process([phoenix, "serve"], environ, subprocess.DEVNULL) as server:
            print(f"Phoenix is ready after {wait_until_ready(url, server):.0f} s", flush=True)
            run_agent(url)
            print_summary(url)


if __name__ == "__main__":
    main(sys.argv[1])
