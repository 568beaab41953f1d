"""Send requests to an ASGI application inside this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any


async def send_request(
    app: Any,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    host: str = "127.0.0.1:8089",
) -> tuple[int, bytes]:
    """Send one request and return its status and body."""
    sent: list[dict[str, Any]] = []
    incoming: AsyncIterator[dict[str, Any]] = _request_messages(body)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode("utf-8", "surrogatepass"),
        "query_string": b"",
        "headers": [
            (name.encode(), value.encode("latin-1", "replace"))
            for name, value in ({"host": host} | dict(headers or {})).items()
        ],
    }

    async def receive() -> dict[str, Any]:
        return await anext(incoming)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], content


async def _request_messages(body: bytes) -> AsyncIterator[dict[str, Any]]:
    yield {"type": "http.request", "body": body, "more_body": False}
    # A client that stays connected sends nothing more.
    await asyncio.sleep(3600)
    yield {"type": "http.disconnect"}
