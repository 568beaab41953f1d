"""What is asked of each SDK, and what answers: nothing leaves the process, and a stream comes in event by event."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from operator import attrgetter
from typing import Any, Final

import httpx2

CHUNKS: Final = 500
USAGE: Final = {
    "prompt_tokens": 1500,
    "completion_tokens": 9,
    "total_tokens": 1509,
    "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 0},
}
SPENT: Final = {
    "input_tokens": 476,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 1024,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 9,
    "service_tier": "standard",
}


@dataclass(frozen=True)
class Scenario:
    """One kind of call: how many messages of what size in characters, streamed or not, and calls in one turn."""

    name: str
    messages: int
    size: int
    stream: bool
    block: int


SCENARIOS: Final[tuple[Scenario, ...]] = (
    Scenario("1 KB", 2, 1_000, stream=False, block=60),
    Scenario("1 MB", 200, 1_000_000, stream=False, block=5),
    Scenario("500 chunks", 2, 1_000, stream=True, block=6),
)


@dataclass(frozen=True)
class SDK:
    """One SDK: its client, the method that is called, and how it is asked and answered."""

    name: str
    client: str
    method: str
    model: str
    asked: Mapping[str, Any]
    streaming: Mapping[str, Any]
    reply: Mapping[str, Any]
    events: Callable[[], Iterator[tuple[str | None, Mapping[str, Any] | str]]]

    def caller(self, *, stream: bool) -> Callable[[dict[str, Any]], None]:
        """A client's method, used as an application uses it: a stream is read to its end."""
        answer = (
            partial(_streamed, self._chunks())
            if stream
            else partial(_plain, json.dumps(self.reply).encode())
        )
        http = httpx2.Client(transport=httpx2.MockTransport(answer))
        client = getattr(import_module(self.name), self.client)(api_key="none", http_client=http)
        create = attrgetter(self.method)(client)

        def call(body: dict[str, Any]) -> None:
            made = create(**body)
            if stream:
                deque(made, maxlen=0)

        return call

    def body(self, scenario: Scenario, number: int) -> dict[str, Any]:
        """A request. Each says something new in its last message, as calls do."""
        text = (
            "Orders leave the house within two working days unless the customer asked for another date. "
            * 100
        )
        said = [
            f"{at} {text[: scenario.size // scenario.messages]}"
            for at in range(scenario.messages - 1)
        ]
        roles = ("user", "assistant")
        messages = [{"role": roles[at % 2], "content": one} for at, one in enumerate(said)]
        asked = {
            "role": "user",
            "content": f"{text[: scenario.size // scenario.messages]} Where is order {number}?",
        }
        body = {"model": self.model, "messages": [*messages, asked], **self.asked}
        return {**body, **self.streaming} if scenario.stream else body

    def _chunks(self) -> list[bytes]:
        return [_sse(name, data) for name, data in self.events()]


def _sse(name: str | None, data: Mapping[str, Any] | str) -> bytes:
    lines = [f"event: {name}"] if name else []
    lines.append(f"data: {data if isinstance(data, str) else json.dumps(data)}")
    return "\n".join((*lines, "\n")).encode()


class _Chunks(httpx2.SyncByteStream):
    """A body that comes in piece by piece: one that is in memory as a whole would be no stream to an SDK."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks


def _streamed(chunks: Sequence[bytes], request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(
        200, headers={"content-type": "text/event-stream"}, stream=_Chunks(chunks)
    )


def _plain(content: bytes, request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, headers={"content-type": "application/json"}, content=content)


def _chat_events() -> Iterator[tuple[None, Mapping[str, Any] | str]]:
    def event(**more: Any) -> tuple[None, Mapping[str, Any]]:
        return None, {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "gpt-5.4",
            **more,
        }

    for _ in range(CHUNKS - 2):
        yield event(choices=[{"index": 0, "delta": {"content": "word "}, "finish_reason": None}])
    yield event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
    yield event(choices=[], usage=USAGE)
    yield None, "[DONE]"


MESSAGE: Final = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5",
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "content": [{"type": "text", "text": "It left today."}],
    "usage": SPENT,
}


def _message_events() -> Iterator[tuple[str, Mapping[str, Any]]]:
    def event(kind: str, **more: Any) -> tuple[str, Mapping[str, Any]]:
        return kind, {"type": kind, **more}

    yield event("message_start", message={**MESSAGE, "content": [], "stop_reason": None})
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    for _ in range(CHUNKS - 5):
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": "word "})
    yield event("content_block_stop", index=0)
    spent = {
        name: SPENT[name] for name in ("input_tokens", "cache_read_input_tokens", "output_tokens")
    }
    yield event(
        "message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=spent
    )
    yield event("message_stop")


SYSTEM: Final = "You answer customers of a shop, politely and in one sentence."
SDKS: Final = (
    SDK(
        "openai",
        "OpenAI",
        "chat.completions.create",
        "gpt-5.4",
        asked={},
        streaming={"stream": True, "stream_options": {"include_usage": True}},
        reply={
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-5.4",
            "usage": USAGE,
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": "It left today."},
                }
            ],
        },
        events=_chat_events,
    ),
    SDK(
        "anthropic",
        "Anthropic",
        "messages.create",
        "claude-sonnet-5",
        asked={
            "max_tokens": 99,
            "system": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}],
        },
        streaming={"stream": True},
        reply=MESSAGE,
        events=_message_events,
    ),
)
