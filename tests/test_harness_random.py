"""Random mixes of layers, TTLs, models and breakpoints of the caller: the emulator refuses none.

`make fuzz` runs 100,000 of them.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from promptcache import Chat, Prompt, PromptError
from promptcache.harness.caching_style import caching_style_of
from promptcache.harness.names import Wire
from tests.support.harness_requests import count_markers, text_answer, tool_answer
from tests.support.harness_world import TOOLS, World

LONG = "The agent reads the order and answers in plain words. " * 120
WIRES: tuple[tuple[Wire, str], ...] = (
    ("anthropic", "claude-opus-4-8"),
    ("anthropic", "claude-haiku-4-5"),
    ("anthropic", "claude-opus-5-5"),
    ("chat", "gpt-6-sol"),
    ("chat", "gpt-4.1"),
    ("responses", "gpt-5.6"),
    ("litellm", "gpt-6-sol"),
    ("gemini", "gemini-3.1-pro-preview"),
    ("converse", "us.anthropic.claude-sonnet-4-6-v1:0"),
    ("converse", "us.amazon.nova-pro-v1:0"),
    ("invoke_model", "us.anthropic.claude-opus-4-8-v1:0"),
)
TEXTS = st.sampled_from(["", "Short.", LONG])
OWN_MARKS = st.lists(st.sampled_from([None, "5m", "1h"]), max_size=6)


def marked_blocks(wire: Wire, ttls: list[str | None]) -> list[Any]:
    """Return blocks of the wire, some with breakpoints of the caller."""
    if wire == "converse":
        found: list[Any] = []
        for ttl in ttls:
            point = {"cachePoint": {"type": "default", "ttl": ttl}}
            found += [{"text": "Own block."}, *([point] if ttl else [])]
        return found
    if wire in ("anthropic", "invoke_model"):
        marks = [
            {"cache_control": {"type": "ephemeral", "ttl": ttl}} if ttl else {} for ttl in ttls
        ]
        return [{"type": "text", "text": "Own block.", **mark} for mark in marks]
    return ["Own block."] * len(ttls)


@st.composite
def prompts(draw: st.DrawFn, wire: Wire) -> Prompt:
    examples: Any = draw(
        st.sampled_from([(), [("Q", "A")], [("Q", LONG), ("Q2", "A2")], "Q: A", LONG])
    )
    system = [draw(TEXTS), *marked_blocks(wire, draw(OWN_MARKS))]
    tools = TOOLS[: draw(st.integers(0, 3))]
    return Prompt(
        "p",
        system=system,
        tools=tools,
        examples=examples,
        params={"max_tokens": 300} if wire == "invoke_model" else {},
    )


@given(st.data())
def test_no_mix_is_refused_by_the_provider(data: st.DataObject) -> None:
    wire, model = data.draw(st.sampled_from(WIRES))
    style = caching_style_of(wire, model)
    ttls = [None, *style.ttls]
    layers = st.fixed_dictionaries(
        {layer: st.sampled_from(ttls) for layer in ("static", "shared", "history")}
    )
    world = World()
    prompt = data.draw(prompts(wire))
    start: Any = prompt.chat
    options = {"shared": data.draw(TEXTS), "ttl": data.draw(layers)}
    chat: Chat[Any] = start(wire=wire, model=model, **options)
    refused_path: str | None = None
    for number in range(data.draw(st.integers(1, 4))):
        text = ["Question?", *marked_blocks(wire, data.draw(OWN_MARKS))]
        now, context = data.draw(TEXTS), data.draw(TEXTS)
        try:
            arguments = chat.ask(text, now=now, context=context)
        except PromptError as error:
            refused_path = error.path
            break
        assert count_markers(arguments) <= 4
        status, answer = world.try_call(wire, arguments)
        assert status == 200, answer
        if data.draw(st.booleans()):
            ids = [f"call-{number}-{one}" for one in range(data.draw(st.integers(1, 25)))]
            chat.add(tool_answer(wire, *ids))
            chat.tool_results(dict.fromkeys(ids, "A result."))
            status, answer = world.try_call(wire, chat.ask(now=now))
            assert status == 200, answer
        chat.add(text_answer(wire, "An answer."))
        stored = json.loads(json.dumps(chat.history))
        rebuilt: Chat[Any] = start(wire=wire, model=model, history=stored, **options)
        assert rebuilt.ask("Next?") == chat.ask("Next?")
        chat = rebuilt
    # Only breakpoints of the caller can be wrong: too many, or in a wrong order.
    assert refused_path in (None, "breakpoints")
