"""Watches a response whose body the application has not read yet, without reading it and without keeping it alive.

Its `close` (every normal end passes it) and its iteration over decoded bytes (for an application that lets nobody
parse) are replaced on the instance and put back at the end. The record travels in `extensions`, which is neither
pickled nor compared. No reference cycle is added, so a dropped stream ends, and frees its connection, as early as
without us.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, Final
from weakref import ref

from ..observe import Around, Ended, Flow, Record, safely
from ..providers.wire import JSON, mapping

KEY: Final = "promptcache"
LARGEST_BODY: Final = 32 * 2**20
"""Bytes of a body that nobody parses and that we keep to read its usage; a larger one stays unreported."""


def parsed(content: bytes) -> JSON:
    """A JSON object, or an empty mapping where `content` is none."""
    try:
        return mapping(json.loads(content))
    except (ValueError, RecursionError):
        return {}


def bind(response: Any, record: Record) -> None:
    """Lets `recorded` find the record of this response, and its end by garbage collection end the record."""
    response.extensions[KEY] = _Holder(record)


def recorded(response: Any) -> Record | None:
    """The record that `bind` gave to this response, if any."""
    holder: _Holder | None = response.extensions.get(KEY)
    return None if holder is None else holder.record


class _Holder:
    """Dies with its response: a stream that nobody closed ends then."""

    __slots__ = ("record",)

    def __init__(self, record: Record) -> None:
        self.record = record

    def __del__(self) -> None:
        safely(self.record.drop)


class _Listener:
    """Reads what passes by, as long as nobody else does.

    Whoever parses a stream has parsed each complete event before it asks for the next bytes. So an event is read here
    only when more bytes are asked for and the record still has not heard anything.
    """

    def __init__(self, record: Record, content_type: str) -> None:
        self._record = record
        self._lines = "text/event-stream" in content_type
        self._kept = bytearray()

    def pass_by(self, chunk: bytes) -> None:
        """`chunk` is about to be read; what came before it has been."""
        if self._record.heard:
            self._kept.clear()
            return
        if self._lines:
            self._read_events()
        if len(self._kept) + len(chunk) <= LARGEST_BODY:
            self._kept += chunk

    def finish(self) -> None:
        """Nothing more will be read."""
        if self._record.heard:
            return
        if self._lines:
            self._kept += b"\n\n"
            self._read_events()
        else:
            self._record.saw(parsed(bytes(self._kept)))

    def _read_events(self) -> None:
        *events, rest = bytes(self._kept).replace(b"\r\n", b"\n").split(b"\n\n")
        self._kept = bytearray(rest)
        for event in events:
            data = b"\n".join(line[5:] for line in event.split(b"\n") if line.startswith(b"data:"))
            if data:
                self._record.saw(parsed(data))


class _Watch:
    """What stands in for the response's own methods until it is closed."""

    def __init__(self, response: Any, record: Record) -> None:
        self._response = ref(response)
        self._record = record
        self._pulling = False
        self._closed = False
        self._listener = _Listener(record, response.headers.get("content-type", ""))
        self._replaced: dict[str, Callable[..., Any] | None] = {}
        for name, stand_in in (
            ("close", self._close),
            ("aclose", self._aclose),
            ("iter_bytes", self._iter_bytes),
            ("aiter_bytes", self._aiter_bytes),
        ):
            earlier = response.__dict__.get(name)
            self._replaced[name] = earlier
            # Found again on the class at each call: a bound method would keep the response alive.
            response.__dict__[name] = partial(stand_in, earlier or partial(_call, self._response, name))

    def _closing(self) -> Flow:
        response = self._response()
        yield
        error = sys.exc_info()[1]
        if error is not None and _concerns(error, response):
            self._record.failed(error)
        if self._pulling:
            # httpx closes at the last raw byte; a decoder or a chunk size may still hold decoded ones back.
            self._closed = True
        else:
            self._finish()

    def _finish(self) -> None:
        safely(self._listener.finish)
        safely(self._record.end)
        if (response := self._response()) is not None:
            self._put_back(response)

    def _put_back(self, response: Any) -> None:
        for name, earlier in self._replaced.items():
            response.__dict__.pop(name, None)
            if earlier is not None:
                response.__dict__[name] = earlier
        response.extensions.pop(KEY, None)

    def _reading(self) -> Flow:
        ended: Ended = yield
        self._pulling = False
        if isinstance(ended.error, Exception):
            self._record.failed(ended.error)
        if self._closed:
            self._finish()

    def _close(self, own: Callable[[], None]) -> None:
        with Around(self._closing):
            own()

    async def _aclose(self, own: Callable[[], Any]) -> None:
        with Around(self._closing):
            await own()

    def _iter_bytes(self, own: Callable[..., Iterator[bytes]], *args: Any, **kwargs: Any) -> Iterator[bytes]:
        with Around(self._reading):
            self._pulling = True
            for chunk in own(*args, **kwargs):
                self._pulling = False
                safely(self._listener.pass_by, chunk)
                yield chunk
                self._pulling = True

    async def _aiter_bytes(self, own: Callable[..., AsyncIterator[bytes]], *args: Any, **kwargs: Any) -> Any:
        with Around(self._reading):
            self._pulling = True
            async for chunk in own(*args, **kwargs):
                self._pulling = False
                safely(self._listener.pass_by, chunk)
                yield chunk
                self._pulling = True


def _call(response: ref[Any], name: str, *args: Any, **kwargs: Any) -> Any:
    alive = response()
    return getattr(type(alive), name)(alive, *args, **kwargs)


def _concerns(error: BaseException, response: Any) -> bool:
    """Whether `error` is the SDK's word on this very response, and not one that the application is handling."""
    if response is None:
        return False
    return getattr(error, "response", None) is response or getattr(error, "request", None) is response.request


def watch(response: Any, record: Record) -> None:
    """Follows `response` to its end, whichever that is: read, closed, failed or dropped."""
    _Watch(response, record)
