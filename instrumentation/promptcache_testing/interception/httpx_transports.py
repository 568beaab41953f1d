"""httpx and httpx2: openai, anthropic, google-genai, groq and everything else on these clients.

A request is observed in `Client.send` and answered in the transport's method. Mocks replace what
lies between (respx the pool, pytest-httpx the transport's method, VCR the client's), so that they
win and their requests are seen all the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any, Final

from promptcache_emulator.response import ProviderResponse
from promptcache_testing.interception.api_call import key_of
from promptcache_testing.interception.interceptor import Interceptor
from promptcache_testing.interception.patches import (
    Patches,
    is_defined_in,
    loaded_module,
    response_headers,
)
from promptcache_testing.sent_request import SentRequest, lower_case_headers

LIBRARIES: Final = {"httpx": "httpcore", "httpx2": "httpcore2"}
"""Each library, and the one that has its connection pools."""


def patch_httpx(patches: Patches, library: ModuleType, interceptor: Interceptor) -> None:
    """Patch the clients and transports of `httpx` or `httpx2`."""
    site = _Library(library, interceptor)
    patches.wrap(library.Client, "send", site.wrap_send)
    patches.wrap(library.AsyncClient, "send", site.wrap_async_send)
    patches.wrap(library.HTTPTransport, "handle_request", site.wrap_handle_request)
    patches.wrap(library.AsyncHTTPTransport, "handle_async_request", site.wrap_handle_async_request)


class _Library:
    def __init__(self, library: ModuleType, interceptor: Interceptor) -> None:
        self._library, self._interceptor = library, interceptor

    def wrap_send(self, original: Any) -> Any:
        library, interceptor = self._library, self._interceptor

        def send(client: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            with interceptor.observe(request, lambda: _read_request(library, request)):
                return original(client, request, *args, **kwargs)

        return send

    def wrap_async_send(self, original: Any) -> Any:
        library, interceptor = self._library, self._interceptor

        async def send(client: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            key = key_of(request)  # aiobotocore may be above
            with interceptor.observe(key, lambda: _read_request(library, request)):
                return await original(client, request, *args, **kwargs)

        return send

    def wrap_handle_request(self, original: Any) -> Any:
        def handle_request(transport: Any, request: Any) -> Any:
            sent = self._sent_if_answered(transport, request, original, "handle_request")
            if sent is None:
                return original(transport, request)
            body = bytes(request.read())
            return self._respond(self._interceptor.answer(request, _with_body(sent, body)))

        return handle_request

    def wrap_handle_async_request(self, original: Any) -> Any:
        async def handle_async_request(transport: Any, request: Any) -> Any:
            sent = self._sent_if_answered(transport, request, original, "handle_async_request")
            if sent is None:
                return await original(transport, request)
            body = bytes(await request.aread())
            return self._respond(self._interceptor.answer(key_of(request), _with_body(sent, body)))

        return handle_async_request

    def _sent_if_answered(
        self, transport: Any, request: Any, original: Any, method: str
    ) -> SentRequest | None:
        """Return the request without its body if it is ours to answer; None to let it pass."""
        if self._is_mocked(transport, original, method) or _has_unix_socket(transport):
            return None
        sent = SentRequest(
            request.method, str(request.url), lower_case_headers(dict(request.headers))
        )
        return sent if self._interceptor.takes(sent) else None

    def _is_mocked(self, transport: Any, original: Any, method: str) -> bool:
        """Return whether somebody replaced the transport's method or that of its pool."""
        if not is_defined_in(original, self._library):
            return True
        pools = loaded_module(LIBRARIES[self._library.__name__])
        pool: Any = getattr(transport, "_pool", None)
        pool_method = getattr(pool.__class__, method, None)
        return (
            pools is not None and pool_method is not None and not is_defined_in(pool_method, pools)
        )

    def _respond(self, answer: ProviderResponse) -> Any:
        chunks = answer.chunks()
        headers = response_headers(
            answer.media_type, answer.headers, sum(len(chunk) for chunk in chunks)
        )
        stream = _chunk_stream_class(self._library)(chunks)
        return self._library.Response(answer.status, headers=headers, stream=stream)


def _has_unix_socket(transport: Any) -> bool:
    return getattr(getattr(transport, "_pool", None), "_uds", None) is not None


def _read_request(library: ModuleType, request: Any) -> SentRequest | None:
    """Return the request if its body is known without reading a stream."""
    try:
        body = bytes(request.content)
    except library.RequestNotRead:
        return None
    return SentRequest(
        request.method, str(request.url), lower_case_headers(dict(request.headers)), body
    )


def _with_body(sent: SentRequest, body: bytes) -> SentRequest:
    return SentRequest(sent.method, sent.url, sent.headers, body)


_stream_classes: Final[dict[str, Any]] = {}


def _chunk_stream_class(library: ModuleType) -> Any:
    """Return a stream that yields each chunk as it is, for sync and async clients."""
    name = library.__name__
    if name not in _stream_classes:

        def make_init(self: Any, chunks: list[bytes]) -> None:
            self.chunks = chunks

        def iterate(self: Any) -> Iterator[bytes]:
            yield from self.chunks

        async def iterate_async(self: Any) -> AsyncIterator[bytes]:
            for chunk in self.chunks:
                yield chunk

        bases = (library.SyncByteStream, library.AsyncByteStream)
        methods = {"__init__": make_init, "__iter__": iterate, "__aiter__": iterate_async}
        _stream_classes[name] = type("ChunkStream", bases, methods)
    return _stream_classes[name]
