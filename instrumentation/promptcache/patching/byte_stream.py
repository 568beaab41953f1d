"""Observe a response whose body the application has not read yet.

We neither read the body nor keep the response alive. `ObservedByteStream` replaces
`response.stream`, httpx's documented interface for the raw bytes: it sees each chunk before httpx
decodes it, the end, a failure, the close, and its own garbage collection. It is replaced by the
original at the end.

There is no reference from our objects back to the response (httpx2 has no cycle there either). So a
response that the application drops ends, and frees its connection, as early as it does without us.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from functools import lru_cache
from typing import Any
from weakref import ref

from promptcache.common.safely import safely
from promptcache.patching.response_reader import ResponseReader
from promptcache.telemetry.invocation import Invocation


class ObservedByteStream:
    """Yield a stream's bytes unchanged, and finish the invocation when the stream ends."""

    def __init__(self, response: Any, invocation: Invocation) -> None:
        self._inner = response.stream
        self._response_ref: ref[Any] = ref(response)
        self._request = response.request
        self.invocation = invocation
        self._reader = ResponseReader(invocation, response.headers)
        response.stream = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_inner"], name)

    def __iter__(self) -> Iterator[bytes]:
        feed = self._reader.feed
        with _Reading(self):
            for chunk in self._inner:
                safely(feed, chunk)
                yield chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        feed, chunks = self._reader.feed, aiter(self._inner)
        try:
            with _Reading(self):
                async for chunk in chunks:
                    safely(feed, chunk)
                    yield chunk
        finally:
            # An event loop that shuts down may be closing the inner generator already.
            if not getattr(chunks, "ag_running", False) and isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    def close(self) -> None:
        try:
            self._inner.close()
        finally:
            safely(self.finish_closed, sys.exc_info()[1])

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            safely(self.finish_closed, sys.exc_info()[1])

    def __del__(self) -> None:
        if "_reader" in self.__dict__:
            safely(self.finalize)

    def finalize(self) -> None:
        """Finish, maybe in a finalizer."""
        self.invocation.finalize(self._reader.flush)

    def finish_read(self, error: BaseException | None) -> None:
        """Finish after the last byte, or after `error`. A reader that stops early ends nothing."""
        if error is None:
            self.invocation.on_last_byte()
        elif isinstance(error, Exception):
            self.invocation.fail(error)
        else:
            return
        self._finish()

    def finish_closed(self, error: BaseException | None) -> None:
        """Finish after a close, which may be due to `error`.

        The application may also close a stream while it handles an error of something else.
        """
        response: Any = getattr(error, "response", None)
        request = getattr(error, "_request", getattr(error, "request", None))
        if error is not None and (
            request is self._request or getattr(response, "stream", None) is self
        ):
            self.invocation.fail(error)
        self._finish()

    def _finish(self) -> None:
        # The garbage collector closes a stream too, by the generator of an SDK that reads it.
        self.finalize()
        response = self._response_ref()
        # An SDK that traces itself has put its own wrapper around our stream.
        if response is not None and response.stream is self:
            response.stream = self._inner

    def arrange_end_before_sdk_span(self) -> None:
        """Finish before the SDK ends its own span, if it has wrapped our stream for that.

        anthropic tells the observer on its wrapper how the stream ended, be it read, closed or
        dropped. The observer then ends the span (`_tracing.StreamObserver`, 2.14).
        """
        wrapper: Any = getattr(self._response_ref(), "stream", None)
        observer = getattr(wrapper, "stream_observer", None)
        if wrapper is not self and observer is not None:
            wrapper.stream_observer = _PrecedingObserver(self, observer)

    def end_before_sdk_span(self, error: BaseException | None) -> None:
        """Finish, maybe in a finalizer of the SDK. The stream may have failed with `error`."""
        if isinstance(error, Exception) and not self.invocation.is_finished:
            self.invocation.fail(error)
        self.finalize()


class _PrecedingObserver:
    """Finish an observed stream before the SDK's observer of it ends the SDK's span."""

    def __init__(self, stream: ObservedByteStream, observer: Any) -> None:
        self._stream, self._observer = stream, observer
        self.begin, self.item = observer.begin, observer.item

    def end(self, how: str, error: BaseException | None = None) -> None:
        safely(self._stream.end_before_sdk_span, error)
        self._observer.end(how, error)


class _Reading:
    """The reading of a stream, from its first byte to its end."""

    __slots__ = ("_stream",)

    def __init__(self, stream: ObservedByteStream) -> None:
        self._stream = stream

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: object
    ) -> None:
        safely(self._stream.finish_read, error)


@lru_cache(maxsize=16)
def _stream_class_for(stream: Any) -> type[ObservedByteStream]:
    """Return a subclass that httpx accepts in place of `stream`: sync, async or both."""
    kinds = {"SyncByteStream", "AsyncByteStream"}
    bases = [base for base in stream.__mro__ if base.__name__ in kinds]
    return type("ObservedByteStream", (ObservedByteStream, *bases), {})


def observe_stream(response: Any, invocation: Invocation) -> ObservedByteStream:
    """Observe `response` until its end: it is read, closed, fails or is garbage-collected."""
    return _stream_class_for(response.stream.__class__)(response, invocation)
