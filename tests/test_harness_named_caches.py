"""On Gemini `Prompt.warm` creates, renews and deletes a named cache, where it pays."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any, Final

import pytest
from google import genai
from google.genai import errors

from promptcache import Prompt, PromptError
from promptcache.harness import chat, named_caches, recent_uses
from promptcache.harness.recent_uses import RecentUses
from promptcache_emulator.engine import Emulator
from tests.support.harness_world import GEMINI, support_prompt

NEEDED = 5
"""Gemini 2.5 Flash: more than (0.30 + 1.00) / (0.30 - 0.03) calls an hour that miss."""
NO_IMPLICIT_CACHE = {"x-emulator-rules": "stretch=0"}
WIRE: Final = "gemini"

pytestmark = pytest.mark.filterwarnings(
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"
)


class Clock:
    """Stands in for the module `time`. It is ahead of the clock by `ahead` seconds."""

    ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(named_caches, "time", clock)
    monkeypatch.setattr(recent_uses, "time", clock)
    monkeypatch.setattr(chat, "time", clock)
    return clock


def make_client(url: str, headers: dict[str, str]) -> Any:
    options: Any = {"base_url": url, "headers": headers, "retry_options": {"attempts": 1}}
    return genai.Client(api_key="k", http_options=options)


@pytest.fixture
def client(emulator_url: str) -> Iterator[Any]:
    with closing(make_client(emulator_url, NO_IMPLICIT_CACHE)) as client:
        yield client


def ask(client: Any, prompt: Prompt, calls: int = 1, **more: Any) -> Any:
    """Call the model so often, each time in a new chat. Return the last arguments and chat."""
    for _ in range(calls - 1):
        ask(client, prompt, **more)
    conversation = prompt.chat(wire=WIRE, model=GEMINI, **more)
    arguments = conversation.ask("Where is order 1?")
    conversation.add(client.models.generate_content(**arguments))
    return SimpleNamespace(config=arguments["config"], stats=conversation.stats)


def warm(client: Any, prompt: Prompt, **more: Any) -> Any:
    return prompt.warm(client, wire=WIRE, model=GEMINI, **more)


def refuse(**arguments: Any) -> None:
    raise ConnectionError("no network")


def names_of_caches(client: Any) -> list[str]:
    return [cache.name for cache in client.caches.list()]


def test_nothing_is_stored_while_the_implicit_cache_hits(emulator_url: str) -> None:
    prompt = support_prompt()
    with closing(make_client(emulator_url, {})) as client:
        assert ask(client, prompt, 2 * NEEDED).stats.hits == 1
        warmed = warm(client, prompt)
        assert not warmed.done
        assert "pays from 5 calls that miss the implicit cache an hour on, and 1" in warmed.reason
        assert names_of_caches(client) == []


def test_calls_that_miss_are_read_from_a_named_cache(client: Any, emulator: Emulator) -> None:
    prompt, shared = support_prompt(examples=[("May I?", "Yes.")]), "A playbook. " * 300
    ask(client, prompt, NEEDED - 1, shared=shared)
    assert not warm(client, prompt, shared=shared).done
    assert ask(client, prompt, shared=shared).stats.misses == 1
    warmed = warm(client, prompt, shared=shared)
    assert (warmed.done, warmed.reason) == (True, "a named cache was created, for 3600 s")
    (cache,) = client.caches.list()
    tokens = cache.usage_metadata.total_token_count
    assert warmed.cost == pytest.approx(tokens * (0.3e-6 + 1e-6))
    assert cache.display_name == prompt.cache_key
    answered = ask(client, prompt, shared=shared)
    assert answered.config == {"cached_content": cache.name}
    assert answered.stats.read_tokens == tokens > 5000
    before = emulator.records[-2].result.input_tokens
    assert emulator.records[-1].result.input_tokens == pytest.approx(before, abs=1)


def test_another_shared_layer_has_no_part_in_the_cache(client: Any) -> None:
    prompt = support_prompt()
    ask(client, prompt, NEEDED)
    assert warm(client, prompt).done
    other = ask(client, prompt, shared="Another tenant.")
    assert "system_instruction" in other.config
    assert "cached_content" not in other.config


def test_a_shard_is_no_cache_of_its_own(client: Any) -> None:
    prompt = support_prompt()
    ask(client, prompt, NEEDED, shard=1)
    assert warm(client, prompt, shard=2).done
    assert "cached_content" in ask(client, prompt, shard=3).config


def test_a_cache_in_use_is_renewed_and_an_idle_one_ends(client: Any, clock: Clock) -> None:
    prompt = support_prompt()
    ask(client, prompt, NEEDED)
    assert warm(client, prompt).done
    assert warm(client, prompt).reason.startswith("its named cache lives for 3")
    clock.ahead = 1900
    renewed = warm(client, prompt)
    assert renewed.reason == "a named cache was renewed, for 3600 s"
    (cache,) = client.caches.list()
    assert renewed.cost == pytest.approx(cache.usage_metadata.total_token_count * 1e-6)
    clock.ahead = 1900 + 3500
    assert "cached_content" in ask(client, prompt).config
    assert "pays from 4 calls an hour on, and 1 were seen" in warm(client, prompt).reason
    clock.ahead = 1900 + 3545
    assert "system_instruction" in ask(client, prompt).config


def test_close_deletes_what_was_created(client: Any) -> None:
    prompt = support_prompt()
    ask(client, prompt, NEEDED)
    assert warm(client, prompt).done
    assert len(names_of_caches(client)) == 1
    prompt.close()
    assert names_of_caches(client) == []
    assert "system_instruction" in ask(client, prompt).config
    prompt.close()


def test_a_failed_create_reaches_the_caller_and_the_next_attempt_waits(
    client: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = support_prompt()
    ask(client, prompt, NEEDED)
    with monkeypatch.context() as broken:
        broken.setattr(client.caches, "create", refuse)
        with pytest.raises(ConnectionError):
            warm(client, prompt)
    assert warm(client, prompt).reason == "the last attempt failed 0 s ago"
    clock.ahead = 61
    assert warm(client, prompt).done


def test_an_sdk_that_cannot_be_imported_keeps_no_claim(
    client: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = support_prompt()
    ask(client, prompt, NEEDED)
    with monkeypatch.context() as broken:
        broken.setitem(sys.modules, "google.genai.errors", None)
        with pytest.raises(ImportError):
            warm(client, prompt)
    clock.ahead = 61
    assert warm(client, prompt).done


def test_a_cache_that_is_gone_at_its_renewal_is_forgotten(client: Any, clock: Clock) -> None:
    prompt = support_prompt()
    ask(client, prompt, NEEDED)
    assert warm(client, prompt).done
    (name,) = names_of_caches(client)
    client.caches.delete(name=name)
    clock.ahead = 1900
    with pytest.raises(errors.ClientError):
        warm(client, prompt)
    assert "system_instruction" in ask(client, prompt).config
    clock.ahead = 1961
    assert warm(client, prompt).reason.startswith("a named cache was created")


def test_the_choice_of_tools_belongs_into_the_cache(client: Any) -> None:
    choice = {"function_calling_config": {"mode": "NONE"}}
    prompt = support_prompt(params={"tool_config": choice, "temperature": 0.5})
    ask(client, prompt, NEEDED)
    assert warm(client, prompt).done
    config = ask(client, prompt).config
    assert config.keys() == {"temperature", "cached_content"}
    arguments = prompt.chat(wire=WIRE, model=GEMINI).ask("Hi", params={"tool_config": choice})
    assert "cached_content" not in arguments["config"]
    client.models.generate_content(**arguments)


def test_what_nobody_can_price_is_not_stored(client: Any) -> None:
    prompt = support_prompt()
    warmed = prompt.warm(client, wire=WIRE, model="gemini-of-tomorrow")
    assert "no price of storage is known" in warmed.reason


def test_a_name_of_the_caller_is_refused() -> None:
    conversation = support_prompt().chat(wire=WIRE, model=GEMINI)
    with pytest.raises(PromptError, match="cached_content: is set by the harness"):
        conversation.ask("Hi", params={"cached_content": "cachedContents/1"})


async def test_tasks_that_warm_at_once_create_one_cache(client: Any) -> None:
    prompt = support_prompt()
    ask(client, prompt, NEEDED)
    calls = (prompt.warm_async(client.aio, wire=WIRE, model=GEMINI) for _ in range(8))
    results = await asyncio.gather(*calls)
    assert [warmed.done for warmed in results] == [True] + [False] * 7
    assert len(names_of_caches(client)) == 1
    with pytest.raises(PromptError, match="use close_async"):
        prompt.close()
    await prompt.close_async()
    await client.aio.aclose()
    assert names_of_caches(client) == []


def test_what_another_thread_created_meanwhile_is_not_created_again(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt, start = support_prompt(), RecentUses.start_warming
    ask(client, prompt, NEEDED)

    def start_late(uses: RecentUses, prefix: str, if_idle: float) -> str | None:
        monkeypatch.setattr(RecentUses, "start_warming", start)
        assert warm(client, prompt).done
        return start(uses, prefix, if_idle)

    monkeypatch.setattr(RecentUses, "start_warming", start_late)
    assert warm(client, prompt).reason == "another caller has warmed it"
    assert len(names_of_caches(client)) == 1
