"""The only road from the bytes of a response to the facts of its invocation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from promptcache.common.safely import safely
from promptcache.patching.content_decoder import make_content_decoder
from promptcache.patching.event_decoder import EventDecoder, make_event_decoder
from promptcache.telemetry.invocation import Invocation


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

    def feed(self, chunk: bytes) -> None:
        """Report the facts of the events that `chunk` completes."""
        invocation = self.invocation
        if self._decode_content is not None:
            chunk = safely(self._decode_content, chunk) or b""
        for event in self._events.feed(chunk, self._relevant):
            invocation.on_event(event)
        # Until the call has output, each event may be its first output.
        if self._relevant is None and invocation.has_output:
            self._relevant = invocation.request_info.wire_format.relevant_bytes

    def flush(self) -> None:
        """Report the facts of the bytes that are left. No more bytes will come."""
        for event in self._events.flush():
            self.invocation.on_event(event)


def read_complete_response(response: Any, invocation: Invocation) -> None:
    """Report the facts of a response whose body is in memory, with its content encoding undone."""
    events = _make_event_decoder(invocation, response.headers)
    for event in (*events.feed(response.content, None), *events.flush()):
        invocation.on_event(event)


def _make_event_decoder(invocation: Invocation, headers: Mapping[str, str]) -> EventDecoder:
    is_json_lines = bool(invocation.request_info.batch_results_url)
    return make_event_decoder(headers.get("content-type", ""), is_json_lines=is_json_lines)
