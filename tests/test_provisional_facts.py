"""Nothing that a stream reports before its last event is final.

The streams are served by a transport, event by event, through the real SDKs.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import anthropic
import httpx2
import openai
import pytest
from opentelemetry import trace

from promptcache import PromptCacheInstrumentor
from promptcache.semconv import PROMPTCACHE_ATTRIBUTES
from tests.support.call_shapes import CHAT, RESPONSES
from tests.support.call_shapes_anthropic import MODEL
from tests.support.telemetry import Telemetry

CHUNK: Final[dict[str, Any]] = {
    "id": "c1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "gpt-5.6",
}
ANTHROPIC_REQUEST: Final[dict[str, Any]] = {
    "model": MODEL,
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Where is order 7?"}],
}


class Events(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """Server-sent events, each in a chunk of its own; `then` is raised after the last."""

    def __init__(self, events: list[Any], then: Exception | None = None) -> None:
        self._events, self._then = events, then

    def __iter__(self) -> Iterator[bytes]:
        for event in self._events:
            data = event if isinstance(event, str) else json.dumps(event)
            fields: Any = {} if isinstance(event, str) else event
            name = f"event: {fields['type']}\n" if "type" in fields else ""
            yield f"{name}data: {data}\n\n".encode()
        if self._then is not None:
            raise self._then

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


def make_http_client(events: list[Any], then: Exception | None = None) -> httpx2.Client:
    def respond(request: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, stream=Events(events, then))

    return httpx2.Client(transport=httpx2.MockTransport(respond))


def message_events(
    start: dict[str, int], delta: dict[str, int], *, is_complete: bool = True
) -> list[Any]:
    """Return Anthropic's events, with a usage in the first and in the last but one."""
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": ANTHROPIC_REQUEST["model"],
        "content": [],
        "stop_reason": None,
        "usage": {**start, "output_tokens": 1},
    }
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}
    events: list[Any] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        text,
    ]
    if is_complete:
        stop = {"stop_reason": "end_turn"}
        events += [
            {"type": "message_delta", "delta": stop, "usage": delta},
            {"type": "message_stop"},
        ]
    return events


