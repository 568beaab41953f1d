"""The only road from the bytes of a response to the facts of its invocation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from promptcache.common.safely import safely
from promptcache.patching.content_decoder import make_content_decoder
from promptcache.patching.event_decoder import make_event_decoder
from promptcache.telemetry.invocation import Invocation


class ResponseReader:
    """Read the bytes of one response before the SDK or the application reads them.

    A foreign span that ends while the SDK parses a chunk thus has all facts of that chunk. Bytes
    that cannot be decoded leave the call unreported.
    """

    __slots__ = ("_decode_content", "_events", "invocation")

    def __init__(
        self, invocation: Invocation, headers: Mapping[str, str], *, is_decoded: bool = False
    ) -> None:
        """Start to read. `is_decoded` says that the content encoding is undone already."""
        self.invocation = invocation
        encoding = "" if is_decoded else headers.get("content-encoding", "")
        self._decode_content = make_content_decoder(encoding)
        self._events = make_event_decoder(
            headers.get("content-type", ""),
            is_json_lines=bool(invocation.request_info.batch_results_url),
        )

    def feed(self, chunk: bytes) -> None:
        """Report the facts of the events that `chunk` completes."""
        invocation = self.invocation
        if self._decode_content is not None:
            chunk = safely(self._decode_content, chunk) or b""
        relevant = invocation.request_info.wire_format.relevant_bytes
        # Until the call has output, each event may be its first output.
        for event in self._events.feed(chunk, relevant if invocation.has_output else None):
            invocation.on_event(event)

    def flush(self) -> None:
        """Report the facts of the bytes that are left. No more bytes will come."""
        for event in self._events.flush():
            self.invocation.on_event(event)


def read_complete_response(response: Any, invocation: Invocation) -> None:
    """Report the facts of a response whose body is in memory already."""
    reader = ResponseReader(invocation, response.headers, is_decoded=True)
    reader.feed(response.content)
    reader.flush()
