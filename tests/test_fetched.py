"""Usage is counted once for each response id, on the first event that reports it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import openai
import pytest

from promptcache_emulator.engine import Emulator
from tests.support.call_shapes import HTTP, RESPONSES, iterate, resolve
from tests.support.telemetry import Telemetry

CLIENTS: Final = {"sync": openai.OpenAI, "async": openai.AsyncOpenAI}


@pytest.fixture(params=CLIENTS)
async def client(request: pytest.FixtureRequest, emulator_url: str) -> AsyncIterator[Any]:
    client = CLIENTS[request.param](
        base_url=f"{emulator_url}/v1", api_key="secret-key", max_retries=0
    )
    yield client
    await resolve(client.close())


async def wait_until_finished(client: Any, response_id: str) -> Any:
    while (response := await resolve(client.responses.retrieve(response_id))).status in {
        "queued",
        "in_progress",
    }:
        pass
    return response


async def test_reading_a_response_again_adds_nothing(client: Any, telemetry: Telemetry) -> None:
    response = await resolve(client.responses.create(**RESPONSES))
    await resolve(client.responses.retrieve(response.id))
    assert len(telemetry.spans) == 1
    assert telemetry.metric("promptcache.input.tokens") == response.usage.input_tokens


async def test_a_background_response_is_counted_when_it_is_fetched(
    client: Any, emulator: Emulator, telemetry: Telemetry
) -> None:
    await resolve(client.responses.create(**RESPONSES))
    queued = await resolve(client.responses.create(**RESPONSES, background=True))
    fetched = await wait_until_finished(client, queued.id)
    await wait_until_finished(client, queued.id)
    first, unreported, reported = [span.attributes or {} for span in telemetry.spans]
    assert unreported["promptcache.outcome"] == "unreported"
    assert reported["promptcache.input_tokens"] == fetched.usage.input_tokens
    assert reported["promptcache.outcome"] == "hit"
    assert reported["promptcache.prefix.hash"] == first["promptcache.prefix.hash"], (
        "the fetched response belongs to the request that created it"
    )
    assert telemetry.metric("promptcache.input.tokens") == sum(
        record.result.input_tokens for record in emulator.records
    )


async def test_a_resumed_stream_is_counted_once(
    client: Any, emulator: Emulator, telemetry: Telemetry
) -> None:
    stream = await resolve(client.responses.create(**RESPONSES, stream=True, background=True))
    first_event: Any = None
    async for event in iterate(stream):
        first_event = event
        break
    await resolve(stream.close())
    again = await resolve(
        client.responses.retrieve(
            first_event.response.id, stream=True, starting_after=first_event.sequence_number
        )
    )
    async for _ in iterate(again):
        pass
    await wait_until_finished(client, first_event.response.id)
    dropped, resumed = [span.attributes or {} for span in telemetry.spans]
    assert dropped["promptcache.stream.completed"] is False
    assert resumed["promptcache.stream.completed"] is True
    assert resumed["promptcache.input_tokens"] == emulator.records[-1].result.input_tokens
    assert telemetry.metric("promptcache.input.tokens") == emulator.records[-1].result.input_tokens


async def test_a_stream_that_ends_after_a_fetch_is_counted_once(
    client: Any, emulator: Emulator, telemetry: Telemetry
) -> None:
    stream = await resolve(client.responses.create(**RESPONSES, stream=True, background=True))
    items = iterate(stream)
    first_event: Any = await anext(items)
    await wait_until_finished(client, first_event.response.id)
    async for _ in items:
        pass
    assert telemetry.metric("promptcache.input.tokens") == emulator.records[-1].result.input_tokens
    assert telemetry.metric("promptcache.calls") == 1, "the retrieval adds nothing"


async def test_an_abandoned_stream_is_not_a_concurrent_call(
    client: Any, telemetry: Telemetry
) -> None:
    memory: Any = None
    for _ in range(3):
        stream = await resolve(client.responses.create(**RESPONSES, stream=True))
        memory = stream.response.stream.invocation.handler.diagnosis.memory
        assert len(memory.running_calls) == 1
        await resolve(stream.close())
    assert not memory.running_calls


async def test_fetching_an_unknown_response_opens_no_span(
    client: Any, telemetry: Telemetry
) -> None:
    with pytest.raises(openai.NotFoundError):
        await resolve(client.responses.retrieve("resp_nowhere"))
    assert not telemetry.spans


def test_a_fetch_before_the_end_leaves_the_count_to_a_later_one(telemetry: Telemetry) -> None:
    """A response in progress shows its searches, but no usage yet."""
    searching: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "status": "in_progress",
        "model": "gpt-4.1",
        "output": [{"type": "web_search_call", "id": "w", "status": "completed"}],
        "usage": None,
    }
    usage = {"input_tokens": 625, "output_tokens": 150, "total_tokens": 775}
    bodies = iter([searching, searching, searching | {"status": "completed", "usage": usage}])

    def answer(request: Any) -> Any:
        return HTTP.Response(200, json=next(bodies))

    transport = HTTP.MockTransport(answer)
    with openai.OpenAI(api_key="k", http_client=HTTP.Client(transport=transport)) as client:
        create: Any = client.responses.create
        response = create(**{**RESPONSES, "model": "gpt-4.1", "background": True})
        for _ in range(2):
            client.responses.retrieve(response.id)
    assert telemetry.metric("promptcache.input.tokens") == 625
