"""Run programs that end with the test, query them, and receive their alerts."""

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
def running_program(
    log: Path,
    *command: str | Path,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Generator[subprocess.Popen[bytes]]:
    """Run a program until the end of the block, and write its output to `log`."""
    with log.open("wb") as out:
        environment = {**os.environ, **(env or {})}
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, cwd=folder)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:  # no process may outlive the test
                process.kill()
                process.wait(10)


def get_json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as response:
        return json.load(response)


def query_prometheus(prometheus: str, expression: str) -> dict[str, float]:
    """Return the value of an expression for each service."""
    answer = get_json(f"{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
    return {
        sample["metric"].get("service_name") or sample["metric"].get("job", ""): float(
            sample["value"][1]
        )
        for sample in answer["data"]["result"]
    }


def wait_until(condition: str, is_met: Callable[[], bool], seconds: float) -> float:
    """Wait until a condition is met, and return the seconds. Ignore refused connections."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        try:
            if is_met():
                return time.monotonic() - start
        except (OSError, KeyError):  # the service is not ready
            pass
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {condition}")


@dataclass
class Webhook:
    """The alerts that Alertmanager posted, in their order."""

    url: str = ""
    alerts: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def has_alert(self, status: str, service: str, name: str = "PromptCacheHitRateLow") -> bool:
        return any(
            alert["status"] == status and alert["labels"]["alertname"] == name
            for alert in self.alerts
            if alert["labels"].get("service_name") == service
        )


@contextmanager
def running_webhook() -> Generator[Webhook]:
    """Serve a webhook on loopback."""
    webhook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            webhook.alerts += json.loads(self.rfile.read(int(self.headers["content-length"])))[
                "alerts"
            ]
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # name of the base
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    webhook.url = f"http://127.0.0.1:{server.server_port}/"
    try:
        yield webhook
    finally:
        server.shutdown()
        server.server_close()
