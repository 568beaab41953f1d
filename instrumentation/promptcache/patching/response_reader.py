"""The only road from the bytes of a response to the facts of its invocation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from threading import Thread
from typing import Any, Final

from promptcache.common.safely import safely
from promptcache.patching.content_decoder import make_content_decoder
from promptcache.patching.event_decoder import EventDecoder, RecognizingDecoder, make_event_decoder
from promptcache.telemetry.invocation import Invocation

PIECE_BYTES: Final = 1 << 20
"""A body in memory is read in pieces of this size, so that few of its events exist at a time."""

MAX_INLINE_BYTES: Final = 4 << 20
"""Larger files of batch results are read in a thread."""
THREAD_NAME: Final = "promptcache-batch-results"


class ResponseReader:
    """Read the bytes of one response before the SDK or the application reads them.

    A foreign span that ends while the SDK parses a chunk thus has all facts of that chunk. Bytes
    that cannot be decoded leave the call unreported.
    """

    __slots__ = ("_decode_content", "_events", "_relevant", "invocation")

    def __init__(self, invocation: Invocation, headers: Mapping[str, str]) -> None:
        self.invocation = invocation
        self._decode_content = make_content_decoder(headers.get("content-encoding", ""))
        self._events = _make_event_decoder(invocation, headers)
        self._relevant: re.Pattern[bytes] | None = None
        self._use_relevant_bytes()

    def feed(self, chunk: bytes) -> None:
        """Report the facts of the events that `chunk` completes."""
        invocation = self.invocation
        if self._decode_content is not None:
            chunk = safely(self._decode_content, chunk) or b""
        for event in self._events.feed(chunk, self._relevant):
            invocation.on_event(event)
        if self._relevant is None:
            self._use_relevant_bytes()

    def _use_relevant_bytes(self) -> None:
        # Until the call has output, each event may be its first output.
        if self.invocation.has_output:
            self._relevant = self.invocation.request_info.wire_format.relevant_bytes

    @property
    def is_other_body(self) -> bool:
        """Whether the body is a file of another kind, of which nothing more will be read."""
        return isinstance(self._events, RecognizingDecoder) and self._events.is_other_body

    def flush(self) -> None:
        """Report the facts of the bytes that are left. No more bytes will come."""
        for event in self._events.flush():
            self.invocation.on_event(event)


def finish_after_reading(invocation: Invocation, size: int, read: Callable[[], None]) -> None:
    """Run `read`, which reports the facts of a body of `size` bytes, and finish the call.

    A large file of batch results takes a tenth of a millisecond a result. A thread reads it, so
    that it does not stop the application's event loop. Python waits for this thread at its exit.
    """

    def read_and_finish() -> None:
        safely(read)
        safely(invocation.finish)

    if size > MAX_INLINE_BYTES and invocation.request_info.batch_results_url:
        Thread(target=read_and_finish, name=THREAD_NAME, daemon=False).start()
    else:
        read_and_finish()


def read_complete_response(response: Any, invocation: Invocation) -> None:
    """Report the facts of a response whose body is in memory, with its content encoding undone."""
    if invocation.request_info.batch_results_url:
        read_content(ResponseReader(invocation, {}), response.content)
        return
    events = _make_event_decoder(invocation, response.headers)
    for event in (*events.feed(response.content, None), *events.flush()):
        invocation.on_event(event)


def _make_event_decoder(invocation: Invocation, headers: Mapping[str, str]) -> EventDecoder:
    return make_event_decoder(
        headers.get("content-type", ""),
        is_json_lines=bool(invocation.request_info.batch_results_url),
        body_start=invocation.request_info.wire_format.body_start,
    )


def read_content(reader: ResponseReader, content: bytes) -> None:
    """Read a file of batch results that is in memory."""
    starts = range(0, len(content), PIECE_BYTES)
    read_pieces(reader, (content[start : start + PIECE_BYTES] for start in starts))


def read_pieces(reader: ResponseReader, pieces: Iterable[bytes]) -> None:
    """Read a file in pieces, or only the first ones if it turns out to hold no batch results."""
    for piece in pieces:
        reader.feed(piece)
        if reader.is_other_body:
            return
    reader.flush()
    reader.invocation.on_last_byte()
