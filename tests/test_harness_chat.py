"""A `Chat` lays out turns: the history only grows, and what changes goes last."""

from __future__ import annotations

import json
import sys
from typing import Any, assert_type, cast

import pytest

from promptcache import Chat, Prompt, PromptError
from promptcache.harness.arguments import AnthropicArguments, ChatArguments, ResponsesArguments
from promptcache.harness.names import Wire
from tests.support.harness_requests import (
    count_markers,
    items_of,
    text_answer,
    texts_of,
    tool_answer,
    without_markers,
)
from tests.support.harness_world import (
    BEDROCK_CLAUDE,
    CLAUDE,
    GEMINI,
    GPT,
    HANDBOOK,
    NOVA,
    OLD_GPT,
    TOOLS,
    support_prompt,
    wire_prompt,
)

WIRES: list[tuple[Wire, str]] = [
    ("anthropic", CLAUDE),
    ("chat", GPT),
    ("responses", GPT),
    ("litellm", f"anthropic/{CLAUDE}"),
    ("litellm", GPT),
    ("converse", BEDROCK_CLAUDE),
    ("converse", NOVA),
    ("invoke_model", BEDROCK_CLAUDE),
    ("chat", OLD_GPT),
    ("gemini", GEMINI),
]
MARKED = WIRES[:-2]


def start(wire: Wire, model: str, **more: Any) -> Chat[Any]:
    prompt = more.pop("prompt", None) or wire_prompt(wire)
    start_chat: Any = prompt.chat
    return cast("Chat[Any]", start_chat(wire=wire, model=model, **more))


def count_calls_of_a_turn(chat: Chat[Any], number: int) -> int:
    """Return how many calls of Python functions one turn takes."""
    answer = text_answer(chat.wire, f"Answer {number:3}")
    calls = 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        chat.ask(f"Question {number:3}", now="NOW")
        chat.add(answer)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize(("wire", "model"), WIRES)
def test_a_turn_late_in_a_chat_takes_no_more_steps(wire: Wire, model: str) -> None:
    chat = start(wire, model)
    calls = [count_calls_of_a_turn(chat, number) for number in range(200)]
    assert calls[199] == calls[20] < 500


def test_each_wire_has_its_own_type() -> None:
    prompt = support_prompt()
    assert_type(prompt.chat(wire="anthropic", model=CLAUDE), Chat[AnthropicArguments])
    assert_type(prompt.chat(wire="chat", model=GPT).ask("Hi"), ChatArguments)
    assert_type(prompt.chat(wire="responses", model=GPT).ask("Hi"), ResponsesArguments)


@pytest.mark.parametrize(("wire", "model"), WIRES)
def test_a_turn_extends_the_request_before_it(wire: Wire, model: str) -> None:
    chat = start(wire, model)
    before: list[Any] = []
    for number in range(4):
        arguments = chat.ask(f"Question {number}")
        items = without_markers(items_of(arguments))
        assert items[: len(before)] == before
        before = items
        chat.add(text_answer(wire, f"Answer {number}"))


@pytest.mark.parametrize(("wire", "model"), WIRES)
def test_now_is_last_and_gone_from_the_next_turn(wire: Wire, model: str) -> None:
    chat = start(wire, model)
    chat.ask("Question", now="TIME-1", context="DOCUMENT")
    chat.add(text_answer(wire, "Answer"))
    assert "TIME-1" not in json.dumps(chat.history)
    assert "DOCUMENT" in json.dumps(chat.history)
    texts = texts_of(items_of(chat.ask("Next", now="TIME-2")))
    assert texts[-1].endswith("TIME-2")
    if (wire, model) in MARKED:
        assert texts[-3:] == ["Next", "|", "TIME-2"]


@pytest.mark.parametrize(("wire", "model"), MARKED)
def test_the_first_question_has_only_the_static_breakpoint(wire: Wire, model: str) -> None:
    chat = start(wire, model)
    arguments = chat.ask("Question", context="A document. " * 2000, now="TIME")
    assert dict(chat.breakpoints).keys() == {"static"}
    assert count_markers(arguments) == 1


def test_a_model_that_caches_by_itself_gets_no_breakpoints() -> None:
    chat = start("chat", OLD_GPT)
    for _ in range(3):
        arguments = chat.ask("Question", now="TIME")
        assert count_markers(arguments) == 0
        assert "prompt_cache_options" not in arguments
        assert arguments["prompt_cache_key"] == chat.cache_key
        assert all(isinstance(message["content"], str) for message in arguments["messages"])
        chat.add(text_answer("chat", "Answer"))