@pytest.fixture(params=[True, False], ids=["native span", "own span"])
def has_native_span(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def stream_messages(
    telemetry: Telemetry, http_client: httpx2.Client, *, has_native_span: bool
) -> Iterator[Any]:
    traces: Any = {"tracer_provider": telemetry.tracers} if has_native_span else False
    client = anthropic.Anthropic(
        api_key="k", http_client=http_client, open_telemetry=traces, max_retries=0
    )
    create: Any = client.messages.create
    return iter(create(**ANTHROPIC_REQUEST, stream=True))


def assert_no_contradiction(attributes: Any) -> None:
    """No span denies what it shows."""
    assert not {"promptcache.cost.amount", "promptcache.cost.unknown"} <= attributes.keys()
    if attributes["promptcache.outcome"] == "unreported":
        assert "promptcache.read_tokens" not in attributes
    else:
        assert (attributes["promptcache.read_tokens"] > 0) is (
            attributes["promptcache.outcome"] in {"hit", "partial"}
        )


START: Final = {"input_tokens": 8040}
DELTA: Final = {
    "input_tokens": 40,
    "cache_read_input_tokens": 8000,
    "cache_creation_input_tokens": 0,
    "output_tokens": 60,
}


def test_the_last_usage_of_a_stream_decides(telemetry: Telemetry, has_native_span: bool) -> None:
    http_client = make_http_client(message_events(START, DELTA))
    list(stream_messages(telemetry, http_client, has_native_span=has_native_span))
    attributes = telemetry.attributes
    assert attributes["promptcache.outcome"] == "hit"
    assert attributes["promptcache.read_tokens"] == 8000
    assert attributes["promptcache.input_tokens"] == 8040
    assert attributes["promptcache.cost.amount"] > 0
    assert_no_contradiction(attributes)
    assert telemetry.metric("promptcache.calls", promptcache__outcome="hit") == 1
    assert telemetry.metric("promptcache.calls") == 1


def test_a_running_stream_has_counts_and_no_judgement(telemetry: Telemetry) -> None:
    span = telemetry.tracers.get_tracer("theirs").start_span(
        "theirs", attributes={"gen_ai.operation.name": "chat"}
    )
    with trace.use_span(span, end_on_exit=False):
        http_client = make_http_client(message_events(START, DELTA))
        events = stream_messages(telemetry, http_client, has_native_span=False)
    for _ in range(3):
        next(events)
    attributes: Any = span.attributes  # type: ignore[attr-defined]  # the SDK's span has it
    assert attributes["promptcache.input_tokens"] == 8040
    judging = {
        row.name
        for row in PROMPTCACHE_ATTRIBUTES
        if row.name.startswith(
            ("promptcache.outcome", "promptcache.cost", "promptcache.miss", "promptcache.wasted")
        )
    }
    assert len(judging) > 10
    assert not any(name in attributes for name in judging)
    list(events)
    assert span.attributes["promptcache.outcome"] == "hit"  # type: ignore[attr-defined]  # as above
    span.end()


@pytest.mark.parametrize("ending", ["closed", "failed"])
def test_a_broken_stream_is_judged_when_it_breaks(
    ending: str, telemetry: Telemetry, has_native_span: bool
) -> None:
    error = httpx2.ReadError("reset") if ending == "failed" else None
    start = {"input_tokens": 40, "cache_read_input_tokens": 8000}
    events = message_events(start, DELTA, is_complete=False)
    items = stream_messages(
        telemetry, make_http_client(events, error), has_native_span=has_native_span
    )
    next(items)
    if error is None:
        items.close()  # type: ignore[attr-defined]  # a generator
    else:
        with pytest.raises(httpx2.ReadError):
            list(items)
        error_type = "connection_error" if has_native_span else "ReadError"
        assert telemetry.attributes["error.type"] == error_type
    assert telemetry.attributes["promptcache.outcome"] == "hit"
    assert telemetry.attributes["promptcache.stream.completed"] is False
    assert_no_contradiction(telemetry.attributes)


CHAT_USAGE: Final = {"prompt_tokens": 2000, "completion_tokens": 5, "total_tokens": 2005}


@pytest.mark.parametrize("continuous", [True, False], ids=["every chunk", "two chunks at the end"])
def test_every_usage_of_a_chat_stream_may_be_the_last(
    continuous: bool, telemetry: Telemetry
) -> None:
    """vLLM sends usages with `continuous_usage_stats`, and the cached tokens with the last."""
    choice: dict[str, Any] = {"index": 0, "delta": {"content": "x"}, "finish_reason": None}
    first = {**CHUNK, "choices": [choice], "usage": CHAT_USAGE if continuous else None}
    final = {**CHAT_USAGE, "prompt_tokens_details": {"cached_tokens": 1920}}
    events: list[Any] = [
        first,
        {**CHUNK, "choices": [{**choice, "delta": {}, "finish_reason": "stop"}]},
        {**CHUNK, "choices": [], "usage": CHAT_USAGE},
        {**CHUNK, "choices": [], "usage": final},
        "[DONE]",
    ]
    client = openai.OpenAI(api_key="k", http_client=make_http_client(events))
    create: Any = client.chat.completions.create
    assert len(list(create(**CHAT, stream=True))) == 4
    assert telemetry.attributes["promptcache.outcome"] == "hit"
    assert telemetry.attributes["promptcache.read_tokens"] == 1920
    assert_no_contradiction(telemetry.attributes)


def response_client(status: str = "completed", **body: Any) -> openai.OpenAI:
    """Return a client whose server answers each request with the response of id `r1`."""
    usage = {"input_tokens": 2000, "output_tokens": 5, "total_tokens": 2005}

    def respond(request: httpx2.Request) -> httpx2.Response:
        response = {"id": "r1", "object": "response", "status": status, "model": "gpt-5.6"}
        return httpx2.Response(200, json={**response, "output": [], "usage": usage, **body})

    http_client = httpx2.Client(transport=httpx2.MockTransport(respond))
    return openai.OpenAI(api_key="k", http_client=http_client)


def test_two_calls_with_one_response_id_are_two_calls(telemetry: Telemetry) -> None:
    client = response_client()
    create: Any = client.responses.create
    for _ in range(2):
        create(**RESPONSES)
    client.responses.retrieve("r1")
    assert telemetry.metric("promptcache.calls") == 2
    assert telemetry.metric("promptcache.input.tokens") == 4000


def test_a_failed_call_leaves_nothing_pending(telemetry: Telemetry, has_native_span: bool) -> None:
    def respond(request: httpx2.Request) -> httpx2.Response:
        error = {"type": "invalid_request_error", "message": "secret"}
        return httpx2.Response(400, json={"type": "error", "error": error})

    http_client = httpx2.Client(transport=httpx2.MockTransport(respond))
    for _ in range(3):
        with pytest.raises(anthropic.BadRequestError):
            stream_messages(telemetry, http_client, has_native_span=has_native_span)
    manager: Any = PromptCacheInstrumentor._manager  # pyright: ignore[reportPrivateUsage]  # the only way in
    handler = manager._handler
    assert not handler.diagnosis.memory.running_calls
    assert not handler.open_calls
    assert {span.attributes["promptcache.outcome"] for span in telemetry.spans} == {"error"}  # type: ignore[index]  # it has attributes


def test_a_call_inside_a_call_has_a_span_of_its_own(telemetry: Telemetry) -> None:
    requests: list[httpx2.Request] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        if len(requests) == 1:
            create(**CHAT)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "x"},
            "finish_reason": "stop",
        }
        return httpx2.Response(200, json={**CHUNK, "choices": [choice], "usage": CHAT_USAGE})

    http_client = httpx2.Client(transport=httpx2.MockTransport(respond))
    create: Any = openai.OpenAI(api_key="k", http_client=http_client).chat.completions.create
    create(**CHAT)
    assert len(telemetry.spans) == 2
    assert telemetry.metric("promptcache.calls") == 2


def test_a_child_ends_no_batch_reading_of_its_parent(
    emulator_url: str, telemetry: Telemetry
) -> None:
    client = anthropic.Anthropic(base_url=emulator_url, api_key="k")
    requests: Any = [{"custom_id": f"c{n}", "params": ANTHROPIC_REQUEST} for n in range(3)]
    batch = client.messages.batches.create(requests=requests)
    results: Any = client.messages.batches.results(batch.id)
    next(iter(results))
    spans_before = len(telemetry.spans)
    child = os.fork()
    if child == 0:
        code = 99
        try:
            results.close()
            code = len(telemetry.spans) - spans_before
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    results.close()
    client.close()
    assert len(telemetry.spans) == spans_before + 1


def test_a_batch_read_to_its_last_line_ends_complete(
    emulator_url: str, telemetry: Telemetry
) -> None:
    client = anthropic.Anthropic(base_url=emulator_url, api_key="k")
    requests: Any = [{"custom_id": "c", "params": ANTHROPIC_REQUEST}]
    batch = client.messages.batches.create(requests=requests)
    results: Any = client.messages.batches.results(batch.id)
    assert len(list(results)) == 1
    span = telemetry.calls[-1]
    assert (span.attributes or {})["promptcache.stream.completed"] is True
    client.close()
