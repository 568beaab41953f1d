"""The call shapes of Bedrock through boto3 and aiobotocore."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from tests.support.call_shapes import SYSTEM, Notes, Shape, iterate, resolve, type_names

boto3: Final[Any] = import_module("boto3")  # boto3 and botocore have no types

CLAUDE: Final = "us.anthropic.claude-sonnet-4-6"
NOVA: Final = "amazon.nova-pro-v1:0"
CACHE_POINT: Final = {"cachePoint": {"type": "default"}}
_MODEL: Final = import_module("botocore.session").get_session().get_service_model("bedrock-runtime")
KNOWS_CACHE_POINTS: Final = "cachePoint" in _MODEL.shape_for("SystemContentBlock").members
"""Whether this release knows cache points. Older ones drop the reads from the response, too."""
BODY: Final[Mapping[str, Any]] = {
    "system": [{"text": SYSTEM}, *([CACHE_POINT] if KNOWS_CACHE_POINTS else [])],
    "messages": [{"role": "user", "content": [{"text": "Where is my tent?"}]}],
}
CONVERSE_CALL: Final[Mapping[str, Any]] = {"modelId": CLAUDE, **BODY}
NOVA_CALL: Final[Mapping[str, Any]] = {
    "modelId": NOVA,
    "body": json.dumps({"schemaVersion": "messages-v1", **BODY}),
}
CLAUDE_CALL: Final[Mapping[str, Any]] = {
    "modelId": CLAUDE,
    "body": json.dumps(
        {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 100,
            "system": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}],
            "messages": [{"role": "user", "content": "Where is my tent?"}],
        }
    ),
}
CREDENTIALS: Final = {
    "aws_access_key_id": "a",
    "aws_secret_access_key": "b",
    "region_name": "us-east-1",
}

NO_RETRIES: Final = import_module("botocore.config").Config(retries={"max_attempts": 0})


@lru_cache(maxsize=1)
def _session() -> Any:
    return boto3.Session(**CREDENTIALS)


@asynccontextmanager
async def sync_client(url: str) -> AsyncGenerator[Any]:
    client = _session().client("bedrock-runtime", endpoint_url=url, config=NO_RETRIES)
    yield client
    client.close()


@lru_cache(maxsize=1)
def _async_session() -> Any:
    return import_module("aiobotocore.session").get_session()


@asynccontextmanager
async def async_client(url: str) -> AsyncGenerator[Any]:
    no_retries = import_module("aiobotocore.config").AioConfig(retries={"max_attempts": 0})
    async with _async_session().create_client(
        "bedrock-runtime", endpoint_url=url, config=no_retries, **CREDENTIALS
    ) as client:
        yield client


CLIENTS: Final[Mapping[str, Callable[[str], Any]]] = {"sync": sync_client} | (
    {"async": async_client} if find_spec("aiobotocore") else {}
)


async def converse(client: Any) -> Notes:
    response = await resolve(client.converse(**CONVERSE_CALL))
    return [type(response).__name__, response["output"]]


async def converse_stream(client: Any) -> Notes:
    response = await resolve(client.converse_stream(**CONVERSE_CALL))
    return [list(event) async for event in iterate(response["stream"])] + [
        type(response["stream"]).__name__
    ]


async def iterate_first(stream: Any, count: int) -> AsyncGenerator[Any]:
    """Yield the first items of a stream and leave it open."""
    async for item in iterate(stream):
        yield item
        if not (count := count - 1):
            return


async def converse_stream_in_two_goes(client: Any) -> Notes:
    stream = (await resolve(client.converse_stream(**CONVERSE_CALL)))["stream"]
    first = [list(event) async for event in iterate_first(stream, 1)]
    return [*first, *[list(event) async for event in iterate(stream)]]


async def invoke(client: Any) -> Notes:
    body = (await resolve(client.invoke_model(**NOVA_CALL)))["body"]
    return [type(body).__name__, body.tell(), sorted(json.loads(await resolve(body.read())))]


async def invoke_claude(client: Any) -> Notes:
    body = (await resolve(client.invoke_model(**CLAUDE_CALL)))["body"]
    return sorted(json.loads(await resolve(body.read())))


async def invoke_claude_stream(client: Any) -> Notes:
    response = await resolve(client.invoke_model_with_response_stream(**CLAUDE_CALL))
    return await type_names(response["body"])


async def invoke_in_chunks(client: Any) -> Notes:
    body = (await resolve(client.invoke_model(**NOVA_CALL)))["body"]
    return [
        type(body).__name__,
        sorted(json.loads(b"".join([chunk async for chunk in iterate(body.iter_chunks(64))]))),
    ]


async def invoke_into(client: Any) -> Notes:
    body, whole, buffer = (
        (await resolve(client.invoke_model(**NOVA_CALL)))["body"],
        b"",
        bytearray(100),
    )
    while count := await resolve(body.readinto(buffer)):
        whole += buffer[:count]
    return sorted(json.loads(whole))


async def invoke_unread(client: Any) -> Notes:
    body = (await resolve(client.invoke_model(**NOVA_CALL)))["body"]
    closed = body.close()
    return [await closed] if inspect.isawaitable(closed) else [closed]


async def invoke_stream(client: Any) -> Notes:
    response = await resolve(client.invoke_model_with_response_stream(**NOVA_CALL))
    return await type_names(response["body"])


SHAPES: Final = tuple(
    Shape(
        use.__name__,
        use,
        reported=use is not invoke_unread,
        cached=KNOWS_CACHE_POINTS or "converse" not in use.__name__,
    )
    for use in (
        *(
            (invoke_into,)
            if hasattr(import_module("botocore.response").StreamingBody, "readinto")
            else ()
        ),
        converse,
        converse_stream,
        converse_stream_in_two_goes,
        invoke,
        invoke_in_chunks,
        invoke_unread,
        invoke_stream,
        invoke_claude,
        invoke_claude_stream,
    )
)


async def start_converse(client: Any) -> Any:
    return (await resolve(client.converse_stream(**CONVERSE_CALL)))["stream"]


async def start_invoke(client: Any) -> Any:
    return (await resolve(client.invoke_model_with_response_stream(**NOVA_CALL)))["body"]


STREAMS: Final = (start_converse, start_invoke)