def test_a_server_of_another_vendor_gets_no_field_of_openai() -> None:
    arguments = start("chat", "llama-4-70b").ask("Question")
    assert arguments.keys() == {"model", "messages", "tools"}


def test_a_model_of_openai_with_breakpoints_is_in_explicit_mode() -> None:
    wires: tuple[Wire, ...] = ("chat", "responses")
    for wire in wires:
        arguments = start(wire, GPT).ask("Question")
        assert arguments["prompt_cache_options"] == {"mode": "explicit"}
    deployed = start("chat", "our-deployment", base_model=GPT).ask("Question")
    assert deployed["model"] == "our-deployment"
    assert deployed["prompt_cache_options"] == {"mode": "explicit"}


@pytest.mark.parametrize(("wire", "model"), WIRES)
def test_asking_again_replaces_the_turn(wire: Wire, model: str) -> None:
    chat = start(wire, model)
    first = chat.ask("Question", now="1")
    assert chat.ask("Question", now="1") == first
    chat.ask("Another")
    chat.add(text_answer(wire, "Answer"))
    assert "Question" not in json.dumps(chat.history)
    assert "Another" in json.dumps(chat.history)


@pytest.mark.parametrize(("wire", "model"), WIRES)
def test_results_of_tools_make_the_next_turn(wire: Wire, model: str) -> None:
    chat = start(wire, model)
    chat.ask("Where are both?")
    chat.add(tool_answer(wire, "a", "b"))
    with pytest.raises(PromptError, match="'a' has no result"):
        chat.ask()
    with pytest.raises(PromptError, match="'c' is no open call"):
        chat.tool_results({"c": "x"})
    chat.tool_results({"a": "sent"})
    with pytest.raises(PromptError, match="'b' has no result"):
        chat.ask("Also this?")
    chat.tool_results({"b": "lost"}, failed=["b"])
    arguments = chat.ask(now="TIME")
    texts = [text for text in texts_of(items_of(arguments)) if text != "|"]
    assert [text.split("\n")[-1] for text in texts[-3:]] == ["sent", "lost", "TIME"]
    if wire in ("anthropic", "invoke_model"):
        content = items_of(arguments)[-1]["content"]
        assert [block.get("is_error") for block in content] == [None, True, None]
    chat.add(text_answer(wire, "Both found"))
    assert "TIME" not in json.dumps(chat.history)
    assert chat.ask("Thanks")


@pytest.mark.parametrize(("wire", "model"), WIRES)
def test_a_chat_rebuilt_from_its_history_sends_the_same_bytes(wire: Wire, model: str) -> None:
    chat = start(wire, model, shared="A playbook. " * 500)
    results: dict[str, str] = {}
    for number in range(200):
        now = f"now {number}"
        if number % 7 == 3:
            chat.ask(f"Question {number}")
            ids = [f"call-{number}-{one}" for one in range(1 + number % 25)]
            chat.add(tool_answer(wire, *ids))
            results = {one: f"result {one}" for one in ids}
            chat.tool_results(results)
        has_results = number % 7 == 3
        sent = chat.ask(now=now) if has_results else chat.ask(f"Question {number}", now=now)
        # A chat of 200 turns is rebuilt in milliseconds, so only the first wire does it each turn.
        if wire == WIRES[0][0] or number % 5 == 4:
            history = json.loads(json.dumps(chat.history))
            rebuilt = start(wire, model, shared="A playbook. " * 500, history=history)
            if has_results:
                rebuilt.tool_results(results)
            again = (
                rebuilt.ask(now=now) if has_results else rebuilt.ask(f"Question {number}", now=now)
            )
            assert json.dumps(again) == json.dumps(sent)
            assert rebuilt.breakpoints == chat.breakpoints
        chat.add(text_answer(wire, f"Answer {number}"))


def test_breakpoints_in_a_given_history_are_dropped() -> None:
    marked = {"type": "text", "text": "Old", "cache_control": {"type": "ephemeral"}}
    inner = {"type": "tool_result", "tool_use_id": "a", "content": [marked]}
    history = [{"role": "user", "content": [marked, inner]}] * 5
    chat = start("anthropic", CLAUDE, history=history)
    assert count_markers(chat.history) == 0
    assert count_markers(chat.ask("Next")) <= 4


