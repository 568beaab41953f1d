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

from promptcache import ambient
from promptcache.observe import Record
from promptcache.patch.around import Around, Ended, Flow
from promptcache.providers import eventstream
from promptcache.providers.wire import JSON, mapping
from promptcache.safety import safely

KEY: Final = "promptcache"
ERRORS: Final = (b'"error"', b":exception-type", b":error-code")
"""What bytes hold that bring the server's own error: as JSON, or in the headers of AWS's framing."""
LARGEST_BODY: Final = 32 * 2**20
"""Bytes of a body that nobody parses and that we keep to read its usage; a larger one stays unreported."""


def parsed(content: bytes) -> JSON:
    """A JSON object, or an empty mapping where `content` is none."""
    try:
        return mapping(json.loads(content))
    except (ValueError, RecursionError):
        return {}


def recorded(response: Any) -> Record | None:
    """The record of this response while it is open, if any."""
    try:
        record: Record | None = response.extensions.get(KEY)
    except AttributeError:  # whoever reads events by hand may bring a response of another make
        return None
    return record


async def _close(chunks: AsyncIterator[bytes]) -> None:
    """With whoever iterates over them, where they can be closed and the event loop is not doing so, at its end."""
    if not getattr(chunks, "ag_running", False) and isinstance(chunks, AsyncGenerator):
        await chunks.aclose()


class _Listener:
    """Reads what passes by, as long as nobody else does.

    Whoever parses a stream has parsed each complete event before it asks for the next bytes. So an event is read here
    only when more bytes are asked for and the record still has not heard anything; at once where nobody else is
    `expected` to parse it.
    """

    def __init__(self, record: Record, content_type: str, *, expected: bool = True) -> None:
        self._record = record
        self._framed = eventstream.MEDIA in content_type
        self._end = b"" if self._framed else b"\n" if record.asked.results else b"\n\n"
        self._lines = self._framed or record.asked.results or "text/event-stream" in content_type
        self.kept: bytearray | bytes = bytearray()
        """What nobody has read yet; once somebody reads events, the last bytes alone."""
        self._searched = 0
        self._at_once = not expected and self._lines

    def pass_by(self, chunk: bytes) -> None:
        """`chunk` is about to be read; what came before it has been."""
        if self._record.heard:
            self.kept = chunk
            return
        if self._lines and self.kept.find(self._end, max(0, self._searched - 3)) >= 0:
            self._read_events()
        self._searched = len(self.kept)
        if len(self.kept) + len(chunk) <= LARGEST_BODY:
            self.kept += chunk
        if self._at_once:
            self._read_events()

    def flush(self) -> None:
        """All bytes have come in: what is complete is read at once, before others end the span that it belongs to."""
        if self._record.heard:
            self.look_back()
        elif self._lines:
            self._read_events()
        elif event := parsed(bytes(self.kept)):
            self.kept = bytearray()
            self._record.saw(event)

    def finish(self) -> None:
        """Nothing more will be read."""
        if self._lines and not self._record.heard:
            self.kept += self._end
        self.flush()

    def leave(self) -> None:
        """Ends the record; with the next call, where a finalizer runs in the middle of telemetry's own code."""
        if ambient.telemetry_runs(sys._getframe()):  # pyright: ignore[reportPrivateUsage]  # a cheap stack walk
            self._record.observer.dropped.append(self)
        else:
            self.end()

    def end(self) -> None:
        """As `finish`, and the record ends with it."""
        if not self._record.over:
            safely(self.finish)
            self._record.end()

    def look_back(self) -> None:
        """Finds the server's own error in the last bytes: the SDK raises it instead of letting us hear it."""
        record = self._record
        if (
            record.heard
            and self._lines
            and not record.facts.terminal
            and any(sign in self.kept for sign in ERRORS)
        ):
            for event in self._events():
                if event.get("error"):
                    record.saw(event)

    def _read_events(self) -> None:
        for event in self._events():
            self._record.saw(event)
            if event.get("type") == self._record.asked.wire.last:
                self._record.end()  # not every reader asks for the end of the bytes too

    def _events(self) -> Iterator[JSON]:
        if self._framed:
            framed, left = eventstream.events(bytes(self.kept))
            self.kept = bytearray(left)
            yield from framed
            return
        *events, rest = bytes(self.kept).replace(b"\r\n", b"\n").split(self._end)
        self.kept, self._searched = bytearray(rest), 0
        for event in events:
            lines = event.split(b"\n")
            data = (
                event
                if self._end == b"\n"
                else b"\n".join(line[5:] for line in lines if line.startswith(b"data:"))
            )
            if data:
                yield {"type": "[DONE]"} if data.strip() == b"[DONE]" else parsed(data)


