"""Observe a response whose body the application has not read yet.

We neither read the body nor keep the response alive.

`ObservedByteStream` replaces `response.stream`, and sees the close and the garbage collection of
the stream. It also replaces `iter_bytes` and `aiter_bytes` on the response, and reads the decoded
bytes there if the SDK does not report parsed events. All of this is restored at the end. The
invocation is stored in `response.extensions`, which httpx neither pickles nor compares.

There is no reference from our objects back to the response (httpx2 has no cycle there either). So a
response that the application drops ends, and frees its connection, as early as it does without us.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from functools import lru_cache, partial
from typing import Any, Final
from weakref import ref

from promptcache.common.coerce import JSONObject
from promptcache.common.safely import safely
from promptcache.patching.event_reader import EventReader
from promptcache.patching.flow import Flow, FlowRunner, StepResult
from promptcache.telemetry.invocation import Invocation

EXTENSION_KEY: Final = "promptcache"
"""Key of the invocation in `response.extensions`."""


def invocation_of(response: Any) -> Invocation | None:
    """Return the unfinished invocation of `response`, if it has one."""
    try:
        invocation: Invocation | None = response.extensions.get(EXTENSION_KEY)
    except AttributeError:
        # An application that parses events itself may pass an object of another class.
        return None
    return invocation


async def _close_chunks(chunks: AsyncIterator[bytes]) -> None:
    """Close an inner async generator, unless the event loop is already closing it."""
    if not getattr(chunks, "ag_running", False) and isinstance(chunks, AsyncGenerator):
        await chunks.aclose()


class ObservedByteStream:
    """Yield a stream's bytes unchanged, and finish the invocation when the stream ends."""

    def __init__(self, response: Any, invocation: Invocation, *, sdk_parses: bool = True) -> None:
        self._inner = response.stream
        self._response_ref: ref[Any] = ref(response)
        self._request = response.request
        self._invocation = invocation
        self._reader = EventReader(
            invocation, response.headers.get("content-type", ""), sdk_parses=sdk_parses
        )
        self._is_reading_chunk = False
        self._is_closed = False
        response.stream = self
        copy = (self._response_ref, response.__class__, dict[str, Any](response.__dict__))
        response.iter_bytes = partial(_iterate_response, self._iter_bytes, *copy, "iter_bytes")
        response.aiter_bytes = partial(_iterate_response, self._aiter_bytes, *copy, "aiter_bytes")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_inner"], name)

    def __iter__(self) -> Iterator[bytes]:
        return self._iterate_raw() if self._invocation.has_foreign_span else iter(self._inner)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return (
            self._async_iterate_raw() if self._invocation.has_foreign_span else aiter(self._inner)
        )

    def _iterate_raw(self) -> Iterator[bytes]:
        with FlowRunner(self._raw_read_flow):
            yield from self._inner

    async def _async_iterate_raw(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._inner)
        try:
            with FlowRunner(self._raw_read_flow):
                async for chunk in chunks:
                    yield chunk
        finally:
            await _close_chunks(chunks)

    def _raw_read_flow(self) -> Flow:
        """Flush before the SDK ends its span: an SDK that traces itself wraps our stream."""
        result: StepResult = yield None
        invocation = self._invocation
        if result.error is None:
            self._reader.flush()
            # The attributes of a stream were flushed at its terminal event.
            is_flushed = invocation.request_info.stream and invocation.facts.is_terminal
            if invocation.facts.usage_counters and not is_flushed:
                invocation.flush_attributes()
        elif isinstance(result.error, Exception):
            invocation.on_stream_failed(result.error)

    def close(self) -> None:
        with FlowRunner(self._close_flow):
            self._inner.close()

    async def aclose(self) -> None:
        with FlowRunner(self._close_flow):
            await self._inner.aclose()

    def __del__(self) -> None:
        if "_reader" in self.__dict__:
            safely(self._reader.finalize)

    def _close_flow(self) -> Flow:
        yield None
        error = sys.exc_info()[1]
        if error is not None and self._is_error_of_response(error):
            self._invocation.fail(error)
        if self._is_reading_chunk:
            # httpx closes at the last raw byte. A content decoder or a chunk size may still hold
            # decoded bytes back.
            self._is_closed = True
        else:
            self._finish()

    def _is_error_of_response(self, error: BaseException) -> bool:
        """Return whether `error` belongs to this response.

        The application may close a stream while it handles another error.
        """
        stream = getattr(getattr(error, "response", None), "stream", None)
        request = getattr(error, "_request", getattr(error, "request", None))
        return stream is self or request is self._request

    def _finish(self) -> None:
        safely(self._reader.finalize)
        if (response := self._response_ref()) is not None:
            # An SDK that traces itself has put its own wrapper around our stream.
            if response.stream is self:
                response.stream = self._inner
            response.extensions.pop(EXTENSION_KEY, None)
            for name in ("iter_bytes", "aiter_bytes"):
                response.__dict__.pop(name, None)

    def _flow_around_decoded_read(self) -> Flow:
        self._is_reading_chunk = True
        result: StepResult = yield None
        self._is_reading_chunk = False
        # httpx refuses to read a sync body asynchronously. It leaves the body unread, so that a
        # correct read may follow.
        is_consumed = getattr(self._response_ref(), "is_stream_consumed", True)
        if isinstance(result.error, Exception) and is_consumed:
            self._invocation.fail(result.error)
            self._is_closed = True
        if self._is_closed:
            self._finish()

    def _iter_bytes(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        invocation, reader, decoder = self._invocation, self._reader, self._reader.decoder
        with FlowRunner(self._flow_around_decoded_read):
            for chunk in chunks:
                self._is_reading_chunk = False
                if invocation.sdk_parses_events:
                    decoder.buffer = chunk
                else:
                    safely(reader.feed, chunk)
                yield chunk
                self._is_reading_chunk = True

    async def _aiter_bytes(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        invocation, reader, decoder = self._invocation, self._reader, self._reader.decoder
        try:
            with FlowRunner(self._flow_around_decoded_read):
                async for chunk in chunks:
                    self._is_reading_chunk = False
                    if invocation.sdk_parses_events:
                        decoder.buffer = chunk
                    else:
                        safely(reader.feed, chunk)
                    yield chunk
                    self._is_reading_chunk = True
        finally:
            await _close_chunks(chunks)


def _iterate_response(
    observe: Callable[[Any], Any],
    response_ref: ref[Any],
    response_class: Any,
    state: JSONObject,
    method_name: str,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Iterate over the response; over a copy of it if it was collected already.

    This is no bound method, so `create().iter_bytes()` holds no reference to the response.
    """
    response = response_ref()
    if response is None:
        response = response_class.__new__(response_class)
        response.__dict__.update(state)
    return observe(getattr(response_class, method_name)(response, *args, **kwargs))


@lru_cache(maxsize=16)
def _stream_class_for(stream: Any) -> type[ObservedByteStream]:
    """Return a subclass that httpx accepts in place of `stream`: sync, async or both."""
    bases = [
        base for base in stream.__mro__ if base.__name__ in {"SyncByteStream", "AsyncByteStream"}
    ]
    return type("ObservedByteStream", (ObservedByteStream, *bases), {})


def observe_stream(response: Any, invocation: Invocation, *, sdk_parses: bool = True) -> None:
    """Observe `response` until its end: it is read, closed, fails or is garbage-collected.

    `sdk_parses` says that the SDK may report parsed events to the invocation.
    """
    _stream_class_for(response.stream.__class__)(response, invocation, sdk_parses=sdk_parses)