def test_breakpoints_of_the_caller_count_and_too_many_are_refused() -> None:
    marked = {"type": "text", "text": "Text", "cache_control": {"type": "ephemeral"}}
    chat = start("anthropic", CLAUDE)
    chat.ask("First")
    chat.add(text_answer("anthropic", "Answer"))
    for own in range(5):
        assert count_markers(chat.ask([marked] * own + ["Question"])) == min(4, own + 2)
    with pytest.raises(PromptError, match="5 of your own, and a request takes 4"):
        chat.ask([marked] * 5)


def test_a_ttl_of_the_caller_that_the_model_does_not_offer_is_refused() -> None:
    point = {"cachePoint": {"type": "default", "ttl": "1h"}}
    chat = start("converse", NOVA)
    with pytest.raises(PromptError, match="of your own: 1h, and the model offers 5m"):
        chat.ask([{"text": "Hi"}, point])


def test_a_longer_ttl_never_stands_behind_a_shorter_one() -> None:
    chat = start("anthropic", CLAUDE, shared="A playbook. " * 2000, ttl={"history": "1h"})
    chat.ask("First")
    chat.add(text_answer("anthropic", "Answer"))
    chat.ask("Second")
    assert dict(chat.breakpoints) == {"static": "1h", "shared": "1h", "latest": "1h"}
    block = {"type": "text", "text": HANDBOOK, "cache_control": {"type": "ephemeral"}}
    own = Prompt("p", system=[block, "And more. " * 2000])
    chat = own.chat(wire="anthropic", model=CLAUDE, ttl="1h")
    chat.ask("First")
    assert dict(chat.breakpoints) == {"static": "5m"}
    late = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    with pytest.raises(PromptError, match="longer TTL stands after a shorter"):
        chat.ask([late])


@pytest.mark.parametrize(
    ("wire", "model", "ttl"),
    [("anthropic", CLAUDE, "30m"), ("chat", GPT, "12h"), ("chat", OLD_GPT, "5m")],
)
def test_a_ttl_that_the_model_does_not_offer_is_refused(wire: Wire, model: str, ttl: str) -> None:
    with pytest.raises(PromptError, match=rf"ttl\['static'\]: is '{ttl}'"):
        start(wire, model, ttl=ttl)


def test_the_responses_api_offers_twelve_hours() -> None:
    arguments = start("responses", GPT, ttl="12h").ask("Question")
    assert '"ttl": "12h"' in json.dumps(arguments["input"][0])


def test_a_static_layer_below_the_minimum_gets_no_breakpoint_and_a_note() -> None:
    chat = start("anthropic", CLAUDE, prompt=Prompt("p", system="Short."))
    assert count_markers(chat.ask("Question")) == 0
    assert "minimum" not in chat.notes[0]
    assert "caches from 1024" in chat.notes[0]


def test_a_breakpoint_stands_only_on_a_block_that_may_carry_one() -> None:
    deferred = {"name": "zz", "input_schema": {"type": "object"}, "defer_loading": True}
    prompt = Prompt("p", tools=[{**TOOLS[0], "description": HANDBOOK}, deferred])
    tools = prompt.chat(wire="anthropic", model=CLAUDE).ask("Question").get("tools", [])
    assert ["cache_control" in tool for tool in tools] == [True, False]
    chat = start("anthropic", CLAUDE)
    chat.ask("First")
    thinking = {"type": "thinking", "thinking": "so", "signature": "s"}
    chat.add({"type": "message", "content": [thinking], "stop_reason": "pause_turn"})
    assert count_markers(chat.ask()["messages"][-1]) == 0


def test_a_turn_of_many_blocks_keeps_the_breakpoint_of_the_turn_before() -> None:
    chat = start("anthropic", CLAUDE)
    chat.ask("First")
    ids = [f"call-{number}" for number in range(12)]
    chat.add(tool_answer("anthropic", *ids))
    chat.tool_results(dict.fromkeys(ids, "result"))
    chat.ask()
    assert dict(chat.breakpoints).keys() == {"static", "previous", "latest"}


