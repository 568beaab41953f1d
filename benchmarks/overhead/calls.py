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
    """One kind of call. `characters` is the size of all messages of a request together.

    An application keeps the history of a conversation: its earlier messages are the same `str`
    objects in each call, unless `has_fresh_strings`, as after `json.loads`. If `grows`, each
    request has two more messages than the one before.
    """

    name: str
    message_count: int
    characters: int
    pairs_per_turn: int
    stream: bool = False
    has_fresh_strings: bool = False
    grows: bool = False


SCENARIOS: Final[tuple[Scenario, ...]] = (
    Scenario("1 KB", 2, 1_000, pairs_per_turn=40),
    Scenario("8 KB, 20 turns", 39, 8_000, pairs_per_turn=30),
    Scenario("1 MB, seen before", 200, 1_000_000, pairs_per_turn=4),
    Scenario("1 MB, fresh strings", 200, 1_000_000, pairs_per_turn=4, has_fresh_strings=True),
    Scenario("500 chunks", 2, 1_000, pairs_per_turn=5, stream=True),
    Scenario("2 on 2,000 messages", 2_000, 600_000, pairs_per_turn=3, grows=True),
)


class Conversation:
    """The requests of one scenario, one after the other."""

    def __init__(self, sdk: SDK, scenario: Scenario) -> None:
        self._sdk, self._scenario = sdk, scenario
        self._text = (SENTENCE * 100)[: scenario.characters // scenario.message_count]
        self._history = [
            self._message(index, f"{index} {self._text}")
            for index in range(scenario.message_count - 1)
        ]
        self._number = 0

    def next_request(self) -> dict[str, Any]:
        """Return the next request. Its last message is new, as in real calls."""
        self._number += 1
        question = f"{self._text} Where is order {self._number}?"
        if self._scenario.grows and self._number > 1:
            self._history += [
                self._message(len(self._history) + added, f"{self._number} {self._text}")
                for added in range(2)
            ]
        messages = [dict(message) for message in self._history]
        messages.append(self._message(len(messages), question))
        if self._scenario.has_fresh_strings:
            messages = json.loads(json.dumps(messages))
        body = {"model": self._sdk.model, "messages": messages, **self._sdk.request_fields}
        return {**body, **self._sdk.stream_fields} if self._scenario.stream else body

    @staticmethod
    def _message(index: int, content: str) -> dict[str, str]:
        return {"role": ("user", "assistant")[index % 2], "content": content}


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
        find_method = attrgetter(self.method)

        def call(body: dict[str, Any]) -> None:
            # The method is looked up in each call, since the benchmark swaps it.
            response = find_method(client)(**body)
            if stream:
                deque(response, maxlen=0)

        return call

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
