"""The call shapes of anthropic's SDK."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import Any, Final

import anthropic
from anthropic import _base_client  # pyright: ignore[reportPrivateUsage]  # imports the HTTP library of this release
from opentelemetry import trace

from tests.support.call_shapes import (
    Notes,
    Reply,
    Shape,
    client_with_options,
    enter,
    has_api,
    iterate,
    read_state,
    resolve,
    type_names,
)
from tests.support.telemetry import Telemetry

HTTP: Final[Any] = import_module("httpx2" if hasattr(_base_client, "httpx2") else "httpx")
"""The HTTP library of this release."""

MODEL: Final = "claude-sonnet-5"
SYSTEM: Final = "You are the agent of a shop. " + " ".join(
    f"Rule {n}: be polite, be brief." for n in range(400)
)
REQUEST: Final[Mapping[str, Any]] = {
    "model": MODEL,
    "max_tokens": 99,
    "system": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": "Where is my tent?"}],
}


def _make_tool(client: Any) -> Any:
    """Return a tool for the tool runner, async if the client is async."""
    if isinstance(client, anthropic.AsyncAnthropic):

        @anthropic.beta_async_tool
        async def find(order: str) -> str:
            """Finds an order.

            Args:
                order: its number
            """
            return f"{order} is on its way"

        return find

    @anthropic.beta_tool
    def look(order: str) -> str:
        """Finds an order.

        Args:
            order: its number
        """
        return f"{order} is on its way"

    return look


async def create(client: Any) -> Notes:
    message = await resolve(client.messages.create(**REQUEST))
    return [type(message).__name__, message.content[0].text]


async def create_from_iterators(client: Any) -> Notes:
    request_args = {
        **REQUEST,
        "messages": iter(REQUEST["messages"]),
        "system": iter(REQUEST["system"]),
    }
    return [type(await resolve(client.messages.create(**request_args))).__name__]


async def stream(client: Any) -> Notes:
    return await type_names(await resolve(client.messages.create(**REQUEST, stream=True)))


async def helper_text(client: Any) -> Notes:
    async with enter(client.messages.stream(**REQUEST)) as stream_helper:
        return [
            type(stream_helper).__name__,
            "".join([text async for text in iterate(stream_helper.text_stream)]),
        ]


async def helper_events(client: Any) -> Notes:
    async with enter(client.messages.stream(**REQUEST)) as stream_helper:
        return await type_names(stream_helper)


async def helper_final(client: Any) -> Notes:
    async with enter(client.messages.stream(**REQUEST)) as stream_helper:
        message = await resolve(stream_helper.get_final_message())
    return [type(message).__name__, message.usage.input_tokens]


async def parse(client: Any) -> Notes:
    message = await resolve(client.messages.parse(**REQUEST, output_format=Reply))
    return [type(message).__name__, type(message.parsed_output).__name__]


async def beta(client: Any) -> Notes:
    message = await resolve(
        client.beta.messages.create(**REQUEST, betas=["interleaved-thinking-2025-05-14"])
    )
    return [type(message).__name__]


async def beta_stream(client: Any) -> Notes:
    return await type_names(await resolve(client.beta.messages.create(**REQUEST, stream=True)))


async def beta_helper(client: Any) -> Notes:
    async with enter(client.beta.messages.stream(**REQUEST)) as stream_helper:
        return await type_names(stream_helper)


async def tool_runner(client: Any) -> Notes:
    request_args = {**REQUEST, "tool_choice": {"type": "any"}}
    return await type_names(
        client.beta.messages.tool_runner(
            **request_args, tools=[_make_tool(client)], max_iterations=2
        )
    )


async def thread(client: Any) -> Notes:
    message = await resolve(client.beta.messages.thread(**REQUEST).send())
    return [type(message).__name__]


async def raw(client: Any) -> Notes:
    response = await resolve(client.messages.with_raw_response.create(**REQUEST))
    parsed = response.parse()
    return [
        type(response).__name__,
        inspect.isawaitable(parsed),
        type(await resolve(parsed)).__name__,
        read_state(response.http_response),
    ]


async def raw_unparsed(client: Any) -> Notes:
    response = await resolve(client.messages.with_raw_response.create(**REQUEST))
    return [type(response).__name__, read_state(response.http_response)]


async def raw_stream(client: Any) -> Notes:
    response = await resolve(client.messages.with_raw_response.create(**REQUEST, stream=True))
    return [read_state(response.http_response), *await type_names(await resolve(response.parse()))]


async def streamed_parse(client: Any) -> Notes:
    async with enter(client.messages.with_streaming_response.create(**REQUEST)) as response:
        before = read_state(response.http_response)
        return [type(response).__name__, before, type(await resolve(response.parse())).__name__]


async def streamed_json(client: Any) -> Notes:
    async with enter(client.messages.with_streaming_response.create(**REQUEST)) as response:
        return [read_state(response.http_response), sorted(await resolve(response.json()))]


async def streamed_lines(client: Any) -> Notes:
    async with enter(
        client.messages.with_streaming_response.create(**REQUEST, stream=True)
    ) as response:
        return [
            read_state(response.http_response),
            len([line async for line in iterate(response.iter_lines())]),
        ]


async def streamed_bytes(client: Any) -> Notes:
    async with enter(client.messages.with_streaming_response.create(**REQUEST)) as response:
        return [sum([len(chunk) async for chunk in iterate(response.iter_bytes(64))]) > 100]


async def streamed_events(client: Any) -> Notes:
    async with enter(
        client.messages.with_streaming_response.create(**REQUEST, stream=True)
    ) as response:
        return await type_names(await resolve(response.parse()))


async def streamed_unread(client: Any) -> Notes:
    async with enter(client.messages.with_streaming_response.create(**REQUEST)) as response:
        return [type(response).__name__, read_state(response.http_response)]


async def post_object(client: Any) -> Notes:
    message = await resolve(client.post("/v1/messages", cast_to=object, body=dict(REQUEST)))
    return [type(message).__name__, sorted(message)]


async def post_response(client: Any) -> Notes:
    message = await resolve(client.post("/v1/messages", cast_to=HTTP.Response, body=dict(REQUEST)))
    return [type(message).__name__, read_state(message)]


async def extra_body(client: Any) -> Notes:
    request_args: dict[str, Any] = {**REQUEST, "messages": []}
    message = await resolve(
        client.messages.create(**request_args, extra_body={"messages": REQUEST["messages"]})
    )
    return [type(message).__name__]


async def with_options(client: Any) -> Notes:
    async with client_with_options(client, timeout=20) as other:
        return [type(await resolve(other.messages.create(**REQUEST))).__name__]


SHAPES_BY_API: Final[Mapping[str, tuple[Callable[[Any], Awaitable[Notes]], ...]]] = {
    "messages.create": (
        create,
        stream,
        beta,
        beta_stream,
        raw,
        raw_unparsed,
        raw_stream,
        streamed_parse,
        streamed_json,
        streamed_lines,
        streamed_bytes,
        streamed_events,
        streamed_unread,
        post_object,
        post_response,
        extra_body,
        with_options,
        helper_text,
        helper_events,
        helper_final,
    ),
    "messages.parse": (parse,),
    "beta.messages.stream": (beta_helper,),
    "beta.messages.tool_runner": (tool_runner,),
    "beta.messages.thread": (thread,),
    "open_telemetry": (create_from_iterators,),
}
"""The shapes by the API that they need. Releases that trace themselves accept iterators."""

SHAPES: Final = tuple(
    Shape(use.__name__, use, reported=use is not streamed_unread)
    for path, uses in SHAPES_BY_API.items()
    if has_api(path, anthropic.Anthropic)
    for use in uses
)


class _SDKTracerProvider(trace.TracerProvider, trace.Tracer):
    """A tracer provider of the SDK's own spans. It forwards to the newest instrumented process."""

    def __init__(self, scope: str = "") -> None:
        self._scope = scope

    @property
    def _current_tracer(self) -> trace.Tracer:
        return (
            Telemetry.latest.tracers if Telemetry.latest else trace.NoOpTracerProvider()
        ).get_tracer(self._scope)

    def get_tracer(self, instrumenting_module_name: str, *args: Any, **kwargs: Any) -> trace.Tracer:
        return _SDKTracerProvider(instrumenting_module_name)

    def start_span(self, *args: Any, **kwargs: Any) -> trace.Span:
        return self._current_tracer.start_span(*args, **kwargs)

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Any:
        return self._current_tracer.start_as_current_span(*args, **kwargs)


