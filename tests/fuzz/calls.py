"""Run the flows of each hook as an SDK would, without the SDK."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from random import Random
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import httpx2

from promptcache.patching.flow import Flow, FlowRunner
from promptcache.patching.registry import import_hooks
from promptcache.patching.stainless import StainlessHooks
from promptcache.patching.wrapping import iterate_with_flow
from promptcache.providers.bedrock import hooks as bedrock
from promptcache.providers.google import hooks as google
from promptcache.telemetry.handler import TelemetryHandler
from tests.fuzz import wires


def _load_stainless_hooks(module: str) -> StainlessHooks:
    (flows,) = {getattr(target.around_call, "__self__", None) for target in import_hooks(module)}
    assert isinstance(flows, StainlessHooks)
    return flows


def _run_flow(flow: Callable[..., Flow], *args: Any) -> FlowRunner:
    return FlowRunner(lambda: flow(*args))


def call_stainless(
    module: str,
    path: str,
    handler: TelemetryHandler,
    rng: Random,
    body: Any,
    events: list[Any],
    stream: bool,
) -> None:
    """Call as openai, anthropic and groq do: request, response, parsed body or events."""
    flows = _load_stainless_hooks(module)
    client = SimpleNamespace(
        base_url=httpx2.URL(rng.choice(("https://api.openai.com/v1/", "http://127.0.0.1:9/v1/")))
    )
    options = SimpleNamespace(
        method="POST",
        url=path,
        json_data=body,
        extra_json=rng.choice((None, {}, {"user": "u"})),
        span_name=None,
    )
    request = httpx2.Request(
        "POST",
        client.base_url.join(path[1:]),
        headers={"authorization": "Bearer secret"},
        content=b"{}",
    )
    content = b"".join(map(_encode_sse, events)) if stream else _encode_body(events)
    headers = {"content-type": "text/event-stream"} if stream else {}
    response = httpx2.Response(200, request=request, headers=headers)
    response.stream = httpx2.ByteStream(content)
    if not stream:
        response.read()
    call = {
        "cast_to": object,
        "options": options,
        "stream": stream,
        "response": response,
        "retries_taken": rng.choice((0, 1, None)),
    }

    with _run_flow(flows.observe_request, handler, client, call):
        with _run_flow(flows.observe_build, handler, client, call) as build:
            build.result = request
        with _run_flow(flows.observe_response, handler, client, call):
            pass
    if stream:
        deque(response.iter_bytes(), maxlen=0)


def _encode_body(events: list[Any]) -> bytes:
    return json.dumps(events[-1] if events else {}).encode()


def _encode_sse(event: Any) -> bytes:
    return f"data: {json.dumps(event)}\n\n".encode()


def call_google(
    handler: TelemetryHandler, rng: Random, body: Any, events: list[Any], stream: bool
) -> None:
    """Call as google-genai does, except its interactions. The responses are text."""
    client = SimpleNamespace(
        vertexai=rng.random() < 0.5,
        api_key="k",
        _http_options=SimpleNamespace(base_url="https://g.example"),
    )
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    call = {
        "http_method": "post",
        "path": f"models/gemini-2.5-flash:{method}",
        "request_dict": _as_dict(body),
        "http_options": None,
    }
    bodies = [
        SimpleNamespace(body=json.dumps(event), headers={"x-gemini-service-tier": "flex"})
        for event in events
    ]
    if stream:
        list(
            iterate_with_flow(
                _run_flow(google.observe_request, handler, client, call), _yield_items(bodies)
            )
        )
        return
    with _run_flow(google.observe_request, handler, client, call) as runner:
        runner.result = bodies[0] if bodies else None


def _yield_items(items: Iterable[Any]) -> Generator[Any]:
    yield from items


def call_interactions(
    handler: TelemetryHandler, rng: Random, body: Any, events: list[Any], stream: bool
) -> None:
    """Call as google-genai's interactions do. Requests and responses are bytes."""
    request = httpx2.Request(
        "POST", "https://g.example/v1beta/interactions", content=json.dumps(body).encode()
    )
    with _run_flow(
        google.observe_interaction, handler, None, {"request": request, "stream": stream}
    ) as runner:
        runner.result = httpx2.Response(
            200, request=request, content=json.dumps(events[0] if events else None).encode()
        )


