"""The calls that are measured, and the responses. Nothing leaves the process."""

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

CHUNK_COUNT: Final = 500
OPENAI_USAGE: Final = {
    "prompt_tokens": 1500,
    "completion_tokens": 9,
    "total_tokens": 1509,
    "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 0},
}
ANTHROPIC_USAGE: Final = {
    "input_tokens": 476,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 1024,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 9,
    "service_tier": "standard",
}
SENTENCE: Final = (
    "Orders leave the house within two working days unless the customer asked for another date. "
)


@dataclass(frozen=True)
class Scenario:
    """One kind of call. `characters` is the size of all messages of a request together."""

    name: str
    message_count: int
    characters: int
    stream: bool
    calls_per_turn: int


SCENARIOS: Final[tuple[Scenario, ...]] = (
    Scenario("1 KB", 2, 1_000, stream=False, calls_per_turn=60),
    Scenario("1 MB", 200, 1_000_000, stream=False, calls_per_turn=5),
    Scenario("500 chunks", 2, 1_000, stream=True, calls_per_turn=6),
)


@dataclass(frozen=True)
class SDK:
    """One SDK: its client class, the method that is called, the request and the response."""

    name: str
    client: str
    method: str
    model: str
    request_fields: Mapping[str, Any]
    stream_fields: Mapping[str, Any]
    response: Mapping[str, Any]
    events: Callable[[], Iterator[tuple[str | None, Mapping[str, Any] | str]]]

    def make_caller(self, *, stream: bool) -> Callable[[dict[str, Any]], None]:
        """Return a function that calls the method. It reads a stream to the end."""
        chunks, body = self._encoded_events(), json.dumps(self.response).encode()
        respond = partial(_stream_response, chunks) if stream else partial(_json_response, body)
        http_client = httpx2.Client(transport=httpx2.MockTransport(respond))
        client_class = getattr(import_module(self.name), self.client)
        client = client_class(api_key="none", http_client=http_client)
        create = attrgetter(self.method)(client)

        def call(body: dict[str, Any]) -> None:
            response = create(**body)
            if stream:
                deque(response, maxlen=0)

        return call

    def request_body(self, scenario: Scenario, number: int) -> dict[str, Any]:
        """Return a request. The last message of each request is new, as in real calls."""
        text = (SENTENCE * 100)[: scenario.characters // scenario.message_count]
        roles = ("user", "assistant")
        messages = [
            {"role": roles[index % 2], "content": f"{index} {text}"}
            for index in range(scenario.message_count - 1)
        ]
        messages.append({"role": "user", "content": f"{text} Where is order {number}?"})
        body = {"model": self.model, "messages": messages, **self.request_fields}
        return {**body, **self.stream_fields} if scenario.stream else body

    def _encoded_events(self) -> list[bytes]:
        return [_encode_sse(name, data) for name, data in self.events()]


def _encode_sse(name: str | None, data: Mapping[str, Any] | str) -> bytes:
    lines = [f"event: {name}"] if name else []
    lines.append(f"data: {data if isinstance(data, str) else json.dumps(data)}")
    return "\n".join((*lines, "\n")).encode()


class _ChunkedStream(httpx2.SyncByteStream):
    """A body that arrives in chunks. An SDK does not stream a body that is complete in memory."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks


def _stream_response(chunks: Sequence[bytes], request: httpx2.Request) -> httpx2.Response:
    headers = {"content-type": "text/event-stream"}
    return httpx2.Response(200, headers=headers, stream=_ChunkedStream(chunks))


def _json_response(content: bytes, request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, headers={"content-type": "application/json"}, content=content)


def _chat_events() -> Iterator[tuple[None, Mapping[str, Any] | str]]:
    def event(**fields: Any) -> tuple[None, Mapping[str, Any]]:
        return None, {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "gpt-5.4",
            **fields,
        }

    for _ in range(CHUNK_COUNT - 2):
        yield event(choices=[{"index": 0, "delta": {"content": "word "}, "finish_reason": None}])
    yield event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
    yield event(choices=[], usage=OPENAI_USAGE)
    yield None, "[DONE]"


ANTHROPIC_MESSAGE: Final = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5",
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "content": [{"type": "text", "text": "It left today."}],
    "usage": ANTHROPIC_USAGE,
}


def _message_events() -> Iterator[tuple[str, Mapping[str, Any]]]:
    def event(kind: str, **fields: Any) -> tuple[str, Mapping[str, Any]]:
        return kind, {"type": kind, **fields}

    yield event("message_start", message={**ANTHROPIC_MESSAGE, "content": [], "stop_reason": None})
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    for _ in range(CHUNK_COUNT - 5):
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": "word "})
    yield event("content_block_stop", index=0)
    names = ("input_tokens", "cache_read_input_tokens", "output_tokens")
    usage = {name: ANTHROPIC_USAGE[name] for name in names}
    yield event(
        "message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=usage
    )
    yield event("message_stop")


SYSTEM_PROMPT: Final = "You answer customers of a shop, politely and in one sentence."
SDKS: Final = (
    SDK(
        "openai",
        "OpenAI",
        "chat.completions.create",
        "gpt-5.4",
        request_fields={},
        stream_fields={"stream": True, "stream_options": {"include_usage": True}},
        response={
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-5.4",
            "usage": OPENAI_USAGE,
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
        request_fields={
            "max_tokens": 99,
            "system": [
                {"type": "text", "text": SYSTEM_PROMPT, "cache_control": {"type": "ephemeral"}}
            ],
        },
        stream_fields={"stream": True},
        response=ANTHROPIC_MESSAGE,
        events=_message_events,
    ),
)
