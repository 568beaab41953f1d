"""The emulator as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from promptcache_emulator.access import refuse_requests_of_other_sites
from promptcache_emulator.bounds import MAX_BODY_BYTES
from promptcache_emulator.control import handle_control_request
from promptcache_emulator.engine import Emulator
from promptcache_emulator.json_util import (
    JSONObject,
    as_json_object,
    parse_json_object,
    to_compact_json,
    to_json_bytes,
)
from promptcache_emulator.response import ProviderResponse

_METHODS: Final = ["GET", "POST", "PATCH", "DELETE"]
_ABORT_KEY: Final = "emulator.abort"


class ConnectionDroppedError(RuntimeError):
    """Raised inside a response, so that the server closes the connection: a fault on demand."""


class BodyTooLargeError(Exception):
    """The body of a request is larger than MAX_BODY_BYTES."""


def build_app(
    emulator: Emulator, latency: float = 0.0, allowed_hosts: Collection[str] = ()
) -> ASGIApp:
    """Return the ASGI application.

    `latency` is the time to the first chunk in seconds. `allowed_hosts` are names under which the
    emulator may be called besides `localhost` and IP addresses.
    """

    async def provider_endpoint(request: Request) -> Response:
        return await _handle_provider_request(emulator, request, latency)

    async def control_endpoint(request: Request) -> Response:
        return handle_control_request(
            emulator, request.path_params["name"], await _read_body(request)
        )

    async def websocket_endpoint(websocket: WebSocket) -> None:
        await _serve_websocket(emulator, websocket)

    routes: list[BaseRoute] = [
        WebSocketRoute("/{path:path}", websocket_endpoint),
        Route("/_emulator/{name}", control_endpoint, methods=["GET", "POST"]),
        Route("/{path:path}", provider_endpoint, methods=_METHODS),
    ]
    app = Starlette(routes=routes, exception_handlers={BodyTooLargeError: _refuse_too_large_body})
    return refuse_requests_of_other_sites(_abort_dropped_connections(app), allowed_hosts)


async def _read_body(request: Request) -> bytes:
    """Return the body. Raise BodyTooLargeError as soon as it is known to be too large."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        raise BodyTooLargeError
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLargeError
    return bytes(body)


async def _refuse_too_large_body(request: Request, error: Exception) -> Response:
    message = f"a body may have {MAX_BODY_BYTES} bytes"
    return JSONResponse({"error": {"type": "request_too_large", "message": message}}, 413)


async def _handle_provider_request(
    emulator: Emulator, request: Request, latency: float
) -> Response:
    response, provider_request = emulator.handle_request(
        request.method,
        request.scope["path"],
        await _read_body(request),
        {name.lower(): value for name, value in request.headers.items()},
        dict(request.query_params),
    )
    fault = provider_request.fault
    await asyncio.sleep(latency + fault.delay_seconds)
    if fault.reset_connection:
        request.scope[_ABORT_KEY]()
    if response.events is not None or fault.drop_after_events is not None:
        body = _stream_body(response, fault.delay_seconds, fault.drop_after_events)
        return StreamingResponse(body, response.status, response.headers, response.media_type)
    response.commit()
    return Response(response.chunks()[0], response.status, response.headers, response.media_type)


def _abort_dropped_connections(inner: ASGIApp) -> ASGIApp:
    """Give each request a function that aborts its connection. ASGI itself has none."""

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        cycle: Any = getattr(send, "__self__", None)
        scope[_ABORT_KEY] = lambda: cycle.transport.abort()
        await inner(scope, receive, send)

    return outer


async def _stream_body(
    response: ProviderResponse, delay_seconds: float, drop_after_events: int | None
) -> AsyncIterator[bytes]:
    """Yield the chunks. Commit the cache entries before the first one.

    After `drop_after_events` chunks, raise ConnectionDroppedError.
    """
    for index, chunk in enumerate(response.chunks()[:drop_after_events]):
        if index:
            await asyncio.sleep(delay_seconds)
        else:
            response.commit()
        yield chunk
    if drop_after_events is not None:
        raise ConnectionDroppedError


async def _iterate_websocket_messages(websocket: WebSocket) -> AsyncIterator[bytes]:
    """Yield the messages, text and binary, until the client disconnects."""
    while (message := await websocket.receive())["type"] == "websocket.receive":
        text: str | None = message.get("text")
        yield message.get("bytes") or b"" if text is None else text.encode("utf-8", "replace")


def _invalid_message_error(reason: str) -> JSONObject:
    return {"type": "error", "status": 400, "error": {"message": reason}}


async def _serve_websocket(emulator: Emulator, websocket: WebSocket) -> None:
    """Serve the Responses API over a WebSocket: answer each message with the events of a stream."""
    await websocket.accept()
    headers = {name.lower(): value for name, value in websocket.headers.items()}
    async for message in _iterate_websocket_messages(websocket):
        try:
            body = parse_json_object(message) | {"stream": True}
        except ValueError as reason:
            await websocket.send_text(to_compact_json(_invalid_message_error(str(reason))))
            continue
        stream_id = {"stream_id": body["stream_id"]} if "stream_id" in body else {}
        response, request = emulator.handle_request(
            "POST", websocket.url.path, to_json_bytes(body), headers, {}
        )
        error = {"type": "error", "status": response.status, **as_json_object(response.body)}
        events = response.events or [error]
        response.commit()
        for event in events[: request.fault.drop_after_events]:
            await asyncio.sleep(request.fault.delay_seconds)
            await websocket.send_text(to_compact_json(event | stream_id))
        if request.fault.drop_after_events is not None:
            return await websocket.close(1011)
    return None
