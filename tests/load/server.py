"""A server that streams as fast as it can. It caches nothing, and each response has its own id."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any, Final

ENDING: Final = "x-ending"
"""The request header that tells how the response breaks.

`error`: an error event. `drop`: the connection is dropped. `hang`: no more bytes until the client
closes the connection.
"""
_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
_NUMBERS: Final = itertools.count()


def _chat_chunks(number: int) -> Iterator[tuple[str, Any]]:
    common_fields = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-5.4",
    }
    for word in ("One ", "two ", "three."):
        yield (
            "",
            {
                **common_fields,
                "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}],
            },
        )
    yield "", {**common_fields, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    yield (
        "",
        {
            **common_fields,
            "choices": [],
            "usage": {"prompt_tokens": 2000, "completion_tokens": 3, "total_tokens": 2003},
        },
    )


def _message_events(number: int) -> Iterator[tuple[str, Any]]:
    usage = {
        "input_tokens": 2000,
        "output_tokens": 3,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
    }
    message: dict[str, Any] = {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    yield "message_start", {"message": message}
    yield "content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}
    for word in ("One ", "two."):
        yield "content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": word}}
    yield "content_block_stop", {"index": 0}
    yield (
        "message_delta",
        {
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 3},
        },
    )
    yield "message_stop", {}


def _encode_chunk(kind: str, event: Any) -> bytes:
    data = json.dumps({**event, "type": kind} if kind else event)
    text = f"event: {kind}\ndata: {data}\n\n" if kind else f"data: {data}\n\n"
    return f"{len(text):x}\r\n{text}\r\n".encode()


async def _serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            await reader.readexactly(int(re.findall(r"content-length: (\d+)", head)[0]))
            ending = [*re.findall(rf"{ENDING}: (\w+)", head), ""][0]
            make_events, error_kind = (
                (_message_events, "error") if "/v1/messages" in head else (_chat_chunks, "")
            )
            events = [_encode_chunk(kind, event) for kind, event in make_events(next(_NUMBERS))]
            if ending == "error":
                events[2:] = [
                    _encode_chunk(
                        error_kind,
                        {"error": {"type": "overloaded_error", "message": "busy", "code": "busy"}},
                    )
                ]
            if ending in {"drop", "hang"}:
                del events[2:]
            end = b"" if ending in {"drop", "hang"} else b"0\r\n\r\n"
            if make_events is _chat_chunks and not ending:
                end = b"e\r\ndata: [DONE]\n\n\r\n" + end
            writer.write(_HEAD + b"".join(events) + end)
            await writer.drain()
            if ending == "hang":
                await reader.read()
            if ending in {"drop", "hang"}:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


@contextmanager
def running_server() -> Generator[str]:
    """Run a server in a thread and yield its URL."""
    loop, ready, ports = asyncio.new_event_loop(), Event(), list[int]()

    async def serve() -> None:
        async with await asyncio.start_server(
            _serve_connection, "127.0.0.1", 0, backlog=4096
        ) as server:
            ports.append(server.sockets[0].getsockname()[1])
            ready.set()
            await stop.wait()

    stop = asyncio.Event()
    thread = Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait()
    try:
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
