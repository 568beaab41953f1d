"""The emulator judges the layouts of the harness: what they cost, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from promptcache import Chat
from promptcache.harness.names import Wire
from tests.support.harness_requests import tool_answer
from tests.support.harness_world import (
    BEDROCK_CLAUDE,
    CLAUDE,
    GEMINI,
    GPT,
    HANDBOOK,
    NOVA,
    OLD_GPT,
    World,
    support_prompt,
    wire_prompt,
)

WIRES: list[tuple[Wire, str]] = [
    ("anthropic", CLAUDE),
    ("chat", GPT),
    ("responses", GPT),
    ("litellm", GPT),
    ("converse", BEDROCK_CLAUDE),
    ("converse", NOVA),
    ("invoke_model", BEDROCK_CLAUDE),
]
READINGS = ["", "implicit=latest", "implicit=developer", "implicit=pinned"]


def converse(world: World, chat: Chat[Any], turns: int, gap: float = 30.0) -> None:
    for number in range(turns):
        world.clock.advance(gap)
        now = f"It is {world.clock()} o'clock."
        world.turn(chat, f"Where is order {number}? It was sent last week.", now=now)


@pytest.mark.parametrize(("wire", "model"), WIRES)
@pytest.mark.parametrize("rules", READINGS)
def test_a_chat_with_a_clock_costs_a_sixth_of_plain_input(
    wire: Wire, model: str, rules: str
) -> None:
    world = World(rules)
    chat = wire_prompt(wire).chat(wire=wire, model=model)
    converse(world, chat, 20)
    assert world.relative_cost() < 0.18
    reads = [record.result.cache_read_tokens for record in world.emulator.records]
    assert reads[0] == 0
    assert reads[1:] == sorted(reads[1:])
    assert chat.stats.hits == 19


@pytest.mark.parametrize(("wire", "model"), [("chat", OLD_GPT), ("gemini", GEMINI)])
def test_a_chat_of_a_model_that_caches_by_itself_costs_no_more(wire: Wire, model: str) -> None:
    world = World()
    converse(world, support_prompt().chat(wire=wire, model=model), 20)
    assert world.relative_cost() < 0.18


@pytest.mark.parametrize(("wire", "model"), WIRES)
@pytest.mark.parametrize("rules", READINGS)
def test_one_shot_questions_pay_for_no_write_but_the_static_one(
    wire: Wire, model: str, rules: str
) -> None:
    world = World(rules)
    prompt = wire_prompt(wire)
    for number in range(40):
        chat: Chat[Any] = prompt.chat(wire=wire, model=model)
        documents = " ".join(f"Document {number}-{one} says something." for one in range(400))
        world.turn(chat, "What does it say?", context=documents, now=f"{number}")
    written = world.emulator.totals["write"]
    static = world.emulator.records[-1].result.cache_read_tokens
    assert written == static > 4000


@pytest.mark.parametrize(("wire", "model"), WIRES)
def test_tenants_share_the_static_layer_and_keep_their_own(wire: Wire, model: str) -> None:
    world = World()
    prompt = wire_prompt(wire)
    for _ in range(2):
        for tenant in range(3):
            playbook = f"Playbook of tenant {tenant}. " + HANDBOOK[:8000]
            chat: Chat[Any] = prompt.chat(wire=wire, model=model, shared=playbook)
            world.turn(chat, "Hello")
    reads = [record.result.cache_read_tokens for record in world.emulator.records]
    assert reads[0] == 0 < reads[1] == reads[2] < min(reads[3:])


@pytest.mark.parametrize(("wire", "model"), WIRES)
@pytest.mark.parametrize("calls", [1, 8, 30])
def test_an_agent_reads_all_of_the_turn_before(wire: Wire, model: str, calls: int) -> None:
    """Turns of up to 60 blocks: more than Anthropic looks back."""
    world = World()
    chat: Chat[Any] = wire_prompt(wire).chat(wire=wire, model=model)
    world.turn(chat, "Find the orders of this customer.")
    for number in range(6):
        world.call(wire, chat.ask(f"Go on with part {number}."))
        ids = [f"call-{number}-{one}" for one in range(calls)]
        chat.add(tool_answer(wire, *ids))
        chat.tool_results({one: f"The result of {one} is long. " * 10 for one in ids})
        before = world.emulator.records[-1].result
        world.turn(chat, f"And {number}?", now=f"{world.clock()}")
        latest = world.emulator.records[-1].result
        assert latest.cache_read_tokens == before.cache_read_tokens + before.cache_write_tokens


def test_an_hour_keeps_a_chat_with_long_pauses_warm() -> None:
    costs: dict[str, float] = {}
    for ttl in ("5m", "1h"):
        world = World()
        chat = support_prompt().chat(wire="anthropic", model=CLAUDE, ttl=ttl)
        for number in range(20):
            world.clock.advance(2400 if number % 2 else 700)
            world.turn(chat, f"Question {number}?")
        costs[ttl] = world.relative_cost(write=2.0 if ttl == "1h" else 1.25)
    assert costs["1h"] < 0.25 < 1.0 < costs["5m"]
