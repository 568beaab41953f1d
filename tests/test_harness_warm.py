"""`Prompt.warm` fills the cache once, in the provider's own way, and says why where it does not."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from promptcache import Prompt
from promptcache.harness.names import Wire
from promptcache_emulator.engine import Emulator
from tests.support.harness_world import (
    BEDROCK_CLAUDE,
    CLAUDE,
    GEMINI,
    GPT,
    OLD_GPT,
    support_prompt,
    wire_prompt,
)

boto3: Any = pytest.importorskip("boto3")


@pytest.fixture
def claude(emulator_url: str) -> Iterator[Any]:
    with anthropic.Anthropic(base_url=emulator_url, api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture
def clients(emulator_url: str, claude: Any) -> dict[str, Any]:
    gpt = openai.OpenAI(base_url=f"{emulator_url}/v1", api_key="k", max_retries=0)
    bedrock = boto3.client(
        "bedrock-runtime",
        endpoint_url=emulator_url,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    return {
        "anthropic": claude,
        "chat": gpt,
        "responses": gpt,
        "converse": bedrock,
        "invoke_model": bedrock,
    }


def ask(client: Any, wire: Wire, arguments: Any) -> Any:
    if wire == "anthropic":
        return client.messages.create(**arguments, max_tokens=50)
    if wire == "chat":
        return client.chat.completions.create(**arguments)
    if wire == "responses":
        return client.responses.create(**arguments)
    if wire == "converse":
        return client.converse(**arguments)
    return json.loads(client.invoke_model(**arguments)["body"].read())


@pytest.mark.parametrize(
    ("wire", "model"),
    [
        ("anthropic", CLAUDE),
        ("chat", GPT),
        ("responses", GPT),
        ("converse", BEDROCK_CLAUDE),
        ("invoke_model", BEDROCK_CLAUDE),
    ],
)
def test_the_first_user_reads_what_was_warmed(
    wire: Wire, model: str, clients: dict[str, Any], emulator: Emulator
) -> None:
    prompt, client = wire_prompt(wire), clients[wire]
    shared = "A playbook of one tenant. " * 300
    warmed = prompt.warm(client, wire=wire, model=model, shared=shared)
    assert (warmed.done, warmed.reason) == (True, "the provider keeps it now")
    assert warmed.cost is not None
    assert warmed.cost > 0
    written = emulator.records[-1].result.cache_write_tokens
    chat: Any = prompt.chat(wire=wire, model=model, shared=shared)
    chat.add(ask(client, wire, chat.ask("Where is order 1?")))
    assert chat.stats.read_tokens == written > 4000
    assert chat.stats.write_tokens == 0


def test_nothing_is_sent_while_the_prompt_is_in_use(claude: Any, emulator: Emulator) -> None:
    prompt = support_prompt()
    chat = prompt.chat(wire="anthropic", model=CLAUDE)
    chat.add(ask(claude, "anthropic", chat.ask("Hi")))
    warmed = prompt.warm(claude, wire="anthropic", model=CLAUDE)
    assert (warmed.done, warmed.reason) == (False, "it was used 0 s ago")
    assert prompt.warm(claude, wire="anthropic", model="claude-opus-4-7").done
    again = prompt.warm(claude, wire="anthropic", model=CLAUDE, if_idle=0)
    assert again.reason == "it was in the cache, and its lifetime starts anew"
    assert len(emulator.records) == 3


def test_parameters_that_forbid_prewarming_stay_away_or_refuse_it(claude: Any) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    params: dict[str, Any] = {"thinking": thinking, "tool_choice": {"type": "auto"}}
    assert support_prompt(params=params).warm(claude, wire="anthropic", model=CLAUDE).done
    with_format = support_prompt(params={"output_format": {"type": "json_schema"}})
    warmed = with_format.warm(claude, wire="anthropic", model=CLAUDE)
    assert (warmed.done, warmed.reason) == (
        False,
        "the provider refuses to prewarm with output_format",
    )


@pytest.mark.parametrize(
    ("wire", "model", "words"),
    [
        ("chat", OLD_GPT, "the first call warms it"),
        ("gemini", GEMINI, "caches from 2048 tokens"),
        ("anthropic", CLAUDE, "caches from 1024"),
    ],
)
def test_what_cannot_be_warmed_is_not_sent(wire: Wire, model: str, words: str) -> None:
    warmed = Prompt("p", system="Short.").warm(None, wire=wire, model=model)
    assert not warmed.done
    assert words in warmed.reason


class BrokenClient:
    """A client whose calls fail."""

    def __init__(self) -> None:
        self.messages, self.calls = self, 0

    def create(self, **arguments: Any) -> None:
        self.calls += 1
        raise ConnectionError("no network")


def test_an_error_reaches_the_caller_and_the_next_attempt_waits() -> None:
    prompt, client = support_prompt(), BrokenClient()
    with pytest.raises(ConnectionError):
        prompt.warm(client, wire="anthropic", model=CLAUDE)
    warmed = prompt.warm(client, wire="anthropic", model=CLAUDE)
    assert warmed.reason == "the last attempt failed 0 s ago"
    assert client.calls == 1


def test_threads_that_warm_at_once_send_one_request(claude: Any, emulator: Emulator) -> None:
    prompt, results = support_prompt(), list[bool]()

    def warm() -> None:
        results.append(prompt.warm(claude, wire="anthropic", model=CLAUDE).done)

    threads = [threading.Thread(target=warm) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 7 + [True]
    assert len(emulator.records) == 1


async def test_tasks_that_warm_at_once_send_one_request(
    emulator_url: str, emulator: Emulator
) -> None:
    prompt = support_prompt()
    async with anthropic.AsyncAnthropic(base_url=emulator_url, api_key="k") as client:
        calls = (prompt.warm_async(client, wire="anthropic", model=CLAUDE) for _ in range(8))
        results = await asyncio.gather(*calls)
    assert [warmed.done for warmed in results] == [True] + [False] * 7
    assert len(emulator.records) == 1