def _as_dict(value: Any) -> dict[str, Any]:
    """Return an object, or an empty one, since SDKs ensure an object here."""
    held: Any = value  # narrowed types of containers are unknown to a type checker
    return held if isinstance(value, dict) else {}


class _StreamOrBody:
    """A response stream or body that the application reads."""


def call_bedrock(
    operation: str,
    handler: TelemetryHandler,
    rng: Random,
    body: Any,
    events: list[Any],
    stream: bool,
) -> None:
    """Call as botocore does."""
    meta = SimpleNamespace(
        endpoint_url="https://bedrock-runtime.eu-west-1.amazonaws.com",
        service_model=SimpleNamespace(service_name="bedrock-runtime"),
    )
    client, unread = SimpleNamespace(meta=meta), _StreamOrBody()
    params = _as_dict(body)
    if operation.startswith("Invoke"):
        params = {
            "modelId": rng.choice(("us.anthropic.claude-sonnet-5-v1:0", "arn:x")),
            "body": json.dumps(body),
        }
    call = {"operation_name": operation, "api_params": params}
    response = (
        _as_dict(events[0]) if operation == "Converse" else {"stream": unread, "body": unread}
    )
    with (
        _run_flow(bedrock.observe_call, handler, client, call),
        _run_flow(bedrock.observe_request, handler, client, {}) as runner,
    ):
        runner.result = SimpleNamespace(status_code=200), response
    if operation == "InvokeModel":
        with _run_flow(bedrock.observe_body_read, handler, unread, {"amt": None}) as runner:
            runner.result = json.dumps(events[0] if events else None).encode()
    elif stream:
        if operation.startswith("Invoke"):
            events = [{"chunk": {"bytes": json.dumps(event).encode()}} for event in events]
        list(
            iterate_with_flow(
                _run_flow(bedrock.observe_event_stream, handler, unread, {}),
                _yield_items(map(_as_dict, events)),
            )
        )
    with _run_flow(bedrock.observe_close, handler, unread, {}):
        pass


class CallPath(NamedTuple):
    """A wire format and a function that makes a call in it.

    `plain` allows only JSON values. `opaque` allows a body of unknown format.
    """

    body: Any
    response: Any
    event: Any
    call: Callable[[TelemetryHandler, Random, Any, list[Any], bool], None]
    plain: bool = False
    opaque: bool = False


def _stainless_call(module: str, path: str) -> Callable[..., None]:
    return lambda *args: call_stainless(module, path, *args)


def _bedrock_call(plain: str, streamed: str) -> Callable[..., None]:
    return lambda *args: call_bedrock(streamed if args[-1] else plain, *args)


_OPENAI: Final = "openai._base_client"
CALL_PATHS: Final[Mapping[str, CallPath]] = {
    "openai-chat": CallPath(
        wires.CHAT_BODY,
        wires.CHAT_EVENT,
        wires.CHAT_EVENT,
        _stainless_call(_OPENAI, "/chat/completions"),
    ),
    "openai-responses": CallPath(
        wires.RESPONSES_BODY,
        wires.RESPONSE,
        wires.RESPONSES_EVENT,
        _stainless_call(_OPENAI, "/responses"),
    ),
    "anthropic": CallPath(
        wires.MESSAGES_BODY,
        wires.MESSAGE,
        wires.MESSAGES_EVENT,
        _stainless_call("anthropic._base_client", "/v1/messages"),
    ),
    "gemini": CallPath(
        wires.CONTENT_BODY, wires.CONTENT_EVENT, wires.CONTENT_EVENT, call_google, plain=True
    ),
    "gemini-interactions": CallPath(
        wires.INTERACTION_BODY,
        wires.INTERACTION_EVENT,
        wires.INTERACTION_EVENT,
        call_interactions,
        plain=True,
    ),
    "bedrock-converse": CallPath(
        wires.CONVERSE_BODY,
        wires.CONVERSE_RESPONSE,
        wires.CONVERSE_EVENT,
        _bedrock_call("Converse", "ConverseStream"),
    ),
    "bedrock-invoke": CallPath(
        {**wires.MESSAGES_BODY, "anthropic_version": "bedrock-2023-05-31"},
        wires.MESSAGE,
        wires.MESSAGES_EVENT,
        _bedrock_call("InvokeModel", "InvokeModelWithResponseStream"),
        plain=True,
        opaque=True,
    ),
}
