"""The programs of the README and of docs/harness.md run as printed, and their figures are true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import anthropic
import pytest

from promptcache import Chat
from tests.support.harness_requests import items_of
from tests.support.harness_world import CLAUDE, HANDBOOK, TOOLS, World, support_prompt

ROOT = Path(__file__).parent.parent
TURNS = 20


def programs(page: str) -> list[str]:
    text = (ROOT / page).read_text()
    blocks: list[str] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return [block for block in blocks if "Prompt(" in block]


@pytest.mark.parametrize("page", ["README.md", "docs/harness.md"])
def test_the_first_program_runs_as_printed(page: str, emulator_url: str) -> None:
    with anthropic.Anthropic(base_url=emulator_url, api_key="k") as client:
        names: dict[str, Any] = {
            "HANDBOOK": HANDBOOK,
            "TOOLS": TOOLS,
            "EXAMPLES": [("May I?", "Yes.")],
            "client": client,
            "clock": lambda: "It is late.",
        }
        exec(programs(page)[0], names)
    chat: Chat[Any] = names["chat"]
    assert chat.stats.calls == 1
    assert len(chat.history) == 2


def question(number: int) -> str:
    return f"Where is order {number}? It was sent last week, and nobody has seen it."


def cost_with_the_clock_last() -> float:
    world = World()
    chat = support_prompt().chat(wire="anthropic", model=CLAUDE)
    for number in range(TURNS):
        world.clock.advance(30)
        world.turn(chat, question(number), now=f"It is {world.clock()}.")
    return world.relative_cost()


def cost_with_the_clock_in_the_system_prompt() -> float:
    """The same chat with automatic caching, and the clock at the end of the system prompt."""
    world = World()
    chat = support_prompt().chat(wire="anthropic", model=CLAUDE)
    tools = chat.ask("x").get("tools")
    messages: list[Any] = []
    for number in range(TURNS):
        world.clock.advance(30)
        messages.append({"role": "user", "content": question(number)})
        arguments = {
            "model": CLAUDE,
            "tools": tools,
            "system": f"{HANDBOOK} It is {world.clock()}.",
            "messages": messages,
            "cache_control": {"type": "ephemeral"},
        }
        answer = world.call("anthropic", arguments)
        messages.append({"role": "assistant", "content": answer["content"]})
    return world.relative_cost()


def test_the_figures_of_the_readme_are_those_of_the_emulator() -> None:
    text = " ".join((ROOT / "README.md").read_text().split())
    last, first = cost_with_the_clock_last(), cost_with_the_clock_in_the_system_prompt()
    assert f"a chat of 20 turns with a clock costs {last:.0%}".replace("%", " %") in text
    assert f"automatic caching it costs {first:.0%}".replace("%", " %") in text


def test_the_clock_does_not_reach_the_prefix() -> None:
    chat = support_prompt().chat(wire="anthropic", model=CLAUDE)
    one, other = (items_of(chat.ask("Hi", now=now))[-1]["content"] for now in ("1", "2"))
    assert one[:-1] == other[:-1]
