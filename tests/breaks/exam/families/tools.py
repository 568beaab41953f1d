"""Breaks in the tools."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

from tests.breaks.exam import corpus
from tests.breaks.exam.families.steps import change_always, change_once, make_conversation
from tests.breaks.exam.scenario import Steps, family, label
from tests.breaks.exam.surfaces import Surface

Tool = dict[str, Any]


def _change_tool(
    rng: random.Random, surface: Surface, change: Callable[[Tool], None], reason: str, *hints: str
) -> Steps:
    """Change one tool once."""
    states = make_conversation(rng, surface)
    tools = list(copy.deepcopy(states[0].tools))
    at = rng.randrange(len(tools))
    change(tools[at])
    truth = label(reason, section="tools", indexes=frozenset({at}), hints=frozenset(hints))
    return change_once(rng, surface, states, lambda s: s.replace(tools=tuple(tools)), truth)


@family("schema extended")
def schema_extended(rng: random.Random, surface: Surface) -> Steps:
    """Add a property to a nested definition."""

    def change(tool: Tool) -> None:
        definitions = tool["parameters"].setdefault("$defs", {})
        definitions.setdefault("Address", {"type": "object", "properties": {}})
        definitions["Address"]["properties"]["floor"] = {"type": "integer", "minimum": -2}

    return _change_tool(rng, surface, change, "tools_changed")


@family("enum value added")
def enum_added(rng: random.Random, surface: Surface) -> Steps:
    def change(tool: Tool) -> None:
        properties = tool["parameters"]["properties"]
        properties["channel"] = {"type": "string", "enum": ["MAIL", "PHONE", "CHAT_2026"]}

    return _change_tool(rng, surface, change, "tools_changed")


@family("field became required")
def required_changed(rng: random.Random, surface: Surface) -> Steps:
    def change(tool: Tool) -> None:
        tool["parameters"]["required"] = list(tool["parameters"]["properties"])[:1]

    return _change_tool(rng, surface, change, "tools_changed")


@family("tool described anew", simple=True)
def described(rng: random.Random, surface: Surface) -> Steps:
    def change(tool: Tool) -> None:
        tool["description"] = corpus.make_paragraph(rng, 3)

    return _change_tool(rng, surface, change, "tools_changed")


@family("keys of a schema reordered", simple=True)
def keys_reordered(rng: random.Random, surface: Surface) -> Steps:
    """Serialize one tool with sorted keys."""

    def change(tool: Tool) -> None:
        tool["parameters"] = json.loads(json.dumps(tool["parameters"], sort_keys=True))

    return _change_tool(rng, surface, change, "serialization_nondeterminism", "key_order")


@family("tool added", simple=True)
def added(rng: random.Random, surface: Surface) -> Steps:
    states = make_conversation(rng, surface)
    at = rng.randint(0, len(states[0].tools) - 1)
    new = corpus.make_tool(rng, 13)
    tools = (*states[0].tools[:at], new, *states[0].tools[at:])
    truth = label(
        "tools_changed", section="tools", indexes=frozenset({at}), hints=frozenset({"added"})
    )
    return change_once(rng, surface, states, lambda s: s.replace(tools=tools), truth)


@family("tool removed", simple=True)
def removed(rng: random.Random, surface: Surface) -> Steps:
    states = make_conversation(rng, surface)
    at = rng.randrange(len(states[0].tools))
    tools = states[0].tools[:at] + states[0].tools[at + 1 :]
    truth = label(
        "tools_changed",
        section="tools",
        indexes=frozenset({at}),
        hints=frozenset({"removed"}),
        removes=True,
    )
    return change_once(rng, surface, states, lambda s: s.replace(tools=tools), truth)


@family("tools reordered", simple=True)
def reordered(rng: random.Random, surface: Surface) -> Steps:
    states = make_conversation(rng, surface)
    order = list(range(len(states[0].tools)))
    while order == sorted(order):
        rng.shuffle(order)
    first = next(at for at, number in enumerate(order) if at != number)
    tools = tuple(states[0].tools[number] for number in order)
    truth = label(
        "tools_reordered",
        section="tools",
        indexes=frozenset({first}),
        hints=frozenset({"reordered"}),
    )
    return change_once(rng, surface, states, lambda s: s.replace(tools=tools), truth)


@family("date in a tool's description")
def dated_tool(rng: random.Random, surface: Surface) -> Steps:
    states = make_conversation(rng, surface, 6)
    at = rng.randrange(len(states[0].tools))
    text = states[0].tools[at]["description"]

    def dated(number: int) -> tuple[Tool, ...]:
        stamp = f"{text} Today is 2026-11-{10 + number}. Dates before {corpus_date} are archived."
        tool = states[0].tools[at] | {"description": stamp}
        return (*states[0].tools[:at], tool, *states[0].tools[at + 1 :])

    corpus_date = corpus.make_date(rng)
    truth = label(
        "volatile_token", section="tools", indexes=frozenset({at}), hints=frozenset({"date"})
    )
    return change_always(
        surface, states, lambda state, number: state.replace(tools=dated(number)), truth
    )
