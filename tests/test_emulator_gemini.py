"""The emulated Gemini API through the real SDK: implicit caching, cached content, interactions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors
from google.oauth2.credentials import Credentials
from pydantic import BaseModel

from promptcache_emulator.clock import Clock
from promptcache_emulator.engine import Emulator
from promptcache_emulator.server import running_server

NOW = 1_795_132_800.0  # 2026-11-20
TEXT = " ".join(f"Rule {number}: answer in {number % 7} words." for number in range(900))
FLASH = "gemini-2.5-flash"


@pytest.fixture
def engine() -> Emulator:
    return Emulator(Clock(NOW))


@pytest.fixture
def url(engine: Emulator) -> Iterator[str]:
    with running_server(engine) as base:
        yield base


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    client: Any = genai.Client(api_key="a", http_options={"base_url": url})
    with client:
        yield client


def generate(client: Any, question: str = "hi", model: str = FLASH, **config: Any) -> Any:
    return client.models.generate_content(
        model=model, contents=question, config=config or {"system_instruction": TEXT}
    )


def test_a_zero_of_cached_tokens_is_not_reported(client: Any, engine: Emulator) -> None:
    assert generate(client).usage_metadata.cached_content_token_count is None
    again = generate(client, "and again").usage_metadata
    assert again.cached_content_token_count == engine.records[-1].result.cache_read_tokens > 2048
    assert again.prompt_token_count == engine.records[-1].result.input_tokens
    *_, last = client.models.generate_content_stream(
        model=FLASH, contents="hi", config={"system_instruction": TEXT}
    )
    assert last.usage_metadata.cached_content_token_count == again.cached_content_token_count


@pytest.mark.parametrize(("model", "is_cached"), [(FLASH, True), ("gemini-3.5-flash", False)])
def test_the_minimum_depends_on_the_model_generation(
    client: Any, model: str, is_cached: bool
) -> None:
    system = TEXT[: len(TEXT) // 3]
    usages = [
        generate(client, model=model, system_instruction=system).usage_metadata for _ in range(2)
    ]
    assert 2048 < usages[1].prompt_token_count < 4096
    assert bool(usages[1].cached_content_token_count) is is_cached


def test_cached_content_exists_until_it_expires(client: Any, engine: Emulator) -> None:
    assert isinstance(engine.clock, Clock)
    cache = client.caches.create(
        model=FLASH, config={"system_instruction": TEXT, "ttl": "600s", "display_name": "shop"}
    )
    assert (cache.expire_time - cache.create_time).total_seconds() == 600
    used = generate(client, cached_content=cache.name).usage_metadata
    assert used.cached_content_token_count == cache.usage_metadata.total_token_count
    assert used.prompt_token_count > used.cached_content_token_count
    engine.clock.advance(599)
    assert generate(client, cached_content=cache.name), (
        "a read does not renew the TTL of cached content"
    )
    longer = client.caches.update(name=cache.name, config={"ttl": "7200s"})
    assert (longer.expire_time - longer.update_time).total_seconds() == 7200
    assert [listed.name for listed in client.caches.list()] == [cache.name]
    engine.clock.advance(7201)
    with pytest.raises(errors.ClientError, match="403"):
        generate(client, cached_content=cache.name)
    assert not list(client.caches.list())


def test_cached_content_belongs_to_the_key_that_created_it(client: Any, url: str) -> None:
    cache = client.caches.create(model=FLASH, config={"system_instruction": TEXT})
    stranger: Any = genai.Client(api_key="b", http_options={"base_url": url})
    with stranger, pytest.raises(errors.ClientError, match="403"):
        generate(stranger, cached_content=cache.name)
    client.caches.delete(name=cache.name)
    with pytest.raises(errors.ClientError, match="403"):
        client.caches.get(name=cache.name)


def test_invalid_cached_content_is_refused(client: Any) -> None:
    with pytest.raises(errors.ClientError, match="too small"):
        client.caches.create(model=FLASH, config={"system_instruction": "short"})
    cache = client.caches.create(model=FLASH, config={"system_instruction": TEXT})
    with pytest.raises(errors.ClientError, match="system_instruction, tools or tool_config"):
        generate(client, cached_content=cache.name, system_instruction="more")


class Weather(BaseModel):
    city: str


def test_the_sdk_reads_schemas_function_calls_and_token_counts(client: Any) -> None:
    structured = generate(client, response_mime_type="application/json", response_schema=Weather)
    assert structured.parsed == Weather(city="text")
    called: list[str] = []

    def forecast(city: str) -> str:
        """The weather of a city."""
        called.append(city)
        return "sunny"

    chat = client.chats.create(model=FLASH, config={"tools": [forecast]})
    assert chat.send_message("call forecast please").text
    assert called == ["text"]
    assert client.models.count_tokens(model=FLASH, contents=TEXT).total_tokens > 2048


def test_interactions_can_be_continued_and_streamed(client: Any) -> None:
    body: dict[str, Any] = {"model": "gemini-3.8-flash", "system_instruction": TEXT}
    first = client.interactions.create(**body, input="hi")
    second = client.interactions.create(**body, input="and?", previous_interaction_id=first.id)
    assert first.usage.total_cached_tokens == 0
    assert second.usage.total_cached_tokens > 4096
    assert second.usage.total_input_tokens > first.usage.total_input_tokens + 40, (
        "the earlier turn is part of the input"
    )
    *_, last = client.interactions.create(**body, input="hi", stream=True)
    assert last.event_type == "interaction.completed"
    assert last.interaction.usage.total_cached_tokens > 4096
    assert (
        client.interactions.get(first.id).usage.total_input_tokens == first.usage.total_input_tokens
    )


def test_the_vertex_client_is_served(url: str) -> None:
    options: Any = {"base_url": url}
    token: Any = Credentials
    vertex: Any = genai.Client(
        vertexai=True, project="p", location="l", credentials=token("x"), http_options=options
    )
    with vertex:
        assert generate(vertex).usage_metadata.traffic_type == "ON_DEMAND"
        cache = vertex.caches.create(model=FLASH, config={"system_instruction": TEXT})
        assert cache.name.startswith("projects/p/locations/l/cachedContents/")
        assert (
            generate(vertex, cached_content=cache.name).usage_metadata.cached_content_token_count
            > 2048
        )


def test_faults_raise_the_exceptions_of_the_sdk(client: Any, engine: Emulator) -> None:
    engine.faults.add_fault("429")
    with pytest.raises(errors.ClientError, match="RESOURCE_EXHAUSTED"):
        generate(client)
    engine.faults.add_fault("error-event=1")
    with pytest.raises(errors.ServerError, match="overloaded"):
        list(client.models.generate_content_stream(model=FLASH, contents="hi"))
    engine.faults.add_fault("malformed-usage=missing")
    assert generate(client).usage_metadata is None
