"""Under the launcher each call has one row in our table, whichever tracer provider theirs has.

The launcher sets a tracer provider whose spans go to our table. Theirs gets another one, as
Logfire makes one for itself.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.metadata import entry_points
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from promptcache.semconv import OUTCOME
from promptcache_emulator.clock import Clock
from promptcache_emulator.engine import Emulator
from promptcache_emulator.server import running_server
from tests.coexistence.observation import CALLS, CLIENTS, NOON, Process

LAUNCHER: Final = "from opentelemetry.instrumentation.auto_instrumentation import run; run()"


def _launch_environment(table: Path) -> dict[str, str]:
    """Return the environment of a launch with our table, in which only we are instrumented."""
    others = [
        entry.name
        for entry in entry_points(group="opentelemetry_instrumentor")
        if entry.name != "promptcache"
    ]
    return os.environ | {
        "OTEL_TRACES_EXPORTER": "promptcache_sqlite",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_PROMPTCACHE_DB": str(table),
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": ",".join(others),
    }


def check_rows(name: str) -> str:
    """Make all calls beside one instrumentation, and return what is wrong, else an empty text."""
    with TemporaryDirectory() as folder:
        table = Path(folder) / "calls.db"
        program = ("-W", "ignore", "-m", "tests.coexistence.launched", name)
        process = subprocess.run(
            [sys.executable, "-c", LAUNCHER, sys.executable, *program],
            capture_output=True,
            text=True,
            env=_launch_environment(table),
            check=False,
        )
        if process.returncode:
            return f"{name} under the launcher: {process.stderr[-300:]}"
        calls, foreign = map(int, process.stdout.split()[-2:])
        with closing(sqlite3.connect(table)) as connection:
            ((rows,),) = connection.execute("SELECT count(*) FROM llm_calls").fetchall()
    print(f"{name} under the launcher: {rows} rows of {calls} calls", flush=True)
    if rows != calls:
        return f"{name} under the launcher: {rows} rows, not {calls}"
    return f"{name}: {foreign} spans of another tracer provider are claimed" if foreign else ""


def main() -> None:
    """Make all calls. Print their number, and the number of claimed spans that we do not export."""
    emulator = Emulator(Clock(NOON))
    with running_server(emulator) as url:
        process = Process(sys.argv[1], url, emulator)
        process.other.instrument(process.telemetry)
        for case in product(CALLS[process.other.sdk], CLIENTS[process.other.sdk]):
            process.call(case)
    claimed = [span for span in process.telemetry.spans if OUTCOME in (span.attributes or {})]
    print(len(emulator.records), len(claimed))


if __name__ == "__main__":
    main()
