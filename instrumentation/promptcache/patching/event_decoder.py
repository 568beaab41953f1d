"""Decode the bytes of a response: server-sent events, JSON lines, AWS event stream, one body."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from promptcache.common.coerce import JSONObject, as_mapping
from promptcache.providers.bedrock import eventstream

MAX_BODY_BYTES: Final = 32 * 2**20
"""Maximum size of the buffered part of a body. The usage of a larger body that nobody parses stays
unreported."""


def parse_json_object(content: bytes) -> JSONObject:
    """Return the JSON object in `content`; an empty mapping if there is none."""
    try:
        return as_mapping(json.loads(content))
    except (ValueError, RecursionError):
        return {}


class EventDecoder:
    """Buffer bytes and cut them into events.

    The content type selects the format, except for the JSON lines of a batch's results.
    `has_events` is false for a body that is not a sequence of events; `take_body` reads such a
    body.
    """

    __slots__ = ("_is_aws_event_stream", "_searched_bytes", "_separator", "buffer", "has_events")

    def __init__(self, content_type: str, *, is_json_lines: bool) -> None:
        self._is_aws_event_stream = eventstream.MEDIA_TYPE in content_type
        self._separator = b"" if self._is_aws_event_stream else b"\n" if is_json_lines else b"\n\n"
        self.has_events = (
            self._is_aws_event_stream or is_json_lines or "text/event-stream" in content_type
        )
        self.buffer: bytearray | bytes = bytearray()
        self._searched_bytes = 0

    def buffer_chunk(self, chunk: bytes) -> None:
        """Buffer `chunk`. Drop it if the buffer would exceed `MAX_BODY_BYTES`."""
        self._searched_bytes = len(self.buffer)
        if len(self.buffer) + len(chunk) <= MAX_BODY_BYTES:
            self.buffer += chunk

    def terminate(self) -> None:
        """Complete the last event at the end of the bytes, where its separator may be missing."""
        self.buffer += self._separator

    def has_complete_event(self) -> bool:
        """Return whether `take_events` may find an event."""
        return (
            self.has_events
            and self.buffer.find(self._separator, max(0, self._searched_bytes - 3)) >= 0
        )

    def take_events(self) -> Iterator[JSONObject]:
        """Remove the complete events from the buffer and yield them parsed.

        OpenAI's end mark becomes an event of type "[DONE]".
        """
        if self._is_aws_event_stream:
            events, rest = eventstream.decode_events(bytes(self.buffer))
            self.buffer = bytearray(rest)
            yield from events
            return
        *blocks, rest = bytes(self.buffer).replace(b"\r\n", b"\n").split(self._separator)
        self.buffer, self._searched_bytes = bytearray(rest), 0
        for block in blocks:
            if data := block if self._separator == b"\n" else _sse_data(block):
                yield {"type": "[DONE]"} if data.strip() == b"[DONE]" else parse_json_object(data)

    def take_body(self) -> JSONObject:
        """Remove a complete JSON object from the buffer and return it, else an empty mapping."""
        if body := parse_json_object(bytes(self.buffer)):
            self.buffer = bytearray()
        return body


def _sse_data(block: bytes) -> bytes:
    return b"\n".join(line[5:] for line in block.split(b"\n") if line.startswith(b"data:"))
