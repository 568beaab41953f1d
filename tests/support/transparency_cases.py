"""What an application does with one client, for tests that break something while it does: as much as can be."""

from __future__ import annotations

import itertools
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from types import ModuleType
from typing import Any, Final

import httpx
from wrapt import notify_module_loaded

from promptcache_emulator.engine import Emulator
from tests.support.call_shapes import (
    CHAT,
    RESPONSES,
    SYSTEM,
    Notes,
    Shape,
    enter,
    has_api,
    iterate,
    resolve,
)
from tests.support.litellm_handlers import (
    HANDLER_MODULE,
    LITELLM_ROUTES,
    AsyncHTTPHandler,
    HTTPHandler,
    LiteLLM,
    LiteLLMRoute,
)
from tests.support.sdks import KITS as SDKS
from tests.support.sdks import Client, Kit

Use = Callable[[], Awaitable[Notes]]
CLAUDE: Final = "claude-sonnet-5"
_NUMBERS: Final = itertools.count()


async def _left(start: Callable[[Any], Any], client: Any) -> Notes:
    """Gives a stream up at its first item."""
    stream = await resolve(start(client))
    items = iterate(stream)
    notes = [type(await anext(items)).__name__]
    await items.aclose()  # type: ignore[attr-defined]  # an async generator, which has it
    await resolve((getattr(stream, "aclose", None) or stream.close)())
    return notes


async def _refused(
    use: Callable[[Any], Awaitable[Notes]], emulator: Emulator, client: Any
) -> Notes:
    emulator.faults.add("429")
    try:
        return await use(client)
    except Exception as error:  # noqa: BLE001  # each SDK has its own
        return [type(error).__name__, str(error)[:40]]  # further on, the number of the request
    finally:
        emulator.faults.clear()


async def _told_apart(
    ask: Callable[..., Any], prompt: Callable[[str], Mapping[str, Any]], other: str
) -> Notes:
    """A prompt that is read again, one whose time moved on, and one that another model shall read: all have reasons."""
    hours = [f"It is 2026-11-21T10:{next(_NUMBERS):06}. {SYSTEM}" for _ in range(2)]
    asked = [
        prompt(hours[0]),
        prompt(hours[0]),
        prompt(hours[1]),
        {**prompt(hours[1]), "model": other},
    ]
    return [type(await resolve(ask(**one))).__name__ for one in asked]


async def chats(client: Any) -> Notes:
    tool: dict[str, Any] = {
        "type": "function",
        "function": {"name": "look", "parameters": {"type": "object", "properties": {}}},
    }
    user = {"role": "user", "content": "Where is my tent?"}

    def prompt(system: str) -> Mapping[str, Any]:
        return {**CHAT, "tools": [tool], "messages": [{"role": "system", "content": system}, user]}

    return await _told_apart(client.chat.completions.create, prompt, "gpt-5.4-mini")


async def background(client: Any) -> Notes:
    """Fetched twice: it counts once."""
    made = await resolve(client.responses.create(**RESPONSES, background=True))
    return [type(await resolve(client.responses.retrieve(made.id))).__name__ for _ in range(2)]


async def connected(client: Any) -> Notes:
    notes: Notes = []
    async with enter(client.responses.connect()) as connection:
        for _ in range(2):
            await resolve(connection.send({"type": "response.create", **RESPONSES}))
            async for event in iterate(connection):
                notes.append(event.type)
                if event.type == "response.completed":
                    break
    return notes


async def messages(client: Any) -> Notes:
    tool: dict[str, Any] = {"name": "look", "input_schema": {"type": "object", "properties": {}}}
    asked = {
        "model": CLAUDE,
        "max_tokens": 99,
        "messages": [{"role": "user", "content": "Where is my tent?"}],
    }

    def prompt(system: str) -> Mapping[str, Any]:
        return {**asked, "tools": [tool], "system": system, "cache_control": {"type": "ephemeral"}}

    return await _told_apart(client.messages.create, prompt, "claude-opus-5")


