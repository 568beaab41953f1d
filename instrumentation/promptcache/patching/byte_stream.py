"""Watches a response whose body the application has not read yet, without reading it and without keeping it alive.

Its byte stream gets a stand-in that sees the close and the garbage collection, and its iteration over decoded bytes one
that listens where nobody parses; both are put back at the end. The record travels in `extensions`, which is neither
pickled nor compared. No reference leads back to the response (httpx2 has no cycle there either), so a dropped stream
ends, and frees its connection, as early as without us.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from functools import lru_cache, partial
from typing import Any, Final
from weakref import ref

from promptcache.common.coerce import JSONObject, as_mapping
from promptcache.common.safely import safely
from promptcache.patching.flow import Flow, FlowRunner, StepResult
from promptcache.providers.bedrock import eventstream
from promptcache.telemetry import context_attributes as ambient
from promptcache.telemetry.invocation import Invocation

EXTENSION_KEY: Final = "promptcache"
ERROR_MARKERS: Final = (b'"error"', b":exception-type", b":error-code")
"""What bytes hold that bring the server's own error: as JSON, or in the headers of AWS's framing."""
MAX_BODY_BYTES: Final = 32 * 2**20
"""Bytes of a body that nobody parses and that we keep to read its usage; a larger one stays unreported."""


def parse_json_object(content: bytes) -> JSONObject:
    """A JSON object, or an empty mapping where `content` is none."""
    try:
        return as_mapping(json.loads(content))
    except (ValueError, RecursionError):
        return {}


def invocation_of(response: Any) -> Invocation | None:
    """The record of this response while it is open, if any."""
    try:
        record: Invocation | None = response.extensions.get(EXTENSION_KEY)
    except AttributeError:  # whoever reads events by hand may bring a response of another make
        return None
    return record


async def _close_chunks(chunks: AsyncIterator[bytes]) -> None:
    """With whoever iterates over them, where they can be closed and the event loop is not doing so, at its end."""
    if not getattr(chunks, "ag_running", False) and isinstance(chunks, AsyncGenerator):
        await chunks.aclose()


class EventReader:
    """Reads what passes by, as long as nobody else does.

    Whoever parses a stream has parsed each complete event before it asks for the next bytes. So an event is read here
    only when more bytes are asked for and the record still has not heard anything; at once where nobody else is
    `sdk_parses` to parse it.
    """

    def __init__(
        self, invocation: Invocation, content_type: str, *, sdk_parses: bool = True
    ) -> None:
        self._invocation = invocation
        self._is_aws_event_stream = eventstream.MEDIA_TYPE in content_type
        self._separator = (
            b""
            if self._is_aws_event_stream
            else b"\n"
            if invocation.request_info.batch_results_url
            else b"\n\n"
        )
        self._has_events = (
            self._is_aws_event_stream
            or invocation.request_info.batch_results_url
            or "text/event-stream" in content_type
        )
        self.buffer: bytearray | bytes = bytearray()
        """What nobody has read yet; once somebody reads events, the last bytes alone."""
        self._searched_bytes = 0
        self._parses_at_once = not sdk_parses and self._has_events

    def feed(self, chunk: bytes) -> None:
        """`chunk` is about to be read; what came before it has been."""
        if self._invocation.sdk_parses_events:
            self.buffer = chunk
            return
        if (
            self._has_events
            and self.buffer.find(self._separator, max(0, self._searched_bytes - 3)) >= 0
        ):
            self._process_events()
        self._searched_bytes = len(self.buffer)
        if len(self.buffer) + len(chunk) <= MAX_BODY_BYTES:
            self.buffer += chunk
        if self._parses_at_once:
            self._process_events()

    def flush(self) -> None:
        """All bytes have come in: what is complete is read at once, before others end the span that it belongs to."""
        if self._invocation.sdk_parses_events:
            self.read_trailing_error()
        elif self._has_events:
            self._process_events()
        elif event := parse_json_object(bytes(self.buffer)):
            self.buffer = bytearray()
            self._invocation.on_event(event)

    def read_remaining(self) -> None:
        """Nothing more will be read."""
        if self._has_events and not self._invocation.sdk_parses_events:
            self.buffer += self._separator
        self.flush()

    def finalize(self) -> None:
        """Ends the record; with the next call, where a finalizer runs in the middle of telemetry's own code."""
        if ambient.lock_may_be_held(sys._getframe()):  # pyright: ignore[reportPrivateUsage]  # a cheap stack walk
            self._invocation.handler.deferred.append(self)
        else:
            self.finish()

    def finish(self) -> None:
        """As `read_remaining`, and the record ends with it."""
        if not self._invocation.is_finished:
            safely(self.read_remaining)
            self._invocation.finish()

    def read_trailing_error(self) -> None:
        """Finds the server's own error in the last bytes: the SDK raises it instead of letting us hear it."""
        record = self._invocation
        if (
            record.sdk_parses_events
            and self._has_events
            and not record.facts.is_terminal
            and any(sign in self.buffer for sign in ERROR_MARKERS)
        ):
            for event in self._take_events():
                if event.get("error"):
                    record.on_event(event)

    def _process_events(self) -> None:
        for event in self._take_events():
            self._invocation.on_event(event)
            if event.get("type") == self._invocation.request_info.wire_format.terminal_event:
                self._invocation.finish()  # not every reader asks for the end of the bytes too

    def _take_events(self) -> Iterator[JSONObject]:
        if self._is_aws_event_stream:
            framed, left = eventstream.decode_events(bytes(self.buffer))
            self.buffer = bytearray(left)
            yield from framed
            return
        *events, rest = bytes(self.buffer).replace(b"\r\n", b"\n").split(self._separator)
        self.buffer, self._searched_bytes = bytearray(rest), 0
        for event in events:
            lines = event.split(b"\n")
            data = (
                event
                if self._separator == b"\n"
                else b"\n".join(line[5:] for line in lines if line.startswith(b"data:"))
            )
            if data:
                yield {"type": "[DONE]"} if data.strip() == b"[DONE]" else parse_json_object(data)


