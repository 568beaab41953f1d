"""The call shapes of google-genai. One client class serves sync and async calls."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any, Final

from google import genai

from tests.support.call_shapes import SYSTEM, Notes, Reply, Shape, resolve, type_names

GEMINI: Final = "gemini-2.5-flash"
LONG_SYSTEM: Final = SYSTEM * 3
QUESTION: Final = "Where is my tent?"
CONFIG: Final[Mapping[str, Any]] = {"system_instruction": LONG_SYSTEM}
CALL: Final[Mapping[str, Any]] = {"model": GEMINI, "contents": QUESTION, "config": CONFIG}


def client_options(url: str) -> dict[str, Any]:
    """Return options for a client of the Gemini API at `url`."""
    return {
        "api_key": "secret-key",
        "http_options": {"base_url": url, "retry_options": {"attempts": 1}},
    }


@asynccontextmanager
async def sync_client(url: str) -> AsyncGenerator[Any]:
    client = genai.Client(**client_options(url))
    yield client
    if hasattr(client, "close"):
        client.close()


@asynccontextmanager
async def async_client(url: str) -> AsyncGenerator[Any]:
    client = genai.Client(**client_options(url)).aio
    yield client
    if hasattr(client, "aclose"):
        await client.aclose()


CLIENTS: Final[Mapping[str, Callable[[str], Any]]] = {"sync": sync_client, "async": async_client}


async def generate(client: Any) -> Notes:
    response = await resolve(client.models.generate_content(**CALL))
    return [type(response).__name__, response.text]


async def generate_stream(client: Any) -> Notes:
    return await type_names(await resolve(client.models.generate_content_stream(**CALL)))


async def generate_next(client: Any) -> Notes:
    stream = await resolve(client.models.generate_content_stream(**CALL))
    first = await anext(stream) if hasattr(stream, "__anext__") else next(stream)
    return [type(first).__name__, *await type_names(stream)]


async def generate_parsed(client: Any) -> Notes:
    config = {**CONFIG, "response_schema": Reply, "response_mime_type": "application/json"}
    response = await resolve(client.models.generate_content(**{**CALL, "config": config}))
    return [type(response).__name__, type(response.parsed).__name__]


async def chat_message(client: Any) -> Notes:
    response = await resolve(
        client.chats.create(model=GEMINI, config=CONFIG).send_message(QUESTION)
    )
    return [type(response).__name__, response.text]


async def chat_message_stream(client: Any) -> Notes:
    return await type_names(
        await resolve(
            client.chats.create(model=GEMINI, config=CONFIG).send_message_stream(QUESTION)
        )
    )


def stock(item: str) -> str:
    """Return the stock of an item."""
    return f"4 of {item}"


async def function_calling(client: Any) -> Notes:
    request_args = {
        "model": GEMINI,
        "contents": "What is the stock of tents?",
        "config": {**CONFIG, "tools": [stock]},
    }
    response = await resolve(client.models.generate_content(**request_args))
    return [type(response).__name__, len(response.automatic_function_calling_history)]


async def interaction(client: Any) -> Notes:
    response = await resolve(
        client.interactions.create(model=GEMINI, input=QUESTION, system_instruction=LONG_SYSTEM)
    )
    return [type(response).__name__, response.status]


async def interaction_stream(client: Any) -> Notes:
    response = await resolve(
        client.interactions.create(
            model=GEMINI, input=QUESTION, system_instruction=LONG_SYSTEM, stream=True
        )
    )
    return await type_names(response)


SHAPES: Final = tuple(
    Shape(use.__name__, use)
    for use in (
        generate,
        generate_stream,
        generate_next,
        generate_parsed,
        chat_message,
        chat_message_stream,
        function_calling,
        *((interaction, interaction_stream) if find_spec("google.genai.interactions") else ()),
    )
)


async def start_content(client: Any) -> Any:
    return await resolve(client.models.generate_content_stream(**CALL))


async def start_interaction(client: Any) -> Any:
    return await resolve(
        client.interactions.create(
            model=GEMINI, input=QUESTION, system_instruction=LONG_SYSTEM, stream=True
        )
    )


STREAMS: Final = (
    start_content,
    *((start_interaction,) if find_spec("google.genai.interactions") else ()),
)
