"""The emulator on a loopback port: HTTP in, `Emulator.handle`, HTTP out, and the control paths `/_emulator/...`.

`running()` serves from a thread, for tests; `serve()` from the command. Needs the extra `promptcache[emulator]`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from promptcache_emulator import profiles
from promptcache_emulator.engine import Clock, Emulator, request_summary
from promptcache_emulator.json_util import as_object, to_compact_json, to_json_bytes
from promptcache_emulator.wire import ProviderResponse

_METHODS: Final = ["GET", "POST", "PATCH", "DELETE"]
_ABORT_KEY: Final = "emulator.abort"


class ConnectionDroppedError(RuntimeError):
    """Raised in the middle of a response, so that the server cuts the connection: a fault on demand."""


def build_app(emulator: Emulator, latency: float = 0.0) -> ASGIApp:
    """The ASGI application. `latency` is the time to the first chunk in seconds."""

    async def endpoint(request: Request) -> Response:
        raw = await request.body()
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer, incoming = emulator.handle(
            request.method, request.scope["path"], raw, headers, dict(request.query_params)
        )
        fault = incoming.fault
        await asyncio.sleep(latency + fault.slow)
        if fault.reset:
            request.scope[_ABORT_KEY]()
        if answer.events is not None or fault.drop is not None:
            body = _stream_body(answer, fault.slow, fault.drop)
            return StreamingResponse(body, answer.status, answer.headers, answer.media_type)
        answer.commit()
        return Response(answer.chunks()[0], answer.status, answer.headers, answer.media_type)

    async def control(request: Request) -> Response:
        return _handle_control(emulator, request.path_params["name"], await request.body())

    async def socket_endpoint(websocket: WebSocket) -> None:
        await _serve_websocket(emulator, websocket)

    routes: list[BaseRoute] = [
        WebSocketRoute("/{path:path}", socket_endpoint),
        Route("/_emulator/{name}", control, methods=["GET", "POST"]),
        Route("/{path:path}", endpoint, methods=_METHODS),
    ]
    return _with_abort(Starlette(routes=routes))


def _with_abort(inner: ASGIApp) -> ASGIApp:
    """Lends each request the means to cut its connection before a response, which ASGI has no word for."""

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        cycle: Any = getattr(send, "__self__", None)
        scope[_ABORT_KEY] = lambda: cycle.transport.abort()
        await inner(scope, receive, send)

    return outer


async def _stream_body(
    response: ProviderResponse, slow: float, drop: int | None
) -> AsyncIterator[bytes]:
    """The chunks, `slow` seconds apart; the connection breaks after `drop` of them. The first makes the entries."""
    for index, chunk in enumerate(response.chunks()[:drop]):
        if index:
            await asyncio.sleep(slow)
        else:
            response.commit()
        yield chunk
    if drop is not None:
        raise ConnectionDroppedError


async def _serve_websocket(emulator: Emulator, websocket: WebSocket) -> None:
    """The Responses API over a WebSocket: each `response.create` is answered by the events of a stream."""
    await websocket.accept()
    headers = {name.lower(): value for name, value in websocket.headers.items()}
    async for message in websocket.iter_text():
        body = as_object(json.loads(message)) | {"stream": True}
        lane = {"stream_id": body["stream_id"]} if "stream_id" in body else {}
        answer, incoming = emulator.handle(
            "POST", websocket.url.path, to_json_bytes(body), headers, {}
        )
        events = answer.events or [
            {"type": "error", "status": answer.status, **as_object(answer.body)}
        ]
        answer.commit()
        for event in events[: incoming.fault.drop]:
            await asyncio.sleep(incoming.fault.slow)
            await websocket.send_text(to_compact_json(event | lane))
        if incoming.fault.drop is not None:
            return await websocket.close(1011)
    return None


def _handle_control(emulator: Emulator, name: str, raw_body: bytes) -> Response:
    """The control paths: `clock`, `reset`, `evict`, `faults`, `rules`, `requests`."""
    try:
        asked: dict[str, Any] = json.loads(raw_body or b"{}")
        if name == "clock" and asked:
            _advance_clock(emulator, float(asked["advance"]))
        elif name == "reset":
            emulator.reset()
        elif name == "evict":
            emulator.cache.evict_all()
        elif name == "faults" and asked:
            emulator.faults.add(
                str(asked["fault"]), int(asked.get("times", 1)), str(asked.get("path", ""))
            )
        elif name == "rules" and asked:
            emulator.overrides = profiles.parse_overrides(str(asked["rules"]))
        elif name not in {"clock", "requests", "faults", "rules"}:
            return JSONResponse({"error": f"no such control: {name}"}, 404)
    except (ValueError, KeyError) as error:
        return JSONResponse({"error": str(error)}, 400)
    return JSONResponse(
        request_summary(emulator) if name == "requests" else {"now": emulator.clock()}
    )


def _advance_clock(emulator: Emulator, seconds: float) -> None:
    if not isinstance(emulator.clock, Clock):
        raise ValueError("this emulator's clock cannot be moved")
    emulator.clock.advance(seconds)


def listen(context: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError where the port is taken."""
    sock = socket.create_server(
        (context, port), family=socket.AF_INET6 if ":" in context else socket.AF_INET
    )
    # asyncio leaves Nagle on where a socket's protocol number is 0, and each answer would wait 40 ms for an ACK.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _make_server(emulator: Emulator, latency: float) -> uvicorn.Server:
    config = uvicorn.Config(
        build_app(emulator, latency),
        log_config=None,
        log_level="critical",
        access_log=False,
        lifespan="off",
        ws="auto",
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def serve(emulator: Emulator, sock: socket.socket, latency: float = 0.0) -> None:
    """Serves until interrupted."""
    _make_server(emulator, latency).run(sockets=[sock])


@contextmanager
def running_server(emulator: Emulator | None = None, latency: float = 0.0) -> Generator[str]:
    """Serves from a thread of this process on a free port, and gives the base URL (without `/v1`)."""
    sock = listen("127.0.0.1", 0)
    server = _make_server(emulator or Emulator(), latency)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [sock]}, name="promptcache-emulator", daemon=True
    )
    thread.start()
    try:
        # The socket listens already: a client that connects before the loop runs waits in its backlog.
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(5)
        sock.close()