class ObservedByteStream:
    """Stands in for a response's byte stream: the same bytes, and the call ends with it."""

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
        whole = (self._response_ref, response.__class__, dict[str, Any](response.__dict__))
        response.iter_bytes = partial(_iterate_response, self._iter_bytes, *whole, "iter_bytes")
        response.aiter_bytes = partial(_iterate_response, self._aiter_bytes, *whole, "aiter_bytes")

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
        """Inside the SDK's own stand-in for the stream, hence before it ends its span."""
        ended: StepResult = yield None
        if ended.error is None:
            self._reader.flush()
            # A stream's last event was told as it came.
            if self._invocation.facts.usage_counters and not (
                self._invocation.request_info.stream and self._invocation.facts.is_terminal
            ):
                self._invocation.flush_attributes()
        elif isinstance(ended.error, Exception):
            self._invocation.on_stream_failed(ended.error)

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
            # httpx closes at the last raw byte; a decoder or a chunk size may still hold decoded ones back.
            self._is_closed = True
        else:
            self._finish()

    def _is_error_of_response(self, error: BaseException) -> bool:
        """Whether `error` is the SDK's word on this very response, and not one that the application is handling."""
        answered = getattr(getattr(error, "response", None), "stream", None)
        return (
            answered is self
            or getattr(error, "_request", getattr(error, "request", None)) is self._request
        )

    def _finish(self) -> None:
        safely(self._reader.finalize)
        if (response := self._response_ref()) is not None:
            if (
                response.stream is self
            ):  # an SDK that traces itself has put its own stand-in around ours
                response.stream = self._inner
            response.extensions.pop(EXTENSION_KEY, None)
            for name in ("iter_bytes", "aiter_bytes"):
                response.__dict__.pop(name, None)

    def _decoded_read_flow(self) -> Flow:
        self._is_reading_chunk = True
        ended: StepResult = yield None
        self._is_reading_chunk = False
        # A sync body that is read the async way is refused untouched, and can still be read the right way.
        if isinstance(ended.error, Exception) and getattr(
            self._response_ref(), "is_stream_consumed", True
        ):
            self._invocation.fail(ended.error)
            self._is_closed = True
        if self._is_closed:
            self._finish()

    def _iter_bytes(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        record, listener = self._invocation, self._reader
        with FlowRunner(self._decoded_read_flow):
            for chunk in chunks:
                self._is_reading_chunk = False
                if record.sdk_parses_events:
                    listener.buffer = chunk
                else:
                    safely(listener.feed, chunk)
                yield chunk
                self._is_reading_chunk = True

    async def _aiter_bytes(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        record, listener = self._invocation, self._reader
        try:
            with FlowRunner(self._decoded_read_flow):
                async for chunk in chunks:
                    self._is_reading_chunk = False
                    if record.sdk_parses_events:
                        listener.buffer = chunk
                    else:
                        safely(listener.feed, chunk)
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
    """Iterates over the response; over its like where `ask().iter_bytes()` let go of it: this is no bound method."""
    if (alive := response_ref()) is None:
        alive = response_class.__new__(response_class)
        alive.__dict__.update(state)
    return observe(getattr(response_class, method_name)(alive, *args, **kwargs))


@lru_cache(maxsize=16)
def _stream_class_for(stream: Any) -> type[ObservedByteStream]:
    """`ObservedByteStream` as httpx accepts it: sync, async or both, as the stream that it stands in for."""
    bases = [
        base for base in stream.__mro__ if base.__name__ in {"SyncByteStream", "AsyncByteStream"}
    ]
    return type("ObservedByteStream", (ObservedByteStream, *bases), {})


def read_buffered_response(response: Any, invocation: Invocation) -> None:
    """Reads a response that is in memory already, if nobody parsed it."""
    listener = EventReader(invocation, response.headers.get("content-type", ""))
    listener.feed(response.content)
    listener.read_remaining()


def observe_stream(response: Any, invocation: Invocation, *, sdk_parses: bool = True) -> None:
    """Follows `response_ref` to its end, whichever that is: read, closed, failed or dropped.

    `sdk_parses` says that the record may hear of its events from whoever parses them.
    """
    _stream_class_for(response.stream.__class__)(response, invocation, sdk_parses=sdk_parses)
