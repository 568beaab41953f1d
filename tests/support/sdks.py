"""The SDKs of the matrix: one row each. A row whose SDK is not installed is left out."""

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
"""Makes a client for the emulator at an address, and closes it."""


@dataclass(frozen=True)
class Kit:
    """One SDK: its call shapes, its sync and async clients, and what starts a stream.

    For `test_stream_endings`: `starts` begin a stream that can be closed (or a plain call with `stream=False`), `errors` holds
    the SDK's exceptions, `http` is the library under it, `early` says that a stream's first event brings usage already.
    `providers` says whom a client stands for, where the kit's clients differ in that.
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


def _openai(kind: Callable[..., Any]) -> Client:
    @asynccontextmanager
    async def client(url: str) -> AsyncGenerator[Any]:
        made = kind(base_url=f"{url}/v1", api_key="secret-key", max_retries=0)
        yield made
        await resolve(made.close())

    return client


def _calls(name: str, *modules: str) -> tuple[Kit, ...]:
    """The row that stands in `call_shapes_<name>`, if what it needs is installed."""
    if not all(find_spec(module.partition(".")[0]) and find_spec(module) for module in modules):
        return ()
    calls = import_module(f".call_shapes_{name}", __package__)
    return (
        Kit(
            name,
            calls.SHAPES,
            calls.CLIENTS,
            getattr(calls, "STREAMS", ()),
            **getattr(calls, "ENDINGS", {}),
        ),
    )


async def _groq_stream(client: Any) -> Notes:
    """Groq reports what a stream used without being asked."""
    return await type_names(await resolve(client.chat.completions.create(**CHAT, stream=True)))


def _groq(kind: str) -> Client:
    @asynccontextmanager
    async def client(url: str) -> AsyncGenerator[Any]:
        make = getattr(import_module("groq"), kind)
        made = make(
            base_url=url, api_key="k", max_retries=0, default_headers={"x-emulator-usage": "groq"}
        )
        yield made
        await resolve(made.close())

    return client


KITS: Final = (
    Kit(
        "openai",
        OPENAI,
        {"sync": _openai(openai.OpenAI), "async": _openai(openai.AsyncOpenAI)},
        starts={"chat": start_chat}
        | ({"responses": start_responses} if has_api("responses.create") else {}),
        errors=openai,
    ),
    *_calls("anthropic", "anthropic"),
    *(
        (
            Kit(
                "groq",
                (Shape("chat", chat), Shape("chat_stream", _groq_stream)),
                {"sync": _groq("Groq"), "async": _groq("AsyncGroq")},
            ),
        )
        if find_spec("groq")
        else ()
    ),
    *_calls("google", "google.genai"),
    *_calls("bedrock", "boto3"),
)

_MORE: Mapping[str, Mapping[str, Any]] = (
    import_module(".call_shapes_platforms", __package__).KITS if find_spec("anthropic") else {}
)
PLATFORMS: Final = tuple(Kit(name, **row) for name, row in _MORE.items())
"""More clients of the same SDKs: what they share is tried with `KITS`."""
