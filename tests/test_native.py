"""Calls of the anthropic SDK, which opens its own span: providers, sampling, middleware, errors."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import anthropic
import httpx2
import pytest
from anthropic import AnthropicFoundry
from anthropic.lib.bedrock import AnthropicBedrock, AnthropicBedrockMantle
from anthropic.lib.vertex import AnthropicVertex
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode

from promptcache import Settings
from tests.support.call_shapes_anthropic import REQUEST
from tests.support.telemetry import Telemetry

USAGE: Final = {
    "input_tokens": 7,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 2000,
    "output_tokens": 3,
}
MESSAGE: Final[dict[str, Any]] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5",
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "content": [{"type": "text", "text": "hi"}],
    "usage": USAGE,
}
AWS: Final = {"aws_access_key": "a", "aws_secret_key": "s", "aws_region": "us-east-1"}
PROXY: Final = {"api_key": "k", "base_url": "https://api.deepseek.com/anthropic"}
GOOGLE: Final = {"access_token": "t", "region": "us-east5", "project_id": "p"}
CLIENTS: Final[dict[str, tuple[Callable[..., Any], dict[str, Any], str, str]]] = {
    "anthropic": (anthropic.Anthropic, {"api_key": "k"}, "anthropic", "api.anthropic.com"),
    "proxy": (
        anthropic.Anthropic,
        {"api_key": "k", "base_url": "https://api.deepseek.com/anthropic"},
        "deepseek",
        "api.deepseek.com",
    ),
    "bedrock": (AnthropicBedrock, AWS, "aws.bedrock", "bedrock-runtime.us-east-1.amazonaws.com"),
    "mantle": (AnthropicBedrockMantle, AWS, "aws.bedrock", "bedrock-mantle.us-east-1.api.aws"),
    "vertex": (AnthropicVertex, GOOGLE, "gcp.vertex_ai", "us-east5-aiplatform.googleapis.com"),
    "foundry": (
        AnthropicFoundry,
        {"api_key": "k", "resource": "r"},
        "anthropic",
        "r.services.ai.azure.com",
    ),
}


def make_client(
    client_class: Callable[..., Any],
    telemetry: Telemetry | None,
    response_body: Any = MESSAGE,
    **options: Any,
) -> Any:
    def respond(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=response_body)

    spans: Any = {"tracer_provider": telemetry.tracers} if telemetry else False
    return client_class(
        http_client=httpx2.Client(transport=httpx2.MockTransport(respond)),
        max_retries=0,
        open_telemetry=spans,
        **options,
    )


@pytest.mark.parametrize("traced", [True, False])
@pytest.mark.parametrize("name", CLIENTS)
def test_each_client_reports_its_provider_and_host(
    name: str, traced: bool, telemetry: Telemetry
) -> None:
    kind, options, provider, host = CLIENTS[name]
    make_client(kind, telemetry if traced else None, **options).messages.create(**REQUEST)
    attributes = telemetry.attributes
    assert attributes["server.address"] == host
    assert attributes["gen_ai.request.model"] == REQUEST["model"]
    assert attributes["promptcache.read_tokens"] == 2000
    assert (
        telemetry.metric(
            "promptcache.calls",
            gen_ai__provider__name=provider,
            gen_ai__request__model=REQUEST["model"],
        )
        == 1
    )
    assert traced is not telemetry.span.name.startswith("chat")


def test_an_unsampled_call_is_counted(instrumented: Callable[..., Telemetry]) -> None:
    telemetry = instrumented(sampler=ALWAYS_OFF)
    make_client(anthropic.Anthropic, telemetry, api_key="k").messages.create(**REQUEST)
    assert not telemetry.spans
    assert telemetry.metric("promptcache.read.tokens") == 2000


def test_a_call_has_our_span_where_the_sdk_has_no_tracer_provider(telemetry: Telemetry) -> None:
    """The SDK then makes a copy of the current span current."""

    def respond(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=MESSAGE)

    http_client = httpx2.Client(transport=httpx2.MockTransport(respond))
    client = anthropic.Anthropic(api_key="k", http_client=http_client)
    with telemetry.tracers.get_tracer("shop").start_as_current_span("request"):
        client.messages.create(**REQUEST)
    assert [span.name for span in telemetry.spans] == [f"chat {REQUEST['model']}", "request"]


def test_a_call_that_fails_before_it_is_sent_has_one_span(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with pytest.raises(TypeError, match="authentication"):
        make_client(anthropic.Anthropic, telemetry).messages.create(**REQUEST)
    assert telemetry.span.status.status_code is StatusCode.ERROR
    assert telemetry.attributes["promptcache.outcome"] == "error"


def test_a_request_that_middleware_repeats_is_a_second_call(telemetry: Telemetry) -> None:
    def send_twice(request: Any, call_next: Callable[[Any], Any]) -> Any:
        call_next(request)
        return call_next(request)

    make_client(
        anthropic.Anthropic, telemetry, api_key="k", middleware=[send_twice]
    ).messages.create(**REQUEST)
    assert telemetry.metric("promptcache.calls") == 2
    assert len(telemetry.calls) == 2
    assert {span.name for span in telemetry.spans} == {
        "anthropic.messages.create",
        f"chat {REQUEST['model']}",
    }


def test_betas_change_the_scope_hash(instrumented: Callable[..., Telemetry]) -> None:
    telemetry = instrumented(Settings(hash_key="k"))
    client = make_client(anthropic.Anthropic, telemetry, api_key="k")
    for betas in (["a"], ["a", "b"]):
        client.beta.messages.create(**REQUEST, betas=betas)
    first, second = (
        (span.attributes or {})["promptcache.prefix.scope_hash"] for span in telemetry.spans
    )
    assert first != second


def test_counting_tokens_is_not_a_call(telemetry: Telemetry) -> None:
    request = {name: value for name, value in REQUEST.items() if name != "max_tokens"}
    make_client(
        anthropic.Anthropic, telemetry, {"input_tokens": 5}, api_key="k"
    ).messages.count_tokens(**request)
    assert not telemetry.calls
    assert telemetry.metric("promptcache.calls") == 0


def test_an_event_of_a_foreign_response_type_is_ignored(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    client: Any = anthropic.Anthropic(api_key="k")
    ping = {"type": "ping"}
    assert client._process_response_data(data=ping, cast_to=object, response=object()) == ping
    assert not caplog.records


ERROR: Final = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
EVENTS: Final[tuple[dict[str, Any], ...]] = (
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
    {"type": "message_stop"},
)


@pytest.mark.parametrize("after", range(1, 5))
@pytest.mark.parametrize("lines", [False, True], ids=["events", "lines of a raw response"])
def test_an_error_in_the_stream_keeps_the_counts_before_it(
    after: int, lines: bool, telemetry: Telemetry
) -> None:
    """The counts before the error are kept, also if the SDK ended its own span already."""
    events = (*EVENTS[:after], ERROR)
    body = b"".join(
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events
    )

    def respond(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(
            200, headers={"content-type": "text/event-stream"}, stream=ChunkedStream(body)
        )

    with anthropic.Anthropic(
        api_key="k",
        http_client=httpx2.Client(transport=httpx2.MockTransport(respond)),
        open_telemetry={"tracer_provider": telemetry.tracers},
    ) as client:
        if lines:
            with client.messages.with_streaming_response.create(**REQUEST, stream=True) as raw:
                deque(raw.iter_lines(), maxlen=0)
        else:
            with pytest.raises(anthropic.APIStatusError):
                deque(client.messages.create(**REQUEST, stream=True), maxlen=0)
    (call,) = telemetry.calls
    assert (call.attributes or {})["promptcache.read_tokens"] == 2000
    assert (call.attributes or {})["promptcache.stream.completed"] is (after > 2)
    assert telemetry.metric("promptcache.calls") == 1
    assert telemetry.metric("promptcache.read.tokens") == 2000


class ChunkedStream(httpx2.SyncByteStream):
    """A response body that arrives in chunks of 100 bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield from (self._content[at : at + 100] for at in range(0, len(self._content), 100))
