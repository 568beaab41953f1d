"""Usage once per response id, on the first event that carries it, POST or GET."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import openai
import pytest

from promptcache.patching.byte_stream import invocation_of
from promptcache_emulator.engine import Emulator
from tests.support.call_shapes import RESPONSES, iterate, resolve
from tests.support.telemetry import Telemetry

CLIENTS: Final = {"sync": openai.OpenAI, "async": openai.AsyncOpenAI}


@pytest.fixture(params=CLIENTS)
async def client(request: pytest.FixtureRequest, emulator_url: str) -> AsyncIterator[Any]:
    made = CLIENTS[request.param](
        base_url=f"{emulator_url}/v1", api_key="secret-key", max_retries=0
    )
    yield made
    await resolve(made.close())


async def finished(client: Any, response: str) -> Any:
    while (made := await resolve(client.responses.retrieve(response))).status in {
        "queued",
        "in_progress",
    }:
        pass
    return made


async def test_reading_a_response_again_adds_nothing(client: Any, telemetry: Telemetry) -> None:
    made = await resolve(client.responses.create(**RESPONSES))
    await resolve(client.responses.retrieve(made.id))
    assert len(telemetry.spans) == 1
    assert telemetry.metric("promptcache.input.tokens") == made.usage.input_tokens


async def test_a_background_response_counts_when_it_is_fetched(
    client: Any, emulator: Emulator, telemetry: Telemetry
) -> None:
    await resolve(client.responses.create(**RESPONSES))
    begun = await resolve(client.responses.create(**RESPONSES, background=True))
    fetched = await finished(client, begun.id)
    await finished(client, begun.id)
    first, asked, counted = [span.attributes or {} for span in telemetry.spans]
    assert asked["promptcache.outcome"] == "unreported"
    assert counted["promptcache.input_tokens"] == fetched.usage.input_tokens
    assert counted["promptcache.outcome"] == "hit"
    assert counted["promptcache.prefix.hash"] == first["promptcache.prefix.hash"], (
        "the call that asked for it is known"
    )
    assert telemetry.metric("promptcache.input.tokens") == sum(
        record.result.input_tokens for record in emulator.records
    )


async def test_a_stream_that_is_resumed_counts_once(
    client: Any, emulator: Emulator, telemetry: Telemetry
) -> None:
    stream = await resolve(client.responses.create(**RESPONSES, stream=True, background=True))
    begun: Any = None
    async for event in iterate(stream):
        begun = event
        break
    await resolve(stream.close())
    again = await resolve(
        client.responses.retrieve(
            begun.response.id, stream=True, starting_after=begun.sequence_number
        )
    )
    async for _ in iterate(again):
        pass
    await finished(client, begun.response.id)
    dropped, resumed = [span.attributes or {} for span in telemetry.spans]
    assert dropped["promptcache.stream.completed"] is False
    assert resumed["promptcache.stream.completed"] is True
    assert resumed["promptcache.input_tokens"] == emulator.records[-1].result.input_tokens
    assert telemetry.metric("promptcache.input.tokens") == emulator.records[-1].result.input_tokens


async def test_a_stream_that_ends_after_it_was_fetched_counts_once(
    client: Any, emulator: Emulator, telemetry: Telemetry
) -> None:
    stream = await resolve(client.responses.create(**RESPONSES, stream=True, background=True))
    items = iterate(stream)
    begun: Any = await anext(items)
    await finished(client, begun.response.id)
    async for _ in items:
        pass
    assert telemetry.metric("promptcache.input.tokens") == emulator.records[-1].result.input_tokens
    assert telemetry.metric("promptcache.calls") == 2


async def test_streams_left_halfway_are_no_rivals(client: Any, telemetry: Telemetry) -> None:
    memory: Any = None
    for _ in range(3):
        stream = await resolve(client.responses.create(**RESPONSES, stream=True))
        memory = invocation_of(stream.response).handler.diagnosis.memory  # type: ignore[union-attr]  # it is open
        assert len(memory.running_calls) == 1
        await resolve(stream.close())
    assert not memory.running_calls


async def test_an_unknown_response_is_no_call(client: Any, telemetry: Telemetry) -> None:
    with pytest.raises(openai.NotFoundError):
        await resolve(client.responses.retrieve("resp_nowhere"))
    assert not telemetry.spans
