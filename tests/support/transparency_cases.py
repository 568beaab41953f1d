"""All uses of a client by an application, for tests that break a function during the use."""

from __future__ import annotations

import io
import itertools
import json
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


async def _abandon_stream(start: Callable[[Any], Any], client: Any) -> Notes:
    """Close a stream after its first item."""
    stream = await resolve(start(client))
    items = iterate(stream)
    notes = [type(await anext(items)).__name__]
    await items.aclose()  # type: ignore[attr-defined]  # an async generator, which has it
    await resolve((getattr(stream, "aclose", None) or stream.close)())
    return notes


async def _refuse_call(
    use: Callable[[Any], Awaitable[Notes]], emulator: Emulator, client: Any
) -> Notes:
    emulator.faults.add_fault("429")
    try:
        return await use(client)
    except Exception as error:  # noqa: BLE001  # each SDK has its own errors
        return [
            type(error).__name__,
            str(error)[:40],
        ]  # the rest of the text contains the request number
    finally:
        emulator.faults.clear()


async def _send_varied_prompts(
    send: Callable[..., Any], prompt: Callable[[str], Mapping[str, Any]], other: str
) -> Notes:
    """Send a prompt twice, then with another time, then to another model."""
    systems = [f"It is 2026-11-21T10:{next(_NUMBERS):06}. {SYSTEM}" for _ in range(2)]
    requests = [
        prompt(systems[0]),
        prompt(systems[0]),
        prompt(systems[1]),
        {**prompt(systems[1]), "model": other},
    ]
    return [type(await resolve(send(**request_args))).__name__ for request_args in requests]


async def send_chats(client: Any) -> Notes:
    tool: dict[str, Any] = {
        "type": "function",
        "function": {"name": "look", "parameters": {"type": "object", "properties": {}}},
    }
    user = {"role": "user", "content": "Where is my tent?"}

    def prompt(system: str) -> Mapping[str, Any]:
        return {**CHAT, "tools": [tool], "messages": [{"role": "system", "content": system}, user]}

    return await _send_varied_prompts(client.chat.completions.create, prompt, "gpt-5.4-mini")


async def send_long_chat(client: Any) -> Notes:
    """Send so many messages that they are compared in groups, and go on."""
    history = [{"role": "user", "content": str(number)} for number in range(2_100)]
    request = {**CHAT, "messages": history}
    return [
        type(await resolve(client.chat.completions.create(**request))).__name__ for _ in range(2)
    ]


async def retrieve_background_response(client: Any) -> Notes:
    """Retrieve a background response twice. It counts once."""
    response = await resolve(client.responses.create(**RESPONSES, background=True))
    return [type(await resolve(client.responses.retrieve(response.id))).__name__ for _ in range(2)]


async def use_websocket(client: Any) -> Notes:
    notes: Notes = []
    async with enter(client.responses.connect()) as connection:
        for _ in range(2):
            await resolve(connection.send({"type": "response.create", **RESPONSES}))
            async for event in iterate(connection):
                notes.append(event.type)
                if event.type == "response.completed":
                    break
    return notes


async def send_messages(client: Any) -> Notes:
    tool: dict[str, Any] = {"name": "look", "input_schema": {"type": "object", "properties": {}}}
    request_args = {
        "model": CLAUDE,
        "max_tokens": 99,
        "messages": [{"role": "user", "content": "Where is my tent?"}],
    }

    def prompt(system: str) -> Mapping[str, Any]:
        return {
            **request_args,
            "tools": [tool],
            "system": system,
            "cache_control": {"type": "ephemeral"},
        }

    return await _send_varied_prompts(client.messages.create, prompt, "claude-opus-5")


async def read_batch_twice(client: Any) -> Notes:
    """Read the results of a batch twice. They count once."""
    request_args = {
        "model": CLAUDE,
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "Hi."}],
    }
    batch = await resolve(
        client.messages.batches.create(requests=[{"custom_id": "a", "params": request_args}])
    )
    readings = [await resolve(client.messages.batches.results(batch.id)) for _ in range(2)]
    return [line.result.type for lines in readings async for line in iterate(lines)]


async def read_output_file_of_batch(client: Any) -> Notes:
    """Read the output file of a batch of one request, and another file."""
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": CHAT}
    content = json.dumps(line).encode()
    file = await resolve(client.files.create(file=("in.jsonl", content), purpose="batch"))
    batch = await resolve(
        client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
    )
    files = [await resolve(client.files.content(name)) for name in (batch.output_file_id, file.id)]
    return [batch.status, *[type(one).__name__ for one in files], files[1].content == content]


