"""Serve the emulator over HTTP. Needs the extra `promptcache[emulator]`."""

from __future__ import annotations

import socket
import threading
from collections.abc import Collection, Generator
from contextlib import contextmanager

import uvicorn

from promptcache_emulator.app import build_app
from promptcache_emulator.engine import Emulator


def listen_on_port(host: str, port: int) -> socket.socket:
    """Return a listening socket. Port 0 means a free port. Raise OSError if the port is in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.create_server((host, port), family=family)
    # asyncio does not disable Nagle's algorithm on a socket whose protocol number is 0. Without
    # this option each answer would wait 40 ms for an ACK.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _make_server(
    emulator: Emulator, latency: float, allowed_hosts: Collection[str]
) -> uvicorn.Server:
    config = uvicorn.Config(
        build_app(emulator, latency, allowed_hosts),
        log_config=None,
        log_level="critical",
        access_log=False,
        lifespan="off",
        ws="auto",
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def serve_emulator(
    emulator: Emulator,
    sock: socket.socket,
    latency: float = 0.0,
    allowed_hosts: Collection[str] = (),
) -> None:
    """Serve until the process is interrupted. `allowed_hosts` are further names of the server."""
    _make_server(emulator, latency, allowed_hosts).run(sockets=[sock])


@contextmanager
def running_server(emulator: Emulator | None = None, latency: float = 0.0) -> Generator[str]:
    """Serve from a thread on a free port, and yield the base URL (without `/v1`)."""
    sock = listen_on_port("127.0.0.1", 0)
    server = _make_server(emulator or Emulator(), latency, ())
    thread = threading.Thread(
        target=server.run,
        kwargs={"sockets": [sock]},
        name="promptcache-emulator",
        daemon=True,
    )
    thread.start()
    try:
        # The socket already listens: a client that connects before the loop runs waits in its
        # backlog.
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(5)
        sock.close()
