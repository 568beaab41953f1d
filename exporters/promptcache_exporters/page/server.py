"""Serve the page on loopback: `promptcache open`. Needs the extra `promptcache[open]`."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path
from typing import Final

import uvicorn

from promptcache_exporters.page.guard import TOKEN_PARAMETER, PageGuard
from promptcache_exporters.page.views import build_page

HOST: Final = "127.0.0.1"


class PageServer:
    """The server of one table. It listens from the start; 0 is a free port.

    `address` has the token, and works once. Raises OSError if the port is in use.
    """

    def __init__(self, path: Path, port: int = 0) -> None:
        self._socket = socket.create_server((HOST, port))
        self.port: int = self._socket.getsockname()[1]
        token = secrets.token_hex(16)
        self.address = f"http://{HOST}:{self.port}/?{TOKEN_PARAMETER}={token}"
        config = uvicorn.Config(
            PageGuard(build_page(path), self.port, token),
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Serve until Ctrl-C or `stop`."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End `run` in another thread."""
        self._server.should_exit = True