async def read_inlined_and_downloaded_results(client: Any) -> Notes:
    """Read the results of a batch that are in the job, and a file."""
    from tests.support.call_shapes_google import GEMINI, QUESTION

    request = {"contents": [{"role": "user", "parts": [{"text": QUESTION}]}]}
    lines = io.BytesIO(json.dumps({"key": "a", "request": request}).encode())
    file = await resolve(client.files.upload(file=lines, config={"mime_type": "jsonl"}))
    notes: Notes = []
    for source in (file.name, [request]):
        job = await resolve(client.batches.create(model=GEMINI, src=source))
        finished = await resolve(client.batches.get(name=job.name))
        notes.append(type(finished).__name__)
        if finished.dest.file_name:
            content = await resolve(client.files.download(file=finished.dest.file_name))
            notes.append(len(content.splitlines()))
    return notes


async def use_named_cache(client: Any) -> Notes:
    from tests.support.call_shapes_google import GEMINI, LONG_SYSTEM, QUESTION

    config = {"system_instruction": LONG_SYSTEM, "contents": [QUESTION], "ttl": "3600s"}
    cache = await resolve(client.caches.create(model=GEMINI, config=config))
    name = cache.name
    notes = [type(cache).__name__, type(await resolve(client.caches.get(name=name))).__name__]
    response = await resolve(
        client.models.generate_content(
            model=GEMINI, contents=QUESTION, config={"cached_content": name}
        )
    )
    updated = await resolve(client.caches.update(name=name, config={"ttl": "7200s"}))
    deleted = await resolve(client.caches.delete(name=name))
    return [*notes, type(response).__name__, type(updated).__name__, type(deleted).__name__]


USES_WITH_SEVERAL_CALLS: Final[Mapping[str, tuple[Callable[[Any], Awaitable[Notes]], ...]]] = {
    "openai": (
        send_chats,
        send_long_chat,
        read_output_file_of_batch,
        *((retrieve_background_response, use_websocket) if has_api("responses.connect") else ()),
    ),
    "anthropic": (send_messages, read_batch_twice),
    "google": (use_named_cache, read_inlined_and_downloaded_results),
}
"""Uses that take several calls, by kit."""


# LiteLLM cannot be installed here. A module of our own has its name and the stand-in handlers.

_HANDLERS: Final[Any] = ModuleType(HANDLER_MODULE)
for _kind in (HTTPHandler, AsyncHTTPHandler):
    own = {name: vars(_kind)[name] for name in ("post", "get")}
    setattr(_HANDLERS, _kind.__name__, type(_kind.__name__, (_kind,), own))


def _litellm(handler: str, kind: str) -> Client:
    @asynccontextmanager
    async def client(url: str) -> AsyncGenerator[Any]:
        sys.modules[HANDLER_MODULE] = _HANDLERS
        notify_module_loaded(_HANDLERS)  # installs LiteLLM's hooks if they wait for the module
        lite = LiteLLM(url, Emulator())
        handler_instance = getattr(_HANDLERS, kind)()
        handler_instance.client = type(handler_instance.client)(
            timeout=20, limits=httpx.Limits()
        )  # an interrupt leaves a connection open
        setattr(lite, handler, handler_instance)
        yield partial(lite.send, handler_instance)
        await resolve(
            (getattr(handler_instance.client, "aclose", None) or handler_instance.client.close)()
        )

    return client


async def _post(route: LiteLLMRoute, stream: bool, send: Any) -> Notes:
    response = await send(route, stream=stream)
    return [type(response).__name__, response.status_code, response.is_closed]


LITELLM: Final = Kit(
    "litellm",
    tuple(
        Shape(
            f"{route.name}{' stream' * stream} {route.paths[stream]}",
            partial(_post, route, stream),
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


def all_uses(kit: Kit, client: Any, emulator: Emulator) -> Mapping[str, Use]:
    """Return all uses: shapes, abandoned streams, refused calls, and uses with several calls."""
    shapes = {shape.name: shape.use for shape in kit.shapes} | {
        use.__name__: use for use in USES_WITH_SEVERAL_CALLS.get(kit.name, ())
    }
    starts: dict[str, Callable[[Any], Any]] = {
        **kit.starts,
        **{start.__name__: start for start in kit.streams},
    }
    return (
        {name: partial(use, client) for name, use in shapes.items()}
        | {
            f"left {name}": partial(_abandon_stream, start, client)
            for name, start in starts.items()
        }
        | {
            f"refused {name}": partial(_refuse_call, use, emulator, client)
            for name, use in list(shapes.items())[:2]
        }
    )
