"""Send the spans of the support agent to a real Arize Phoenix, and compare the cached tokens.

    make phoenix

Start Phoenix and the emulator on loopback. Run `support_agent.py` under `opentelemetry-instrument`
with the OTLP exporter. Read the spans through Phoenix's API and sum the cached tokens that Phoenix
stores. Phoenix accepts no metrics, so the command has `--metrics_exporter none`. Phoenix opens a
gRPC port on all interfaces and ignores `PHOENIX_HOST` there: do not run this on a machine that
others can reach.
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
    """Run a server for the time of the block. `stdout` is a constant of `subprocess`."""
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
    """Send a request and return the JSON of the response."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def wait_until_ready(url: str, process: subprocess.Popen[str], seconds: float = 300) -> float:
    """Wait for Phoenix to answer `/readyz`, and return the seconds that it took."""
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
    """Run the agent against the emulator and send its spans to Phoenix."""
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
    """Wait until Phoenix has stored every call, and return the attributes of all spans."""
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
    """Print the tokens by our attributes and by Phoenix. Exit if they differ."""
    spans = read_spans(phoenix)
    read = sum(span["promptcache.read_tokens"] for span in spans)
    total = sum(span["promptcache.input_tokens"] for span in spans)
    cost = sum(span["promptcache.cost.amount"] for span in spans)
    outcomes = sorted({span["promptcache.outcome"] for span in spans})
    print(f"spans in Phoenix: {len(spans)}, outcomes: {outcomes}")
    print(
        f"promptcache: {read:,} of {total:,} input tokens read from the cache, {read / total:.1%}"
    )
    print(f"promptcache: cost {cost:.4f} USD")
    read_by_phoenix = print_phoenix_totals(phoenix)
    if len(spans) != CALL_COUNT or not read or read_by_phoenix != read:
        sys.exit("The spans in Phoenix do not match the calls of the agent.")


def print_phoenix_totals(phoenix: str) -> int:
    """Print the totals that Phoenix computes, and return the cached tokens."""
    cached_tokens = 0
    answer = request_json(f"{phoenix}/graphql", {"query": TOTALS_QUERY})
    for edge in answer["data"]["projects"]["edges"]:
        project = edge["node"]
        spans: list[dict[str, Any]] = [span["node"] for span in project["spans"]["edges"]]
        details = [span["tokenPromptDetails"] for span in spans]
        cached = sum(item["cacheRead"] or 0 for item in details if item)
        total = sum(span["tokenCountPrompt"] or 0 for span in spans)
        cost = project["costSummary"]["total"]["cost"]
        print(f"Phoenix: {cached:,} of {total:,} tokens, cost {cost:.4f} USD")
        cached_tokens += cached
    return cached_tokens


def main(phoenix: str) -> None:
    """Run everything with the Phoenix program at the path `phoenix`."""
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
        # No pipe: a new Phoenix logs its migrations, which fills a pipe; Phoenix then waits.
        with running_process([phoenix, "serve"], environ, subprocess.DEVNULL) as server:
            print(f"Phoenix is ready after {wait_until_ready(url, server):.0f} s", flush=True)
            run_agent(url)
            print_summary(url)


if __name__ == "__main__":
    main(sys.argv[1])
