"""The event decoder finds the same events for any size of the chunks."""

from __future__ import annotations

import pytest

from promptcache.patching.event_decoder import MAX_BODY_BYTES, EventDecoder
from promptcache.providers.bedrock import eventstream

SSE = "text/event-stream; charset=utf-8"
JSON = "application/json"

STREAMS: tuple[tuple[bytes, list[object]], ...] = (
    (b'data: {"a": 1}\n\ndata: {"b": 2}\n\n', [{"a": 1}, {"b": 2}]),
    (b'data: {"a": 1}\r\n\r\ndata: {"b": 2}\r\n\r\n', [{"a": 1}, {"b": 2}]),
    (b'data:{"a": 1}\n\n', [{"a": 1}]),
    (b'data: {"a":\ndata: 1}\n\n', [{"a": 1}]),
    (b'event: delta\nid: 7\ndata: {"a": 1}\n\n', [{"a": 1}]),
    (b': comment\n\ndata: {"a": 1}\n\n', [{"a": 1}]),
    (b'data: {"a": 1}\n\ndata: [DONE]\n\n', [{"a": 1}, {"type": "[DONE]"}]),
    (b"data: not JSON\n\n", [{}]),
)


@pytest.mark.parametrize(("stream", "events"), STREAMS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_an_event_is_found_once_in_chunks_of_any_size(
    stream: bytes, events: list[object], size: int
) -> None:
    decoder = EventDecoder(SSE, is_json_lines=False)
    decoded: list[object] = []
    for start in range(0, len(stream), size):
        if decoder.has_complete_event():
            decoded += decoder.take_events()
        decoder.buffer_chunk(stream[start : start + size])
    decoded += decoder.take_events()
    assert decoded == events


@pytest.mark.parametrize(
    ("content_type", "is_json_lines", "stream"),
    [(SSE, False, b'data: {"a": 1}'), ("application/x-jsonl", True, b'{"a": 1}')],
)
def test_the_last_event_needs_no_separator(
    content_type: str, is_json_lines: bool, stream: bytes
) -> None:
    decoder = EventDecoder(content_type, is_json_lines=is_json_lines)
    decoder.buffer_chunk(stream)
    assert list(decoder.take_events()) == []
    decoder.terminate()
    assert list(decoder.take_events()) == [{"a": 1}]
    assert not decoder.buffer


def test_json_lines_are_events_of_one_line() -> None:
    decoder = EventDecoder("application/octet-stream", is_json_lines=True)
    decoder.buffer_chunk(b'{"a": 1}\r\n{"b": 2}\n{"c"')
    assert list(decoder.take_events()) == [{"a": 1}, {"b": 2}]
    assert decoder.buffer == b'{"c"'


def test_an_incomplete_message_of_an_aws_event_stream_stays_in_the_buffer() -> None:
    decoder = EventDecoder(eventstream.MEDIA_TYPE, is_json_lines=False)
    decoder.buffer_chunk(b"\x00\x00\x00\x99" + bytes(20))
    assert decoder.has_events
    assert list(decoder.take_events()) == []
    assert len(decoder.buffer) == 24


@pytest.mark.parametrize(("body", "parsed"), [(b'{"a": 1}', {"a": 1}), (b'{"a"', {}), (b"[]", {})])
def test_a_body_is_taken_only_if_it_is_a_json_object(body: bytes, parsed: object) -> None:
    decoder = EventDecoder(JSON, is_json_lines=False)
    decoder.buffer_chunk(body)
    assert not decoder.has_events
    assert decoder.take_body() == parsed
    assert bool(decoder.buffer) == (not parsed)


def test_a_chunk_that_exceeds_the_limit_is_dropped() -> None:
    decoder = EventDecoder(JSON, is_json_lines=False)
    decoder.buffer_chunk(bytes(MAX_BODY_BYTES))
    decoder.buffer_chunk(b"x")
    assert len(decoder.buffer) == MAX_BODY_BYTES
