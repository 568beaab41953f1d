"""aiohttp: google-genai's async client, aiobotocore, LiteLLM.

aiohttp's response has no public constructor, so a connection is replaced and not the response: it
takes the bytes of the request and gives those of the answer. aioresponses and VCR replace the
session's method, which comes before any connection, so that they win.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import ModuleType
from typing import Any, Final

from promptcache_testing.interception.api_call import key_of
from promptcache_testing.interception.interceptor import Interceptor
from promptcache_testing.interception.patches import Patches, response_headers
from promptcache_testing.sent_request import SentRequest, lower_case_headers

_END_OF_HEAD: Final = b"\r\n\r\n"


def patch_aiohttp(patches: Patches, library: ModuleType, interceptor: Interceptor) -> None:
    """Patch `aiohttp.connector.BaseConnector`."""

    def wrap_connect(original: Any) -> Any:
        async def connect(connector: Any, req: Any, *args: Any, **kwargs: Any) -> Any:
            if not isinstance(connector, library.TCPConnector):
                return await original(connector, req, *args, **kwargs)
            sent = SentRequest(req.method, str(req.url), lower_case_headers(dict(req.headers)))
            if sent.headers.get("upgrade", "").lower() == "websocket":
                interceptor.check_host(sent.host)
            elif interceptor.takes(sent):
                return _open_connection(connector, req, sent, interceptor)
            with interceptor.observe(key_of(req), lambda: _with_known_body(req, sent)):
                return await original(connector, req, *args, **kwargs)

        return connect

    patches.wrap(library.connector.BaseConnector, "connect", wrap_connect)


def _with_known_body(req: Any, sent: SentRequest) -> SentRequest | None:
    body = getattr(req.body, "_value", req.body)
    if not isinstance(body, (bytes, bytearray)):
        return None
    return SentRequest(sent.method, sent.url, sent.headers, bytes(body))


def _open_connection(connector: Any, req: Any, sent: SentRequest, interceptor: Interceptor) -> Any:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection

    loop = asyncio.get_running_loop()
    protocol = ResponseHandler(loop)
    protocol.connection_made(_AnsweringTransport(loop, protocol, sent, interceptor))
    return Connection(connector, req.connection_key, protocol, loop)


class _AnsweringTransport(asyncio.Transport):
    """Collects one request and feeds the answer to the protocol."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: Any,
        sent: SentRequest,
        interceptor: Interceptor,
    ) -> None:
        super().__init__()
        self._loop, self._protocol = loop, protocol
        self._sent, self._interceptor = sent, interceptor
        self._key, self._call_site = key_of(self), interceptor.locate_call()
        self._written = bytearray()
        self._is_closing = False
        self._task: asyncio.Task[bytes] | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._written += data
        if (body := _complete_body(bytes(self._written))) is not None:
            self._written.clear()
            self._task = self._loop.create_task(self._answer(body))
            self._task.add_done_callback(self._respond)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    async def _answer(self, body: bytes) -> bytes:
        sent = SentRequest(self._sent.method, self._sent.url, self._sent.headers, body)
        answer = self._interceptor.answer(self._key, sent, self._call_site)
        content = b"".join(answer.chunks())
        headers = response_headers(answer.media_type, answer.headers, len(content))
        lines = [f"HTTP/1.1 {answer.status} Answer", "connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join(lines).encode() + _END_OF_HEAD + content

    def _respond(self, task: asyncio.Task[bytes]) -> None:
        """Give the bytes to the protocol, or raise where the application waits."""
        if task.cancelled() or (error := task.exception()) is None:
            self._protocol.data_received(b"" if task.cancelled() else task.result())
        else:
            self._protocol.set_exception(error)

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def pause_reading(self) -> None:
        """Do nothing: the whole answer is there."""

    def resume_reading(self) -> None:
        """Do nothing: the whole answer is there."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


def _complete_body(written: bytes) -> bytes | None:
    """Return the body of a request in HTTP/1.1; None if bytes are missing."""
    head, found, rest = written.partition(_END_OF_HEAD)
    if not found:
        return None
    fields = (line.partition(b":") for line in head.lower().split(b"\r\n")[1:])
    headers = {name.strip(): value.strip() for name, _, value in fields}
    if headers.get(b"transfer-encoding") == b"chunked":
        return _join_chunks(rest)
    size = int(headers.get(b"content-length", b"0"))
    return rest[:size] if len(rest) >= size else None


def _join_chunks(rest: bytes) -> bytes | None:
    body = bytearray()
    while True:
        line, found, rest = rest.partition(b"\r\n")
        if not found:
            return None
        size = int(line.split(b";")[0], 16)
        if len(rest) < size + 2:
            return None
        if not size:
            return bytes(body)
        body += rest[:size]
        rest = rest[size + 2 :]
