"""What the end to end run needs around it: programs that end with the test, and a webhook that
keeps what arrives."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@contextmanager
def started(
    log: Path,
    *command: str | Path,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Generator[subprocess.Popen[bytes]]:
    """Runs a program until the end of the block; what it says goes to `log`."""
    with log.open("wb") as out:
        around = {**os.environ, **(env or {})}
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env=around, cwd=folder
        )  # the programs under test
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:  # nothing is left behind, whatever it is busy with
                process.kill()
                process.wait(10)


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:  # loopback
        return json.load(answer)


def query(prometheus: str, expression: str) -> dict[str, float]:
    """The samples of an expression, by the service's name."""
    found = get(f"{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
    return {
        one["metric"].get("service_name") or one["metric"].get("job", ""): float(one["value"][1])
        for one in found["data"]["result"]
    }


def wait(what: str, until: Callable[[], bool], seconds: float) -> float:
    """Waits for a condition and returns how long it took; connections that are refused meanwhile do
    not count."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        try:
            if until():
                return time.monotonic() - start
        except (OSError, KeyError):  # not up yet, or up without an answer
            pass
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


@dataclass
class Webhook:
    """Keeps the alerts that Alertmanager posts, in their order."""

    url: str = ""
    alerts: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def told(self, status: str, service: str, name: str = "PromptCacheHitRateLow") -> bool:
        return any(
            alert["status"] == status and alert["labels"]["alertname"] == name
            for alert in self.alerts
            if alert["labels"].get("service_name") == service
        )


@contextmanager
def webhook() -> Generator[Webhook]:
    """A pager on loopback."""
    kept = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kept.alerts += json.loads(self.rfile.read(int(self.headers["content-length"])))[
                "alerts"
            ]
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kept.url = f"http://127.0.0.1:{server.server_port}/"
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