def test_shared_stands_behind_the_examples() -> None:
    prompt = support_prompt(examples=[("Where is 1?", "On its way.")], params={"max_tokens": 300})
    for wire, model in WIRES:
        texts = texts_of(items_of(start(wire, model, prompt=prompt, shared="PLAYBOOK").ask("Hi")))
        texts = [text for text in texts if text != "|"]
        assert texts[-4:] == ["Where is 1?", "On its way.", "PLAYBOOK", "Hi"]


def test_examples_as_a_text_end_the_system_prompt() -> None:
    prompt = Prompt("p", system="Rules.", examples="Q: a\nA: b")
    system = prompt.chat(wire="anthropic", model=CLAUDE).ask("Hi").get("system", [])
    assert [block["text"] for block in system] == ["Rules.", "Q: a\nA: b"]


@pytest.mark.parametrize(("wire", "model"), WIRES)
def test_a_live_stream_is_refused_and_not_consumed(wire: Wire, model: str) -> None:
    chat = start(wire, model)
    chat.ask("Hi")
    stream = iter([{"type": "message_start"}])
    with pytest.raises(PromptError, match="live stream"):
        chat.add(stream)
    assert next(stream)


def test_an_answer_without_a_question_is_refused() -> None:
    with pytest.raises(PromptError, match="no question"):
        start("anthropic", CLAUDE).add(text_answer("anthropic", "Answer"))


def test_an_empty_turn_is_refused() -> None:
    empty: tuple[Any, ...] = (None, "", [])
    for text in empty:
        with pytest.raises(PromptError, match="text: is empty"):
            start("anthropic", CLAUDE).ask(text)


@pytest.mark.parametrize(
    ("wire", "tool"),
    [
        ("anthropic", {"type": "function", "function": {"name": "f", "parameters": {}}}),
        ("anthropic", {"type": "web_search"}),
        ("chat", {"name": "f", "input_schema": {}}),
        ("chat", {"type": "web_search_20260318", "name": "web_search"}),
        ("responses", {"type": "custom", "custom": {"name": "f"}}),
    ],
)
def test_a_tool_in_the_form_of_another_wire_is_refused_by_name(wire: Wire, tool: Any) -> None:
    prompt = Prompt("p", tools=[tool])
    with pytest.raises(PromptError, match=rf"tools\[0\]: is in the form of the wire .*'{wire}'"):
        start(wire, GPT, prompt=prompt)


def test_a_system_message_in_a_history_is_refused() -> None:
    with pytest.raises(PromptError, match=r"history\[0\]: is a system message"):
        start("chat", GPT, history=[{"role": "system", "content": "Rules."}])


def test_a_parameter_that_the_harness_sets_is_refused() -> None:
    chat = start("anthropic", CLAUDE)
    for name in ("messages", "system", "model", "cache_control"):
        with pytest.raises(PromptError, match=f"params.{name}: is set by the harness"):
            chat.ask("Hi", params={name: []})


def test_frozen_parameters_are_part_of_each_call() -> None:
    prompt = support_prompt(params={"tool_choice": {"type": "auto"}})
    arguments: Any = prompt.chat(wire="anthropic", model=CLAUDE).ask("Hi", params={"top_k": 3})
    assert arguments["tool_choice"] == {"type": "auto"}
    assert arguments["top_k"] == 3


def test_another_wire_takes_the_texts_and_refuses_the_rest() -> None:
    chat = start("anthropic", CLAUDE)
    chat.ask("Hi")
    thinking = {"type": "thinking", "thinking": "so", "signature": "s"}
    chat.add({"type": "message", "content": [thinking, {"type": "text", "text": "Hello"}]})
    moved = start("chat", OLD_GPT, history=chat)
    assert moved.history == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
    ]
    other_model = start("anthropic", "claude-opus-5-5", history=chat)
    assert "thinking" not in json.dumps(other_model.history)
    assert start("anthropic", CLAUDE, history=chat).history == chat.history
    chat.ask("Next")
    chat.add(tool_answer("anthropic", "a"))
    with pytest.raises(PromptError, match=r"history\[3\]: holds 'tool_use'"):
        start("responses", GPT, history=chat)


def test_the_returned_history_is_a_copy() -> None:
    chat = start("anthropic", CLAUDE)
    chat.ask("Hi")
    chat.add(text_answer("anthropic", "Hello"))
    chat.history[0]["content"][0]["text"] = "changed"
    assert chat.history[0]["content"][0]["text"] == "Hi"
