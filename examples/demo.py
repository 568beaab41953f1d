"""The program of `make demo`: run the support agent twice against the emulator and print a report.

The second run has the current time in its prompt, which breaks the cached prefix. The demo needs no
key and no network: the emulator answers on loopback and caches by the rules of the real provider.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

EXAMPLES_DIR = Path(__file__).parent
BIN_DIR = Path(sys.executable).parent


@contextmanager
def running_emulator() -> Generator[str]:
    """Run the emulator on a free port and yield its URL."""
    process = subprocess.Popen(
        [BIN_DIR / "promptcache", "emulate", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        url = next(
            (word for word in process.stdout.readline().split() if word.startswith("http")), None
        )
        if url is None:
            sys.exit("The emulator did not start; run `promptcache emulate` to see the reason.")
        yield url
    finally:
        process.terminate()
        process.wait(10)


def run_agent(service: str, url: str, database: Path, *arguments: str) -> None:
    """Run the agent under `opentelemetry-instrument` and write its spans to the database."""
    command = f"opentelemetry-instrument --service_name {service} python support_agent.py"
    print(f"$ {command} {' '.join(arguments)}")
    subprocess.run(
        [
            BIN_DIR / "opentelemetry-instrument",
            *("--service_name", service),
            *("--traces_exporter", "promptcache_sqlite"),
            *("--metrics_exporter", "none"),
            *("--logs_exporter", "none"),
            sys.executable,
            EXAMPLES_DIR / "support_agent.py",
            *arguments,
        ],
        env=os.environ
        | {
            "OPENAI_BASE_URL": f"{url.rstrip('/')}/v1",
            "OPENAI_API_KEY": "no-key-needed",
            "OTEL_PROMPTCACHE_DB": str(database),
        },
        check=True,
    )


def main() -> None:
    """Run both services and print one report."""
    with tempfile.TemporaryDirectory() as folder, running_emulator() as url:
        database = Path(folder) / "demo.db"
        run_agent("support-agent", url, database)
        run_agent("support-agent-with-clock", url, database, "--clock")
        print("$ promptcache report --by service\n", flush=True)
        subprocess.run([BIN_DIR / "promptcache", "report", database, "--by", "service"], check=True)


if __name__ == "__main__":
    main()
