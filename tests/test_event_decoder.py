"""The event decoder finds the same events for any size of the chunks."""

from __future__ import annotations

import re

import pytest

from promptcache.patching.event_decoder import MAX_BUFFERED_BYTES, make_event_decoder
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
    (b'\n\ndata: {"a": 1}\n\n\n\n', [{"a": 1}]),
)


@pytest.mark.parametrize(("stream", "events"), STREAMS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_an_event_is_found_once_in_chunks_of_any_size(
    stream: bytes, events: list[object], size: int
) -> None:
    decoder = make_event_decoder(SSE, is_json_lines=False)
    decoded: list[object] = []
    for start in range(0, len(stream), size):
        decoded += decoder.feed(stream[start : start + size], None)
    assert decoded == events
    assert decoder.flush() == []


@pytest.mark.parametrize(
    ("content_type", "is_json_lines", "stream"),
    [(SSE, False, b'data: {"a": 1}'), ("application/x-jsonl", True, b'{"a": 1}')],
)
def test_the_last_event_needs_no_separator(
    content_type: str, is_json_lines: bool, stream: bytes
) -> None:
    decoder = make_event_decoder(content_type, is_json_lines=is_json_lines)
    assert decoder.feed(stream, None) == []
    assert decoder.flush() == [{"a": 1}]
    assert decoder.flush() == []


def test_json_lines_are_events_of_one_line() -> None:
    decoder = make_event_decoder("application/octet-stream", is_json_lines=True)
    assert decoder.feed(b'{"a": 1}\r\n{"b": 2}\n{"c"', None) == [{"a": 1}, {"b": 2}]
    assert decoder.feed(b": 3}\n", None) == [{"c": 3}]


def test_only_relevant_events_of_a_chunk_are_parsed() -> None:
    decoder = make_event_decoder(SSE, is_json_lines=False)
    chunk = b'data: {"a": 1}\n\ndata: {"b": 2}\n\n'
    assert decoder.feed(chunk, re.compile(b'"b"')) == [{"b": 2}]
    assert decoder.feed(chunk, re.compile(b'"c"')) == []


def test_an_incomplete_message_of_an_aws_event_stream_is_no_event() -> None:
    decoder = make_event_decoder(eventstream.MEDIA_TYPE, is_json_lines=False)
    assert decoder.feed(b"\x00\x00\x00\x99" + bytes(20), None) == []
    assert decoder.flush() == []


@pytest.mark.parametrize(
    ("body", "parsed"), [(b'{"a": 1}', [{"a": 1}]), (b'{"a"', []), (b"[]", [])]
)
def test_a_body_is_an_event_only_if_it_is_a_json_object(body: bytes, parsed: list[object]) -> None:
    decoder = make_event_decoder(JSON, is_json_lines=False)
    assert decoder.feed(body[:3], None) == decoder.feed(body[3:], None) == []
    assert decoder.flush() == parsed


@pytest.mark.parametrize(("content_type", "start"), [(JSON, b'{"a": "'), (SSE, b'data: {"a": "')])
def test_a_body_or_event_over_the_limit_is_dropped(content_type: str, start: bytes) -> None:
    decoder = make_event_decoder(content_type, is_json_lines=False)
    decoder.feed(start, None)
    for _ in range(33):
        assert decoder.feed(b"x" * (MAX_BUFFERED_BYTES // 32), None) == []
    assert decoder.feed(b'"}\n\n', None) == []
    assert decoder.flush() == []
    if content_type == SSE:
        assert decoder.feed(b'data: {"b": 2}\n\n', None) == [{"b": 2}]