async def batches(client: Any) -> Notes:
    """Read twice: it counts once."""
    asked = {"model": CLAUDE, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi."}]}
    made = await resolve(
        client.messages.batches.create(requests=[{"custom_id": "a", "params": asked}])
    )
    found = [await resolve(client.messages.batches.results(made.id)) for _ in range(2)]
    return [line.result.type for lines in found async for line in iterate(lines)]


async def named_caches(client: Any) -> Notes:
    from tests.support.call_shapes_google import GEMINI, LONG_SYSTEM, QUESTION

    config = {"system_instruction": LONG_SYSTEM, "contents": [QUESTION], "ttl": "3600s"}
    made = await resolve(client.caches.create(model=GEMINI, config=config))
    name = made.name
    notes = [type(made).__name__, type(await resolve(client.caches.get(name=name))).__name__]
    asked = await resolve(
        client.models.generate_content(
            model=GEMINI, contents=QUESTION, config={"cached_content": name}
        )
    )
    longer = await resolve(client.caches.update(name=name, config={"ttl": "7200s"}))
    gone = await resolve(client.caches.delete(name=name))
    return [*notes, type(asked).__name__, type(longer).__name__, type(gone).__name__]


MORE: Final[Mapping[str, tuple[Callable[[Any], Awaitable[Notes]], ...]]] = {
    "openai": (chats, *((background, connected) if has_api("responses.connect") else ())),
    "anthropic": (messages, batches),
    "google": (named_caches,),
}
"""By kit: what takes more than one call."""


# LiteLLM cannot be installed here; what it stands on is a module of our own under its name.

_HANDLERS: Final[Any] = ModuleType(HANDLER_MODULE)
for _kind in (HTTPHandler, AsyncHTTPHandler):
    own = {name: vars(_kind)[name] for name in ("post", "get")}
    setattr(_HANDLERS, _kind.__name__, type(_kind.__name__, (_kind,), own))


def _litellm(handler: str, kind: str) -> Client:
    @asynccontextmanager
    async def client(url: str) -> AsyncGenerator[Any]:
        sys.modules[HANDLER_MODULE] = _HANDLERS
        notify_module_loaded(_HANDLERS)  # its hooks, where they wait for it already
        lite = LiteLLM(url, Emulator())
        made = getattr(_HANDLERS, kind)()
        made.client = type(made.client)(
            timeout=20, limits=httpx.Limits()
        )  # an interrupt leaves a connection open
        setattr(lite, handler, made)
        yield partial(lite.send, made)
        await resolve((getattr(made.client, "aclose", None) or made.client.close)())

    return client


async def _posted(route: LiteLLMRoute, stream: bool, send: Any) -> Notes:
    response = await send(route, stream=stream)
    return [type(response).__name__, response.status_code, response.is_closed]


LITELLM: Final = Kit(
    "litellm",
    tuple(
        Shape(
            f"{route.name}{' stream' * stream} {route.paths[stream]}",
            partial(_posted, route, stream),
        )
        for route in LITELLM_ROUTES
        for stream in (False, True)
    ),
    {
        "sync": _litellm("sync_handler", "HTTPHandler"),
        "async": _litellm("async_handler", "AsyncHTTPHandler"),
    },
)
KITS: Final = (*SDKS, LITELLM)


def uses(kit: Kit, client: Any, emulator: Emulator) -> Mapping[str, Use]:
    """All shapes of the matrix, streams given up, a refusal, and what takes more than one call."""
    shapes = {shape.name: shape.use for shape in kit.shapes} | {
        use.__name__: use for use in MORE.get(kit.name, ())
    }
    starts: dict[str, Callable[[Any], Any]] = {
        **kit.starts,
        **{start.__name__: start for start in kit.streams},
    }
    return (
        {name: partial(use, client) for name, use in shapes.items()}
        | {f"left {name}": partial(_left, start, client) for name, start in starts.items()}
        | {
            f"refused {name}": partial(_refused, use, emulator, client)
            for name, use in list(shapes.items())[:2]
        }
    )
