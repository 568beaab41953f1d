"""A call's usage is found however the response is compressed, read or delivered."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from typing import Any, Final

import httpx2
import openai
import pytest

from promptcache.patching.event_decoder import MAX_BUFFERED_BYTES
from tests.support.call_shapes import CHAT, INCLUDE_USAGE
from tests.support.telemetry import Telemetry

brotli: Any = import_module("brotli")
zstd: Any = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

USAGE: Final[dict[str, Any]] = {
    "prompt_tokens": 2000,
    "completion_tokens": 5,
    "total_tokens": 2005,
    "prompt_tokens_details": {"cached_tokens": 1920},
}
CHUNK: Final[dict[str, Any]] = {
    "id": "c1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "gpt-5.6",
}
EVENTS: Final[list[Any]] = [
    {**CHUNK, "choices": [{"index": 0, "delta": {"content": "On"}, "finish_reason": None}]},
    {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {**CHUNK, "choices": [], "usage": USAGE},
]
BODY: Final[dict[str, Any]] = {
    **CHUNK,
    "object": "chat.completion",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "On"}, "finish_reason": "stop"}
    ],
    "usage": USAGE,
}


def _deflate_without_header(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def _zstd_in_two_frames(data: bytes) -> bytes:
    frames: bytes = zstd.compress(data[:50]) + zstd.compress(data[50:])
    return frames


ENCODINGS: Final[dict[str, tuple[str, Callable[[bytes], bytes]]]] = {
    "plain": ("identity", bytes),
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without header": ("deflate", _deflate_without_header),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstd.compress),
    "zstd in two frames": ("zstd", _zstd_in_two_frames),
    "gzip in br": ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
}
PIECE_BYTES: Final = 7


class Pieces(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that arrives in small pieces."""

    def __init__(self, content: bytes, size: int = PIECE_BYTES) -> None:
        self._pieces = [content[start : start + size] for start in range(0, len(content), size)]

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def sse_body() -> bytes:
    events = [f"data: {json.dumps(event)}\n\n" for event in EVENTS]
    return "".join([*events, "data: [DONE]\n\n"]).encode()


def make_client(
    content: bytes, content_type: str, encoding: str = "identity", **options: Any
) -> openai.OpenAI:
    """Return a client whose server answers with `content`."""

    def respond(request: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": content_type, "content-encoding": encoding}
        return httpx2.Response(200, headers=headers, stream=Pieces(content))

    http_client = httpx2.Client(transport=httpx2.MockTransport(respond), **options)
    return openai.OpenAI(api_key="k", http_client=http_client, max_retries=0)


def start_stream(client: openai.OpenAI) -> Any:
    create: Any = client.chat.completions.create
    return create(**CHAT, stream=True, stream_options=INCLUDE_USAGE)


def assert_counted(telemetry: Telemetry) -> None:
    attributes = telemetry.attributes
    assert attributes["promptcache.input_tokens"] == USAGE["prompt_tokens"]
    assert attributes["promptcache.read_tokens"] == 1920
    assert attributes["promptcache.outcome"] == "hit"
    assert telemetry.metric("promptcache.calls", promptcache__outcome="hit") == 1


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_compressed_stream_is_counted(encoding: str, telemetry: Telemetry) -> None:
    header, compress = ENCODINGS[encoding]
    client = make_client(compress(sse_body()), "text/event-stream", header)
    assert [chunk.id for chunk in start_stream(client)] == ["c1"] * 3
    assert_counted(telemetry)
    assert telemetry.attributes["promptcache.stream.completed"] is True


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_compressed_body_is_counted(encoding: str, telemetry: Telemetry) -> None:
    header, compress = ENCODINGS[encoding]
    client = make_client(compress(json.dumps(BODY).encode()), "application/json", header)
    create: Any = client.chat.completions.create
    assert create(**CHAT).id == "c1"
    assert_counted(telemetry)


@pytest.mark.parametrize("encoding", ["plain", "gzip", "br"])
@pytest.mark.parametrize("read", ["iter_raw", "iter_bytes", "iter_lines", "iter_text", "read"])
def test_a_raw_response_is_counted_however_it_is_read(
    read: str, encoding: str, telemetry: Telemetry
) -> None:
    header, compress = ENCODINGS[encoding]
    client = make_client(compress(sse_body()), "text/event-stream", header)
    create: Any = client.chat.completions.with_streaming_response.create
    with create(**CHAT, stream=True) as response:
        items = getattr(response.http_response, read)()
        assert b"".join(items) if read == "iter_raw" else list(items)
    assert_counted(telemetry)


def test_a_body_that_an_event_hook_has_read_is_counted(telemetry: Telemetry) -> None:
    def read(response: httpx2.Response) -> None:
        response.read()

    hooks = {"response": [read]}
    client = make_client(sse_body(), "text/event-stream", event_hooks=hooks)
    assert len(list(start_stream(client))) == 3
    assert_counted(telemetry)


def test_a_stream_that_the_server_sends_as_one_body_is_counted(telemetry: Telemetry) -> None:
    client = make_client(json.dumps(BODY).encode(), "application/json")
    create: Any = client.chat.completions.with_streaming_response.create
    with create(**CHAT) as response:
        assert response.json()["id"] == "c1"
    assert_counted(telemetry)


@pytest.mark.parametrize("encoding", ["unknown", "gzip"])
def test_a_body_that_cannot_be_decoded_is_unreported(encoding: str, telemetry: Telemetry) -> None:
    client = make_client(sse_body(), "text/event-stream", encoding)
    create: Any = client.chat.completions.with_streaming_response.create
    with create(**CHAT, stream=True) as response:
        assert b"".join(response.http_response.iter_raw()) == sse_body()
    assert telemetry.attributes["promptcache.outcome"] == "unreported"
    assert "promptcache.input_tokens" not in telemetry.attributes


def test_a_streamed_body_over_the_limit_is_unreported(telemetry: Telemetry) -> None:
    large = json.dumps({**BODY, "padding": "x" * MAX_BUFFERED_BYTES}).encode()

    def respond(request: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": "application/json"}
        return httpx2.Response(200, headers=headers, stream=Pieces(large, 2**20))

    http_client = httpx2.Client(transport=httpx2.MockTransport(respond))
    client = openai.OpenAI(api_key="k", http_client=http_client)
    create: Any = client.chat.completions.with_streaming_response.create
    with create(**CHAT) as response:
        assert len(response.read()) == len(large)
    assert telemetry.attributes["promptcache.outcome"] == "unreported"
