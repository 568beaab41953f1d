"""Count the calls that the diagnosis still waits for after traffic that mostly goes wrong."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import openai

from promptcache import PromptCacheInstrumentor
from promptcache.diagnosis.pending_call import PendingCall
from tests.support.call_shapes import HTTP
from tests.support.mock_calls import REPLY
from tests.support.telemetry import Telemetry

_CHUNK: Final = {
    "id": "c",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "gpt-5.4",
    "choices": [{"index": 0, "delta": {"content": "hi"}}],
}
_EVENT: Final = f"data: {json.dumps(_CHUNK)}\n\n".encode()
_ENDINGS: Final = ("answered", "refused", "closed", "dropped", "cancelled", "broken")


def _events(is_broken: bool) -> Iterator[bytes]:
    """Yield three events. A broken stream fails after the first."""
    yield _EVENT
    if is_broken:
        raise HTTP.ReadError("the connection was lost")
    yield from (_EVENT, _EVENT, b"data: [DONE]\n\n")


async def _events_later(is_broken: bool) -> AsyncIterator[bytes]:
    for event in _events(is_broken):
        yield event
        await asyncio.sleep(0)


def _answer(request: Any, events: Callable[[bool], Any] = _events) -> Any:
    body = json.loads(request.content)
    if body["user"] == "refused":
        return HTTP.Response(429, json={"error": {"message": "slow down"}})
    if body.get("stream"):
        headers = {"content-type": "text/event-stream"}
        return HTTP.Response(200, headers=headers, content=events(body["user"] == "broken"))
    return HTTP.Response(200, json=REPLY)


async def _answer_later(request: Any) -> Any:
    if json.loads(request.content)["user"] == "cancelled":
        await asyncio.sleep(60)
    return _answer(request, _events_later)


def _arguments(number: int, ending: str) -> dict[str, Any]:
    text = f"Order {number}: where is the Trailhead 2 Tent? " * 40
    messages = [{"role": "user", "content": text}]
    is_stream = ending in {"closed", "dropped", "broken"}
    return {"model": "gpt-5.4", "messages": messages, "user": ending, "stream": is_stream}


def _call(client: Any, number: int, ending: str) -> None:
    result = client.chat.completions.create(**_arguments(number, ending))
    if ending == "broken":
        list(result)
    if ending in {"closed", "dropped"}:
        next(iter(result))
    if ending == "closed":
        result.close()


async def _call_async(client: Any, number: int, ending: str) -> None:
    pending = client.chat.completions.create(**_arguments(number, ending))
    result = await asyncio.wait_for(pending, 0.001 if ending == "cancelled" else 30)
    if ending == "broken":
        _ = [event async for event in result]
    if ending in {"closed", "dropped"}:
        await anext(aiter(result))
    if ending == "closed":
        await result.close()


async def _all_async(calls: int) -> None:
    transport = HTTP.MockTransport(_answer_later)
    http_client = HTTP.AsyncClient(transport=transport)
    async with openai.AsyncOpenAI(api_key="k", max_retries=0, http_client=http_client) as client:
        for number in range(calls):
            with suppress(openai.APIError, HTTP.HTTPError, TimeoutError):
                await _call_async(client, number, _ENDINGS[number % 6])


def count_pending(calls: int) -> int:
    """Make calls that end in six ways, half of them async. Return how many are still pending."""
    others = _pending_calls()  # of earlier tests in this process
    Telemetry().instrument()
    try:
        client = openai.OpenAI(
            api_key="k",
            max_retries=0,
            http_client=HTTP.Client(transport=HTTP.MockTransport(_answer)),
        )
        for number in range(calls // 2):
            with suppress(openai.APIError, HTTP.HTTPError):
                _call(client, number, _ENDINGS[number % 6])
        asyncio.run(_all_async(calls // 2))
        gc.collect()
        _call(client, 0, "answered")
        return sum(all(call is not other for other in others) for call in _pending_calls())
    finally:
        PromptCacheInstrumentor().uninstrument()


def _pending_calls() -> list[PendingCall]:
    gc.collect()
    return [candidate for candidate in gc.get_objects() if isinstance(candidate, PendingCall)]
