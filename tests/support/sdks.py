"""The SDKs of the matrix, one kit each. The list omits SDKs that are not installed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import openai

from tests.support.call_shapes import (
    CHAT,
    HTTP,
    OPENAI,
    Notes,
    Shape,
    chat,
    has_api,
    resolve,
    start_chat,
    start_responses,
    type_names,
)

Client = Callable[[str], AbstractAsyncContextManager[Any]]
"""Opens a client for the emulator at an address, and closes it."""


@dataclass(frozen=True)
class Kit:
    """One SDK: its call shapes, its sync and async clients, and functions that start a stream.

    `test_stream_endings` uses the next four fields. `starts` start a stream that can be closed, or
    a plain call with `stream=False`. `errors` is the module of the SDK's exceptions. `http` is the
    SDK's HTTP library. `early` tells whether the first event of a stream reports usage. `providers`
    gives the provider of each client, if the kit's clients have several.
    """

    name: str
    shapes: tuple[Shape, ...]
    clients: Mapping[str, Client]
    streams: tuple[Callable[[Any], Awaitable[Any]], ...] = ()
    starts: Mapping[str, Callable[..., Any]] = field(default_factory=dict[str, Callable[..., Any]])
    errors: Any = None
    http: Any = HTTP
    early: bool = False
    providers: Mapping[str, str] = field(default_factory=dict[str, str])


def _openai_client(kind: Callable[..., Any]) -> Client:
    @asynccontextmanager
    async def client(url: str) -> AsyncGenerator[Any]:
        sdk_client = kind(base_url=f"{url}/v1", api_key="secret-key", max_retries=0)
        yield sdk_client
        await resolve(sdk_client.close())

    return client


def _kits_in_module(name: str, *modules: str) -> tuple[Kit, ...]:
    """Return the kit of `call_shapes_<name>`, or nothing if one of `modules` is not installed."""
    if not all(find_spec(module.partition(".")[0]) and find_spec(module) for module in modules):
        return ()
    shapes_module = import_module(f".call_shapes_{name}", __package__)
    return (
        Kit(
            name,
            shapes_module.SHAPES,
            shapes_module.CLIENTS,
            getattr(shapes_module, "STREAMS", ()),
            **getattr(shapes_module, "ENDINGS", {}),
        ),
    )


async def _groq_stream(client: Any) -> Notes:
    """Stream a call without `include_usage`: Groq reports the usage of each stream."""
    return await type_names(await resolve(client.chat.completions.create(**CHAT, stream=True)))


def _groq_client(kind: str) -> Client:
    @asynccontextmanager
    async def client(url: str) -> AsyncGenerator[Any]:
        client_class = getattr(import_module("groq"), kind)
        sdk_client = client_class(
            base_url=url, api_key="k", max_retries=0, default_headers={"x-emulator-usage": "groq"}
        )
        yield sdk_client
        await resolve(sdk_client.close())

    return client


KITS: Final = (
    Kit(
        "openai",
        OPENAI,
        {"sync": _openai_client(openai.OpenAI), "async": _openai_client(openai.AsyncOpenAI)},
        starts={"chat": start_chat}
        | ({"responses": start_responses} if has_api("responses.create") else {}),
        errors=openai,
    ),
    *_kits_in_module("anthropic", "anthropic"),
    *(
        (
            Kit(
                "groq",
                (Shape("chat", chat), Shape("chat_stream", _groq_stream)),
                {"sync": _groq_client("Groq"), "async": _groq_client("AsyncGroq")},
            ),
        )
        if find_spec("groq")
        else ()
    ),
    *_kits_in_module("google", "google.genai"),
    *_kits_in_module("bedrock", "boto3"),
)

_PLATFORM_KITS: Mapping[str, Mapping[str, Any]] = (
    import_module(".call_shapes_platforms", __package__).KITS if find_spec("anthropic") else {}
)
PLATFORMS: Final = tuple(Kit(name, **row) for name, row in _PLATFORM_KITS.items())
"""Clients of the same SDKs for other platforms. `KITS` covers the shapes that they share."""