class Watched:
    """Stands in for a response's byte stream: the same bytes, and the call ends with it."""

    def __init__(self, response: Any, record: Record, *, expected: bool = True) -> None:
        self._inner = response.stream
        self._response: ref[Any] = ref(response)
        self._request = response.request
        self._record = record
        self._listener = _Listener(
            record, response.headers.get("content-type", ""), expected=expected
        )
        self._pulling = False
        self._closed = False
        response.stream = self
        whole = (self._response, response.__class__, dict[str, Any](response.__dict__))
        response.iter_bytes = partial(_listen, self._iter_bytes, *whole, "iter_bytes")
        response.aiter_bytes = partial(_listen, self._aiter_bytes, *whole, "aiter_bytes")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_inner"], name)

    def __iter__(self) -> Iterator[bytes]:
        return self._raw() if self._record.claimed else iter(self._inner)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._araw() if self._record.claimed else aiter(self._inner)

    def _raw(self) -> Iterator[bytes]:
        with Around(self._coming_in):
            yield from self._inner

    async def _araw(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._inner)
        try:
            with Around(self._coming_in):
                async for chunk in chunks:
                    yield chunk
        finally:
            await _close(chunks)

    def _coming_in(self) -> Flow:
        """Inside the SDK's own stand-in for the stream, hence before it ends its span."""
        ended: Ended = yield None
        if ended.error is None:
            self._listener.flush()
            # A stream's last event was told as it came.
            if self._record.facts.counts and not (
                self._record.asked.stream and self._record.facts.terminal
            ):
                self._record.tell()
        elif isinstance(ended.error, Exception):
            self._record.broke(ended.error)

    def close(self) -> None:
        with Around(self._closing):
            self._inner.close()

    async def aclose(self) -> None:
        with Around(self._closing):
            await self._inner.aclose()

    def __del__(self) -> None:
        if "_listener" in self.__dict__:
            safely(self._listener.leave)

    def _closing(self) -> Flow:
        yield None
        error = sys.exc_info()[1]
        if error is not None and self._concerned(error):
            self._record.failed(error)
        if self._pulling:
            # httpx closes at the last raw byte; a decoder or a chunk size may still hold decoded ones back.
            self._closed = True
        else:
            self._finish()

    def _concerned(self, error: BaseException) -> bool:
        """Whether `error` is the SDK's word on this very response, and not one that the application is handling."""
        answered = getattr(getattr(error, "response", None), "stream", None)
        return (
            answered is self
            or getattr(error, "_request", getattr(error, "request", None)) is self._request
        )

    def _finish(self) -> None:
        safely(self._listener.leave)
        if (response := self._response()) is not None:
            if (
                response.stream is self
            ):  # an SDK that traces itself has put its own stand-in around ours
                response.stream = self._inner
            response.extensions.pop(KEY, None)
            for name in ("iter_bytes", "aiter_bytes"):
                response.__dict__.pop(name, None)

    def _reading(self) -> Flow:
        self._pulling = True
        ended: Ended = yield None
        self._pulling = False
        # A sync body that is read the async way is refused untouched, and can still be read the right way.
        if isinstance(ended.error, Exception) and getattr(
            self._response(), "is_stream_consumed", True
        ):
            self._record.failed(ended.error)
            self._closed = True
        if self._closed:
            self._finish()

    def _iter_bytes(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        record, listener = self._record, self._listener
        with Around(self._reading):
            for chunk in chunks:
                self._pulling = False
                if record.heard:
                    listener.kept = chunk
                else:
                    safely(listener.pass_by, chunk)
                yield chunk
                self._pulling = True

    async def _aiter_bytes(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        record, listener = self._record, self._listener
        try:
            with Around(self._reading):
                async for chunk in chunks:
                    self._pulling = False
                    if record.heard:
                        listener.kept = chunk
                    else:
                        safely(listener.pass_by, chunk)
                    yield chunk
                    self._pulling = True
        finally:
            await _close(chunks)


def _listen(
    stand_in: Callable[[Any], Any],
    response: ref[Any],
    kind: Any,
    state: JSON,
    name: str,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Iterates over the response; over its like where `ask().iter_bytes()` let go of it: this is no bound method."""
    if (alive := response()) is None:
        alive = kind.__new__(kind)
        alive.__dict__.update(state)
    return stand_in(getattr(kind, name)(alive, *args, **kwargs))


@lru_cache(maxsize=16)
def _kind(stream: Any) -> type[Watched]:
    """`Watched` as httpx accepts it: sync, async or both, as the stream that it stands in for."""
    bases = [
        base for base in stream.__mro__ if base.__name__ in {"SyncByteStream", "AsyncByteStream"}
    ]
    return type("Watched", (Watched, *bases), {})


def listen(response: Any, record: Record) -> None:
    """Reads a response that is in memory already, if nobody parsed it."""
    listener = _Listener(record, response.headers.get("content-type", ""))
    listener.pass_by(response.content)
    listener.finish()


def watch(response: Any, record: Record, *, expected: bool = True) -> None:
    """Follows `response` to its end, whichever that is: read, closed, failed or dropped.

    `expected` says that the record may hear of its events from whoever parses them.
    """
    _kind(response.stream.__class__)(response, record, expected=expected)
