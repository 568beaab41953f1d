"""The call shapes of an SDK, written once for its sync and its async client.

A shape makes a call, uses its result and returns notes: types, text, whether the response was read.
The matrix asserts that the notes are the same without and with instrumentation.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import requires
from operator import attrgetter
from typing import Any, Final

import openai
from pydantic import BaseModel

USES_HTTPX2: Final = any(
    requirement.startswith("httpx2") and "extra" not in requirement
    for requirement in requires("openai") or ()
)
HTTP: Final = import_module("httpx2" if USES_HTTPX2 else "httpx")
"""The HTTP library of the SDK. Releases before openai 3 use httpx."""

MODEL: Final = "gpt-5.4"
SYSTEM: Final = "You are the agent of a shop. " + " ".join(
    f"Rule {n}: be polite, be brief." for n in range(400)
)
CHAT: Final[Mapping[str, Any]] = {
    "model": MODEL,
    "messages": [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": "Where is my tent?"},
    ],
}
RESPONSES: Final[Mapping[str, Any]] = {
    "model": MODEL,
    "instructions": SYSTEM,
    "input": "Where is my tent?",
}
INCLUDE_USAGE: Final = {"include_usage": True}


class Reply(BaseModel):
    """A structured output."""

    text: str


Notes = list[Any]


async def resolve(value: Any) -> Any:
    """Return a value, awaited if it is awaitable."""
    return await value if inspect.isawaitable(value) else value


async def iterate(stream: Any) -> AsyncIterator[Any]:
    """Yield the items of a sync or an async iterator.

    OpenInference's proxy around an iterator looks like both.
    """
    if hasattr(getattr(stream, "__wrapped__", stream), "__aiter__"):
        async for item in stream:
            yield item
    else:
        for item in stream:
            yield item


@asynccontextmanager
async def enter(manager: Any) -> AsyncGenerator[Any]:
    """Enter a sync or an async context manager."""
    if hasattr(getattr(manager, "__wrapped__", manager), "__aenter__"):
        async with manager as inside:
            yield inside
    else:
        with manager as inside:
            yield inside


async def type_names(stream: Any) -> Notes:
    return [type(stream).__name__, *[type(item).__name__ async for item in iterate(stream)]]


def read_state(response: Any) -> tuple[bool, bool]:
    return response.is_closed, response.is_stream_consumed


@dataclass(frozen=True)
class Shape:
    """One way to call an SDK.

    `reported` tells whether the application can see the usage, `cached` whether it sees the reads.
    """

    name: str
    use: Callable[[Any], Awaitable[Notes]]
    reported: bool = True
    cached: bool = True


async def chat(client: Any) -> Notes:
    result = await resolve(client.chat.completions.create(**CHAT))
    return [type(result).__name__, result.choices[0].message.content]


async def chat_stream(client: Any) -> Notes:
    return await type_names(
        await resolve(
            client.chat.completions.create(**CHAT, stream=True, stream_options=INCLUDE_USAGE)
        )
    )


async def chat_stream_without_usage(client: Any) -> Notes:
    return await type_names(await resolve(client.chat.completions.create(**CHAT, stream=True)))


async def chat_helper(client: Any) -> Notes:
    async with enter(
        client.chat.completions.stream(**CHAT, stream_options=INCLUDE_USAGE)
    ) as stream:
        notes = await type_names(stream)
        final = await resolve(stream.get_final_completion())
    return [*notes, type(final).__name__, final.usage.prompt_tokens]


async def chat_parse(client: Any) -> Notes:
    result = await resolve(client.chat.completions.parse(**CHAT, response_format=Reply))
    return [type(result).__name__, type(result.choices[0].message.parsed).__name__]


async def chat_beta(client: Any) -> Notes:
    result = await resolve(client.beta.chat.completions.parse(**CHAT, response_format=Reply))
    return [type(result).__name__, type(result.choices[0].message.parsed).__name__]


async def chat_raw(client: Any) -> Notes:
    raw = await resolve(client.chat.completions.with_raw_response.create(**CHAT))
    parsed = raw.parse()
    return [
        type(raw).__name__,
        inspect.isawaitable(parsed),
        type(await resolve(parsed)).__name__,
        read_state(raw.http_response),
    ]


async def chat_raw_unparsed(client: Any) -> Notes:
    raw = await resolve(client.chat.completions.with_raw_response.create(**CHAT))
    return [type(raw).__name__, read_state(raw.http_response)]


async def chat_raw_stream(client: Any) -> Notes:
    raw = await resolve(
        client.chat.completions.with_raw_response.create(
            **CHAT, stream=True, stream_options=INCLUDE_USAGE
        )
    )
    return [read_state(raw.http_response), *await type_names(await resolve(raw.parse()))]


async def streamed_parse(client: Any) -> Notes:
    async with enter(client.chat.completions.with_streaming_response.create(**CHAT)) as raw:
        before = read_state(raw.http_response)
        return [type(raw).__name__, before, type(await resolve(raw.parse())).__name__]


async def streamed_json(client: Any) -> Notes:
    async with enter(client.chat.completions.with_streaming_response.create(**CHAT)) as raw:
        before = read_state(raw.http_response)
        return [before, sorted(await resolve(raw.json()))]


async def streamed_lines(client: Any) -> Notes:
    request_args: dict[str, Any] = {**CHAT, "stream": True, "stream_options": INCLUDE_USAGE}
    async with enter(client.chat.completions.with_streaming_response.create(**request_args)) as raw:
        before = read_state(raw.http_response)
        return [before, len([line async for line in iterate(raw.iter_lines())])]


async def streamed_bytes(client: Any) -> Notes:
    async with enter(client.responses.with_streaming_response.create(**RESPONSES)) as raw:
        return [sum([len(chunk) async for chunk in iterate(raw.iter_bytes(64))]) > 100]


async def streamed_events(client: Any) -> Notes:
    request_args: dict[str, Any] = {**CHAT, "stream": True, "stream_options": INCLUDE_USAGE}
    async with enter(client.chat.completions.with_streaming_response.create(**request_args)) as raw:
        return await type_names(await resolve(raw.parse()))


async def streamed_unread(client: Any) -> Notes:
    async with enter(client.chat.completions.with_streaming_response.create(**CHAT)) as raw:
        return [type(raw).__name__, read_state(raw.http_response)]


async def responses(client: Any) -> Notes:
    result = await resolve(client.responses.create(**RESPONSES))
    return [type(result).__name__, result.output_text]


async def responses_stream(client: Any) -> Notes:
    return await type_names(await resolve(client.responses.create(**RESPONSES, stream=True)))


async def responses_helper(client: Any) -> Notes:
    async with enter(client.responses.stream(**RESPONSES)) as stream:
        notes = await type_names(stream)
        final = await resolve(stream.get_final_response())
    return [*notes, type(final).__name__]


async def responses_parse(client: Any) -> Notes:
    result = await resolve(client.responses.parse(**RESPONSES, text_format=Reply))
    return [type(result).__name__, type(result.output_parsed).__name__]


async def responses_compact(client: Any) -> Notes:
    return [type(await resolve(client.responses.compact(**RESPONSES))).__name__]


async def responses_beta(client: Any) -> Notes:
    return [type(await resolve(client.beta.responses.create(**RESPONSES))).__name__]


async def responses_raw(client: Any) -> Notes:
    raw = await resolve(client.responses.with_raw_response.create(**RESPONSES))
    return [type(raw).__name__, type(await resolve(raw.parse())).__name__]


async def client_raw(client: Any) -> Notes:
    raw = await resolve(client.with_raw_response.responses.create(**RESPONSES))
    return [type(raw).__name__]


async def post_object(client: Any) -> Notes:
    body = await resolve(client.post("/chat/completions", cast_to=object, body=dict(CHAT)))
    return [type(body).__name__, sorted(body)]


async def post_response(client: Any) -> Notes:
    response = await resolve(client.post("/responses", cast_to=HTTP.Response, body=dict(RESPONSES)))
    return [type(response).__name__, read_state(response)]


async def extra_body(client: Any) -> Notes:
    request_args: dict[str, Any] = {**CHAT, "messages": []}
    result = await resolve(
        client.chat.completions.create(**request_args, extra_body={"messages": CHAT["messages"]})
    )
    return [type(result).__name__]


@asynccontextmanager
async def client_with_options(client: Any, **options: Any) -> AsyncGenerator[Any]:
    """Yield a copy of the client with other options.

    In older releases the copies of Anthropic's platform clients have their own connection pool.
    """
    other = client.with_options(**options).copy()
    yield other
    if getattr(other, "_client", None) is not getattr(client, "_client", None):
        await resolve(other.close())


async def with_options(client: Any) -> Notes:
    async with client_with_options(client, timeout=20) as other:
        return [type(await resolve(other.chat.completions.create(**CHAT))).__name__]


SHAPES_BY_API: Final[Mapping[str, tuple[Callable[[Any], Awaitable[Notes]], ...]]] = {
    "chat.completions.create": (
        chat,
        chat_stream,
        chat_stream_without_usage,
        chat_raw,
        chat_raw_unparsed,
        chat_raw_stream,
        streamed_parse,
        streamed_json,
        streamed_lines,
        streamed_events,
        streamed_unread,
        post_object,
        extra_body,
        with_options,
    ),
    "chat.completions.stream": (chat_helper,),
    "chat.completions.parse": (chat_parse,),
    "beta.chat.completions.parse": (chat_beta,),
    "responses.create": (
        responses,
        responses_stream,
        responses_raw,
        streamed_bytes,
        client_raw,
        post_response,
    ),
    "responses.stream": (responses_helper,),
    "responses.parse": (responses_parse,),
    "responses.compact": (responses_compact,),
    "beta.responses.create": (responses_beta,),
}
"""The shapes by the API of the SDK that they need."""


def has_api(path: str, client: Callable[..., Any] = openai.OpenAI) -> bool:
    """Return whether a client of this SDK release has the attribute `path`."""
    try:
        attrgetter(path)(client(api_key="none"))
    except AttributeError:
        return False
    return True


OPENAI: Final = tuple(
    Shape(use.__name__, use, reported=use not in {chat_stream_without_usage, streamed_unread})
    for path, uses in SHAPES_BY_API.items()
    if has_api(path)
    for use in uses
)


def start_chat(client: Any, stream: bool = True, **more: Any) -> Any:
    usage = {"stream_options": INCLUDE_USAGE} if stream else {}
    return client.chat.completions.create(**{**CHAT, **usage, **more}, stream=stream)


def start_responses(client: Any, stream: bool = True, **more: Any) -> Any:
    return client.responses.create(**{**RESPONSES, **more}, stream=stream)
