"""Read the events of a response that the SDK does not parse, and report them."""

from __future__ import annotations

import sys
from typing import Any, Final

from promptcache.common.safely import safely
from promptcache.patching.event_decoder import EventDecoder
from promptcache.telemetry import finalizer
from promptcache.telemetry.invocation import Invocation

ERROR_MARKERS: Final = (b'"error"', b":exception-type", b":error-code")
"""Bytes that occur in every error event of a server: in JSON, or in the headers of an AWS event
stream message."""


class EventReader:
    """Read the bytes of a response as long as the SDK does not report parsed events.

    An SDK that parses a stream has parsed each complete event before it requests more bytes. So an
    event is read here only when more bytes are requested and the invocation has no parsed event
    yet. If no SDK parses the response (`sdk_parses` is false), each event is read at once.
    """

    def __init__(
        self, invocation: Invocation, content_type: str, *, sdk_parses: bool = True
    ) -> None:
        self._invocation = invocation
        self.decoder = EventDecoder(
            content_type, is_json_lines=bool(invocation.request_info.batch_results_url)
        )
        """Holds the unread bytes; only the last chunk once the SDK reports parsed events."""
        self._parses_at_once = not sdk_parses and self.decoder.has_events

    def feed(self, chunk: bytes) -> None:
        """Take `chunk`, which the application is about to read. It has read all chunks before."""
        decoder = self.decoder
        if self._invocation.sdk_parses_events:
            decoder.buffer = chunk
            return
        if decoder.has_complete_event():
            self._process_events()
        decoder.buffer_chunk(chunk)
        if self._parses_at_once:
            self._process_events()

    def flush(self) -> None:
        """Read all complete events after the last chunk, before the SDK ends its span."""
        if self._invocation.sdk_parses_events:
            self.read_trailing_error()
        elif self.decoder.has_events:
            self._process_events()
        elif body := self.decoder.take_body():
            self._invocation.on_event(body)

    def read_remaining(self) -> None:
        """Read all that is left. No more bytes will come."""
        if self.decoder.has_events and not self._invocation.sdk_parses_events:
            self.decoder.terminate()
        self.flush()

    def read_trailing_error(self) -> None:
        """Find the server's error in the last chunk: the SDK raises it without reporting it."""
        invocation, decoder = self._invocation, self.decoder
        if (
            not invocation.sdk_parses_events
            or not decoder.has_events
            or invocation.facts.is_terminal
        ):
            return
        if any(marker in decoder.buffer for marker in ERROR_MARKERS):
            for event in decoder.take_events():
                if event.get("error"):
                    invocation.on_event(event)

    def finish(self) -> None:
        """Read all that is left, and finish the invocation."""
        if not self._invocation.is_finished:
            safely(self.read_remaining)
            self._invocation.finish()

    def finalize(self) -> None:
        """Finish the invocation, or defer this to the next call if a telemetry lock may be held.

        A finalizer may interrupt telemetry code that holds a lock.
        """
        if finalizer.lock_may_be_held(sys._getframe()):  # pyright: ignore[reportPrivateUsage]  # a cheap stack walk
            self._invocation.handler.deferred.append(self)
        else:
            self.finish()

    def _process_events(self) -> None:
        for event in self.decoder.take_events():
            self._invocation.on_event(event)
            # Some readers stop here and never request the end of the bytes.
            if event.get("type") == self._invocation.request_info.wire_format.terminal_event:
                self._invocation.finish()


def read_buffered_response(response: Any, invocation: Invocation) -> None:
    """Read a response whose body is in memory already, if the SDK did not report it as parsed."""
    reader = EventReader(invocation, response.headers.get("content-type", ""))
    reader.feed(response.content)
    reader.read_remaining()
