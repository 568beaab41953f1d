"""The emulated Gemini API: implicit caching, named caches and their lifetimes, interactions; through the real SDK."""

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
    made: Any = genai.Client(api_key="a", http_options={"base_url": url})
    with made:
        yield made


def ask(client: Any, question: str = "hi", model: str = FLASH, **config: Any) -> Any:
    return client.models.generate_content(
        model=model, contents=question, config=config or {"system_instruction": TEXT}
    )


def test_implicit_caching_reports_no_zero(client: Any, engine: Emulator) -> None:
    assert ask(client).usage_metadata.cached_content_token_count is None
    again = ask(client, "and again").usage_metadata
    assert again.cached_content_token_count == engine.records[-1].result.cache_read_tokens > 2048
    assert again.prompt_token_count == engine.records[-1].result.input_tokens
    *_, last = client.models.generate_content_stream(
        model=FLASH, contents="hi", config={"system_instruction": TEXT}
    )
    assert last.usage_metadata.cached_content_token_count == again.cached_content_token_count


@pytest.mark.parametrize(("model", "cached"), [(FLASH, True), ("gemini-3.5-flash", False)])
def test_minimum_by_generation(client: Any, model: str, cached: bool) -> None:
    system = TEXT[: len(TEXT) // 3]
    answers = [ask(client, model=model, system_instruction=system).usage_metadata for _ in range(2)]
    assert 2048 < answers[1].prompt_token_count < 4096
    assert bool(answers[1].cached_content_token_count) is cached


def test_named_cache_lives_until_its_expiry(client: Any, engine: Emulator) -> None:
    assert isinstance(engine.clock, Clock)
    made = client.caches.create(
        model=FLASH, config={"system_instruction": TEXT, "ttl": "600s", "display_name": "shop"}
    )
    assert (made.expire_time - made.create_time).total_seconds() == 600
    used = ask(client, cached_content=made.name).usage_metadata
    assert used.cached_content_token_count == made.usage_metadata.total_token_count
    assert used.prompt_token_count > used.cached_content_token_count
    engine.clock.advance(599)
    assert ask(client, cached_content=made.name), "use does not renew it"
    longer = client.caches.update(name=made.name, config={"ttl": "7200s"})
    assert (longer.expire_time - longer.update_time).total_seconds() == 7200
    assert [held.name for held in client.caches.list()] == [made.name]
    engine.clock.advance(7201)
    with pytest.raises(errors.ClientError, match="403"):
        ask(client, cached_content=made.name)
    assert not list(client.caches.list())


def test_named_cache_belongs_to_its_owner(client: Any, url: str) -> None:
    made = client.caches.create(model=FLASH, config={"system_instruction": TEXT})
    stranger: Any = genai.Client(api_key="b", http_options={"base_url": url})
    with stranger, pytest.raises(errors.ClientError, match="403"):
        ask(stranger, cached_content=made.name)
    client.caches.delete(name=made.name)
    with pytest.raises(errors.ClientError, match="403"):
        client.caches.get(name=made.name)


def test_named_cache_refusals(client: Any) -> None:
    with pytest.raises(errors.ClientError, match="too small"):
        client.caches.create(model=FLASH, config={"system_instruction": "short"})
    made = client.caches.create(model=FLASH, config={"system_instruction": TEXT})
    with pytest.raises(errors.ClientError, match="system_instruction or tools"):
        ask(client, cached_content=made.name, system_instruction="more")


class Weather(BaseModel):
    city: str


def test_schemas_functions_and_counts(client: Any) -> None:
    structured = ask(client, response_mime_type="application/json", response_schema=Weather)
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


def test_interactions_continue_and_stream(client: Any) -> None:
    body: dict[str, Any] = {"model": "gemini-3.8-flash", "system_instruction": TEXT}
    first = client.interactions.create(**body, input="hi")
    second = client.interactions.create(**body, input="and?", previous_interaction_id=first.id)
    assert first.usage.total_cached_tokens == 0
    assert second.usage.total_cached_tokens > 4096
    assert second.usage.total_input_tokens > first.usage.total_input_tokens + 40, (
        "what was said before is read again"
    )
    *_, last = client.interactions.create(**body, input="hi", stream=True)
    assert last.event_type == "interaction.completed"
    assert last.interaction.usage.total_cached_tokens > 4096
    assert (
        client.interactions.get(first.id).usage.total_input_tokens == first.usage.total_input_tokens
    )


def test_vertex_paths(url: str) -> None:
    options: Any = {"base_url": url}
    token: Any = Credentials
    vertex: Any = genai.Client(
        vertexai=True, project="p", location="l", credentials=token("x"), http_options=options
    )
    with vertex:
        assert ask(vertex).usage_metadata.traffic_type == "ON_DEMAND"
        made = vertex.caches.create(model=FLASH, config={"system_instruction": TEXT})
        assert made.name.startswith("projects/p/locations/l/cachedContents/")
        assert (
            ask(vertex, cached_content=made.name).usage_metadata.cached_content_token_count > 2048
        )


def test_faults(client: Any, engine: Emulator) -> None:
    engine.faults.add("429")
    with pytest.raises(errors.ClientError, match="RESOURCE_EXHAUSTED"):
        ask(client)
    engine.faults.add("error-event=1")
    with pytest.raises(errors.ServerError, match="overloaded"):
        list(client.models.generate_content_stream(model=FLASH, contents="hi"))
    engine.faults.add("malformed-usage=missing")
    assert ask(client).usage_metadata is None
