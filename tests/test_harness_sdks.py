"""The real SDKs take what the harness returns, and the harness takes back what they return."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from promptcache import Chat, PromptError
from promptcache.harness.names import Wire
from promptcache_emulator.engine import Emulator
from tests.support.harness_world import CLAUDE, GPT, support_prompt

SHAPES = ("plain", "dict", "events", "helper")


@pytest.fixture
def claude(emulator_url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=emulator_url, api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture
def gpt(emulator_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{emulator_url}/v1", api_key="k", max_retries=0) as client:
        yield client


def ask_claude(client: Any, arguments: Any, shape: str) -> Any:
    if shape == "events":
        return list(client.messages.create(**arguments, max_tokens=300, stream=True))
    if shape == "helper":
        with client.messages.stream(**arguments, max_tokens=300) as stream:
            return list(stream)
    answer = client.messages.create(**arguments, max_tokens=300)
    return answer.to_dict() if shape == "dict" else answer


def ask_chat(client: Any, arguments: Any, shape: str) -> Any:
    options: Any = {"stream_options": {"include_usage": True}}
    if shape == "events":
        return list(client.chat.completions.create(**arguments, **options, stream=True))
    if shape == "helper":
        with client.chat.completions.stream(**arguments, **options) as stream:
            return stream.get_final_completion()
    answer = client.chat.completions.create(**arguments)
    return answer.to_dict() if shape == "dict" else answer


def ask_responses(client: Any, arguments: Any, shape: str) -> Any:
    if shape == "events":
        return list(client.responses.create(**arguments, stream=True))
    if shape == "helper":
        with client.responses.stream(**arguments) as stream:
            return stream.get_final_response()
    answer = client.responses.create(**arguments)
    return answer.to_dict() if shape == "dict" else answer


def call_ids(history: list[Any], wire: Wire) -> list[str]:
    last = history[-1]
    if wire == "anthropic":
        return [block["id"] for block in last["content"] if block["type"] == "tool_use"]
    if wire == "chat":
        return [call["id"] for call in last["tool_calls"]]
    return [item["call_id"] for item in history if item.get("type") == "function_call"][-1:]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("wire", ["anthropic", "chat", "responses"])
def test_a_conversation_with_a_tool_goes_on_in_every_shape(
    wire: Wire,
    shape: str,
    claude: Any,
    gpt: Any,
    emulator: Emulator,
) -> None:
    def run(chat: Chat[Any], *question: str, **options: Any) -> None:
        arguments = chat.ask(*question, now="NOW", **options)
        if wire == "anthropic":
            chat.add(ask_claude(claude, arguments, shape))
        elif wire == "chat":
            chat.add(ask_chat(gpt, arguments, shape))
        else:
            chat.add(ask_responses(gpt, arguments, shape))

    chat: Chat[Any] = support_prompt().chat(wire=wire, model=CLAUDE if wire == "anthropic" else GPT)
    force: Any = {"type": "any"} if wire == "anthropic" else "required"
    none: Any = {"type": "none"} if wire == "anthropic" else "none"
    run(chat, "Where is order 1?", params={"tool_choice": force})
    ids = call_ids(chat.history, wire)
    assert ids
    chat.tool_results(dict.fromkeys(ids, "It is on its way."))
    run(chat, params={"tool_choice": none})
    run(chat, "Thanks. And order 2?", params={"tool_choice": none})
    assert chat.stats.calls == 3
    assert chat.stats.input_tokens == emulator.totals["input"]
    assert chat.stats.read_tokens == emulator.totals["read"]
    assert chat.stats.hits >= 2 if wire != "anthropic" else chat.stats.hits >= 1
    assert "NOW" not in str(chat.history)


def test_thinking_goes_back_as_it_came(claude: Any) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    chat: Chat[Any] = support_prompt(params={"thinking": thinking}).chat(
        wire="anthropic", model=CLAUDE
    )
    answer = claude.messages.create(**chat.ask("Hi"), max_tokens=2000)
    chat.add(answer)
    (block,) = (block for block in answer.content if block.type == "thinking")
    (kept,) = (one for one in chat.history[-1]["content"] if one["type"] == "thinking")
    assert kept == {
        "type": "thinking",
        "thinking": block.thinking,
        "signature": block.signature,
    }


def test_a_live_stream_of_an_sdk_is_refused_and_not_consumed(claude: Any, gpt: Any) -> None:
    chat: Chat[Any] = support_prompt().chat(wire="anthropic", model=CLAUDE)
    with claude.messages.stream(**chat.ask("Hi"), max_tokens=300) as stream:
        with pytest.raises(PromptError, match="live stream"):
            chat.add(stream)
        chat.add(stream.get_final_message())
    other: Chat[Any] = support_prompt().chat(wire="chat", model=GPT)
    events = gpt.chat.completions.create(**other.ask("Hi"), stream=True)
    with pytest.raises(PromptError, match="live stream"):
        other.add(events)
    other.add(list(events))


def test_a_stream_that_broke_off_is_no_turn(claude: Any) -> None:
    chat: Chat[Any] = support_prompt().chat(wire="anthropic", model=CLAUDE)
    events = list(claude.messages.create(**chat.ask("Hi"), max_tokens=300, stream=True))
    with pytest.raises(PromptError, match="no complete stream"):
        chat.add(events[:-1])
    assert chat.history == []
    chat.add(events)
    assert [message["role"] for message in chat.history] == ["user", "assistant"]
