"""Random mixes of layers, TTLs, models and breakpoints of the caller: the emulator refuses none.

`make harness-mixes` tries 100,000 of them. The number of a mix is its seed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from random import Random
from typing import Any, Final

import pytest

from promptcache import Chat, Prompt, PromptError
from promptcache.harness.caching_style import caching_style_of
from promptcache.harness.names import LAYERS, Wire
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
    ("converse", "us.anthropic.claude-3-5-haiku-20241022-v1:0"),
    ("converse", "us.amazon.nova-pro-v1:0"),
    ("invoke_model", "us.anthropic.claude-opus-4-8-v1:0"),
)
TEXTS: Final = ("", "Short.", LONG)
EXAMPLES: Final[Sequence[Any]] = (
    (),
    [("Q", "A")],
    [("Q", LONG), ("Q2", "A2")],
    "Q: A",
    LONG,
)
MIXES = int(os.environ.get("HARNESS_MIXES", "1000"))
PIECES = 10


def own_blocks(dice: Random, wire: Wire) -> list[Any]:
    """Return blocks of the wire, some with breakpoints of the caller."""
    ttls = [dice.choice((None, "5m", "1h")) for _ in range(dice.randrange(7))]
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


def random_prompt(dice: Random, wire: Wire) -> Prompt:
    return Prompt(
        "p",
        system=[dice.choice(TEXTS), *own_blocks(dice, wire)],
        tools=TOOLS[: dice.randrange(4)],
        examples=dice.choice(EXAMPLES),
        params={"max_tokens": 300} if wire == "invoke_model" else {},
    )


def take_turn(dice: Random, world: World, chat: Chat[Any], number: int) -> None:
    """Ask, answer, and sometimes call tools. Raise PromptError where the harness refuses."""
    text = ["Question?", *own_blocks(dice, chat.wire)]
    now, context = dice.choice(TEXTS), dice.choice(TEXTS)
    arguments = chat.ask(text, now=now, context=context)
    assert count_markers(arguments) <= 4
    world.call(chat.wire, arguments)
    if dice.random() < 0.5:
        ids = [f"call-{number}-{one}" for one in range(dice.randint(1, 25))]
        chat.add(tool_answer(chat.wire, *ids))
        chat.tool_results(dict.fromkeys(ids, "A result."))
        world.call(chat.wire, chat.ask(now=now))
    chat.add(text_answer(chat.wire, "An answer."))


def try_mix(seed: int) -> None:
    """Run a conversation. Fail if the emulator refuses a request."""
    dice = Random(seed)
    wire, model = dice.choice(WIRES)
    ttls = (None, *caching_style_of(wire, model).ttls)
    prompt = random_prompt(dice, wire)
    start: Any = prompt.chat
    options: dict[str, Any] = {
        "shared": dice.choice(TEXTS),
        "ttl": {layer: dice.choice(ttls) for layer in LAYERS},
    }
    world = World()
    chat: Chat[Any] = start(wire=wire, model=model, **options)
    for number in range(dice.randint(1, 4)):
        try:
            take_turn(dice, world, chat, number)
        except PromptError as error:
            if error.path == "breakpoints":
                return  # the caller's own: their number, TTL or order
            raise
        stored = json.loads(json.dumps(chat.history))
        rebuilt: Chat[Any] = start(wire=wire, model=model, history=stored, **options)
        assert rebuilt.ask("Next?") == chat.ask("Next?")
        chat = rebuilt


@pytest.mark.parametrize("piece", range(PIECES))
def test_no_mix_is_refused_by_the_provider(piece: int) -> None:
    for seed in range(piece, MIXES, PIECES):
        try:
            try_mix(seed)
        except Exception as error:
            error.add_note(f"in mix {seed}")
            raise