def client_factory(
    kind: Callable[..., Any], path: str = "", **options: Any
) -> Callable[[str], AbstractAsyncContextManager[Any]]:
    """Return a function that opens clients of one class at a path of the emulator."""

    @asynccontextmanager
    async def client(url: str) -> AsyncGenerator[Any]:
        sdk_client = kind(base_url=url + path, max_retries=0, **options)
        yield sdk_client
        await resolve(sdk_client.close())

    return client


def start_messages(client: Any, stream: bool = True, **more: Any) -> Any:
    return client.messages.create(**{**REQUEST, **more}, stream=stream)


TRACES_ITSELF: Final = "open_telemetry" in inspect.signature(anthropic.Anthropic).parameters
"""Whether this release makes spans itself."""
TRACED_OPTIONS: Final[Mapping[str, Any]] = (
    {"open_telemetry": {"tracer_provider": _SDKTracerProvider()}} if TRACES_ITSELF else {}
)
API_KEY_OPTIONS: Final = {"api_key": "secret-key"}
UNTRACED_OPTIONS: Final[Mapping[str, Any]] = {"open_telemetry": False}

CLIENTS: Final = {
    "sync": client_factory(anthropic.Anthropic, **API_KEY_OPTIONS, **TRACED_OPTIONS),
    "async": client_factory(anthropic.AsyncAnthropic, **API_KEY_OPTIONS, **TRACED_OPTIONS),
} | (
    {
        "untraced": client_factory(anthropic.Anthropic, **API_KEY_OPTIONS, **UNTRACED_OPTIONS),
        "async-untraced": client_factory(
            anthropic.AsyncAnthropic, **API_KEY_OPTIONS, **UNTRACED_OPTIONS
        ),
    }
    if TRACES_ITSELF
    else {}
)

ENDINGS: Final[Mapping[str, Any]] = {
    "starts": {"messages": start_messages},
    "errors": anthropic,
    "http": HTTP,
    "early": True,
}
