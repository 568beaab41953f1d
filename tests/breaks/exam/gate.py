"""A loopback server that holds each request until the exam answers it.

So the exam decides when an answer begins and ends, and a run is the same each time.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from promptcache_emulator.response import ProviderResponse
from tests.breaks.exam.sent_request import SentRequest

PATIENCE: Final = 30.0
"""Seconds of real time after which a call that does not move is an error of the exam."""


class Exchange:
    """A request that has arrived, and its answer as soon as there is one."""

    def __init__(self, sent: SentRequest) -> None:
        self.sent = sent
        self.response: ProviderResponse | None = None
        self.begun, self.finished = threading.Event(), threading.Event()

    def begin(self, response: ProviderResponse) -> None:
        self.response = response
        self.begun.set()

    def finish(self) -> None:
        self.finished.set()


class Gate:
    """Requests in the order of their arrival."""

    def __init__(self) -> None:
        self.arrived: queue.Queue[Exchange] = queue.Queue()
        self.url = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gate: Gate

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Write nothing to stderr."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        exchange = Exchange(SentRequest(unquote(urlsplit(self.path).path), body, headers))
        self.gate.arrived.put(exchange)
        if not exchange.begun.wait(PATIENCE) or exchange.response is None:
            self.close_connection = True
            return
        try:
            self._answer(exchange, exchange.response)
        except OSError:
            # The application has abandoned the stream.
            self.close_connection = True

    def _answer(self, exchange: Exchange, response: ProviderResponse) -> None:
        chunks = response.chunks()
        self.send_response(response.status)
        self.send_header("content-type", response.media_type)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(sum(map(len, chunks))))
        self.end_headers()
        for index, chunk in enumerate(chunks):
            if index == len(chunks) - 1:
                exchange.finished.wait(PATIENCE)
            self.wfile.write(chunk)
            self.wfile.flush()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    disable_nagle_algorithm = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """An application may close its connection at any time."""


@contextmanager
def open_gate() -> Generator[Gate]:
    gate = Gate()
    handler = type("Handler", (_Handler,), {"gate": gate})
    server = _Server(("127.0.0.1", 0), handler)
    gate.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield gate
    finally:
        server.shutdown()
        server.server_close()
