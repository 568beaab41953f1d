"""Cut the bytes of a response into events, and parse the events that matter.

The formats are server-sent events, JSON lines, AWS's binary event stream, and a body that is one
JSON object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final, Protocol

from promptcache.common.coerce import JSONObject, as_mapping
from promptcache.providers.bedrock import eventstream

MAX_BUFFERED_BYTES: Final = 32 * 2**20
"""Maximum size of one event or body. A longer one is dropped, and its usage stays unreported."""
_END_MARK: Final = b"[DONE]"
"""The last event of OpenAI's streams, which is no JSON."""


def parse_json_object(content: bytes) -> JSONObject:
    """Return the JSON object in `content`; an empty mapping if there is none."""
    try:
        return as_mapping(json.loads(content))
    except (ValueError, RecursionError):
        return {}


class EventDecoder(Protocol):
    """Take the bytes of a response in pieces, and return the events in them."""

    def feed(self, chunk: bytes, relevant: re.Pattern[bytes] | None) -> list[JSONObject]:
        """Return the events that `chunk` completes, without those that `relevant` does not match.

        None matches every event.
        """
        ...

    def flush(self) -> list[JSONObject]:
        """Return what is left, because no more bytes will come."""
        ...


def make_event_decoder(
    content_type: str, *, is_json_lines: bool, body_start: re.Pattern[bytes] | None = None
) -> EventDecoder:
    """Return the decoder for a content type. Only the results of a batch are JSON lines.

    Of JSON lines, a body that does not begin with `body_start` has no events.
    """
    if eventstream.MEDIA_TYPE in content_type:
        return AWSEventDecoder()
    if is_json_lines:
        lines = SeparatedEventDecoder(b"\n")
        return lines if body_start is None else RecognizingDecoder(lines, body_start)
    if "text/event-stream" in content_type:
        return SeparatedEventDecoder(b"\n\n")
    return BodyDecoder()


class SeparatedEventDecoder:
    r"""Decode events that end with a separator: `\n\n` for server-sent events, `\n` for lines.

    OpenAI's end mark becomes an event of type `[DONE]`.
    """

    __slots__ = ("_buffer", "_separator")

    def __init__(self, separator: bytes) -> None:
        self._separator = separator
        self._buffer = bytearray()

    def feed(self, chunk: bytes, relevant: re.Pattern[bytes] | None) -> list[JSONObject]:
        """Return the relevant events that `chunk` completes."""
        complete = chunk
        if self._buffer or not chunk.endswith(self._separator):
            complete = self._take_complete_events(chunk)
        if not complete or (relevant is not None and not _is_relevant(complete, relevant)):
            return []
        return list(self._parse(complete, relevant))

    def flush(self) -> list[JSONObject]:
        """Return the last event, whose separator may be missing."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return list(self._parse(rest, None))

    def _take_complete_events(self, chunk: bytes) -> bytes:
        buffer = self._buffer
        if len(buffer) + len(chunk) > MAX_BUFFERED_BYTES:
            buffer.clear()
            return b""
        # A separator may begin in the bytes before, but not earlier than this.
        search_start = max(0, len(buffer) - 3)
        buffer += chunk
        ends = (
            buffer.rfind(separator, search_start) + len(separator)
            for separator in (self._separator, self._separator.replace(b"\n", b"\r\n"))
            if buffer.find(separator, search_start) >= 0
        )
        end = max(ends, default=0)
        complete = bytes(buffer[:end])
        del buffer[:end]
        return complete

    def _parse(self, complete: bytes, relevant: re.Pattern[bytes] | None) -> Iterator[JSONObject]:
        if b"\r" in complete:
            complete = complete.replace(b"\r\n", b"\n")
        for event in complete.split(self._separator):
            if not event or (relevant is not None and not _is_relevant(event, relevant)):
                continue
            data = event if self._separator == b"\n" else _sse_data(event)
            if data:
                yield {"type": "[DONE]"} if data.strip() == _END_MARK else parse_json_object(data)


def _is_relevant(events: bytes, relevant: re.Pattern[bytes]) -> bool:
    return relevant.search(events) is not None or _END_MARK in events


def _sse_data(event: bytes) -> bytes:
    return b"\n".join(line[5:] for line in event.split(b"\n") if line.startswith(b"data:"))


class RecognizingDecoder:
    """Decode a body if it begins as expected. Of any other body, only the beginning is read."""

    MAX_START_BYTES: Final = 256
    """The beginning has to match within these bytes."""

    __slots__ = ("_body_start", "_events", "_start", "is_other_body")

    def __init__(self, events: EventDecoder, body_start: re.Pattern[bytes]) -> None:
        self._events, self._body_start = events, body_start
        self._start: bytes | None = b""
        """The bytes so far; None as soon as they are recognised."""
        self.is_other_body = False

    def feed(self, chunk: bytes, relevant: re.Pattern[bytes] | None) -> list[JSONObject]:
        """Return the events that `chunk` completes, none of another body."""
        if self.is_other_body:
            return []
        if self._start is not None:
            chunk = self._start + chunk
            if self._body_start.match(chunk, 0, self.MAX_START_BYTES) is None:
                self.is_other_body = len(chunk) >= self.MAX_START_BYTES
                self._start = b"" if self.is_other_body else chunk
                return []
            self._start = None
        return self._events.feed(chunk, relevant)

    def flush(self) -> list[JSONObject]:
        """Return the last event, whose separator may be missing."""
        return self._events.flush()


class AWSEventDecoder:
    """Decode AWS's event stream. Its payloads may be encoded, so every event is parsed."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, chunk: bytes, relevant: re.Pattern[bytes] | None) -> list[JSONObject]:
        """Return the events that `chunk` completes."""
        events, self._buffer = eventstream.decode_events(self._buffer + chunk)
        if len(self._buffer) > MAX_BUFFERED_BYTES:
            self._buffer = b""
        return events

    def flush(self) -> list[JSONObject]:
        """Return nothing: an incomplete message is no event."""
        return []


class BodyDecoder:
    """Decode a body that is one JSON object."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer: bytearray | None = bytearray()
        """None if the body is too large."""

    def feed(self, chunk: bytes, relevant: re.Pattern[bytes] | None) -> list[JSONObject]:
        """Keep `chunk`. The body is complete only when no more bytes come."""
        if self._buffer is not None:
            self._buffer += chunk
            if len(self._buffer) > MAX_BUFFERED_BYTES:
                self._buffer = None
        return []

    def flush(self) -> list[JSONObject]:
        """Return the body."""
        body = parse_json_object(bytes(self._buffer or b""))
        self._buffer = None
        return [body] if body else []
