"""Check servers that fork: each answered call is a row, also if a worker is killed.

    make processes
    python -m tests.processes.check [gunicorn uvicorn celery]

Prints a line for each server. Exits with 1 if rows are missing or surplus, or the table is corrupt.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from promptcache_emulator.engine import Emulator
from promptcache_emulator.server import running_server
from promptcache_exporters.database import columns as table

REQUESTS: Final = 200
TIMEOUT_SECONDS: Final = 120.0
"""Time limit for the start, and for the end, of a server."""


@dataclass(frozen=True)
class Outcome:
    """Counts of a check: requests, answers, worker processes, and rows of the table."""

    answered: int
    requested: int
    workers: int
    rows: int
    is_sound: bool

    @property
    def is_correct(self) -> bool:
        # A killed worker may have written a row without answering the request.
        return self.is_sound and self.workers > 1 and self.answered <= self.rows <= self.requested


def read_table(path: Path) -> tuple[int, bool]:
    """Return the number of rows, and whether SQLite finds the table intact."""
    if not path.exists():
        return 0, True
    with closing(sqlite3.connect(path)) as connection:
        (count,) = connection.execute(
            f"SELECT count(*) FROM {table.CALLS_TABLE_NAME}"
        ).fetchone()  # a constant
        return count, connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def wait_until(is_done: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not is_done():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def get_process_id(port: int) -> str | None:
    """Return the id of the process that answered, or None without an answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as response:
            process_id: str = response.read().decode()
            return process_id
    except (OSError, urllib.error.URLError):
        return None


def check_web_server(command: list[str], environment: Mapping[str, str], path: Path) -> Outcome:
    """Send requests to a web server from eight threads, and kill one worker between them."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", *(argument.format(port=port) for argument in command)],
        env=environment,
    )
    try:
        wait_until(lambda: get_process_id(port))
        before, _ = read_table(path)
        with ThreadPoolExecutor(8) as threads:
            process_ids_before_kill = list(threads.map(get_process_id, [port] * (REQUESTS // 2)))
            os.kill(int(next(filter(None, process_ids_before_kill))), signal.SIGKILL)
            process_ids = process_ids_before_kill + list(
                threads.map(get_process_id, [port] * (REQUESTS // 2))
            )
    finally:
        server.terminate()
        server.wait(TIMEOUT_SECONDS)
    rows, is_sound = read_table(path)
    answered = [process_id for process_id in process_ids if process_id]
    return Outcome(len(answered), REQUESTS, len({*answered}), rows - before, is_sound)


def check_gunicorn(environment: Mapping[str, str], path: Path) -> Outcome:
    command = [
        "gunicorn",
        "--preload",
        "--workers=4",
        "--log-level=error",
        "tests.processes.app:wsgi",
    ]
    return check_web_server([*command, "--bind=127.0.0.1:{port}"], environment, path)


def check_uvicorn(environment: Mapping[str, str], path: Path) -> Outcome:
    return check_web_server(
        [
            "uvicorn",
            "--workers=2",
            "--log-level=error",
            "tests.processes.app:asgi",
            "--port={port}",
        ],
        environment,
        path,
    )


def check_celery(environment: Mapping[str, str], path: Path) -> Outcome:
    """Run tasks in a pool whose processes end after one task."""
    count = REQUESTS // 10
    os.environ.update(environment)
    tasks: Any = import_module("tests.processes.tasks")
    before, _ = read_table(path)
    for _ in range(count):
        tasks.call_model.delay()
    command = [
        "celery",
        "--app=tests.processes.tasks",
        "worker",
        "--loglevel=error",
        "--without-mingle",
    ]
    worker = subprocess.Popen([sys.executable, "-m", *command], env=environment)
    try:
        # One row more than tasks: the main process of the worker makes a call when it starts.
        wait_until(lambda: read_table(path)[0] - before > count)
        time.sleep(1)
    finally:
        worker.terminate()
        worker.wait(TIMEOUT_SECONDS)
    rows, is_sound = read_table(path)
    return Outcome(count, count, count, rows - before - 1, is_sound)


SERVERS: Final[Mapping[str, Callable[[Mapping[str, str], Path], Outcome]]] = {
    "gunicorn": check_gunicorn,
    "uvicorn": check_uvicorn,
    "celery": check_celery,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("servers", nargs="*", help=f"some of {[*SERVERS]}; default: all")
    names: list[str] = parser.parse_args().servers or [*SERVERS]
    is_correct = True
    for name in names:
        with tempfile.TemporaryDirectory() as folder, running_server(Emulator()) as url:
            path = Path(folder) / "calls.db"
            settings = {"EMULATOR": f"{url}/v1", "OTEL_PROMPTCACHE_DB": str(path), "BROKER": folder}
            warm_up = {} if name == "uvicorn" else {"WARM": "yes"}
            outcome = SERVERS[name](os.environ | settings | warm_up, path)
        is_correct = is_correct and outcome.is_correct
        print(f"{name:10} {'ok  ' if outcome.is_correct else 'WRONG'} {outcome}", flush=True)
    return 0 if is_correct else 1


if __name__ == "__main__":
    sys.exit(main())
