"""Real-looking conversations of a tool-using agent, the same for the same seed, in no provider's format."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

_SUBJECTS = (
    "the customer",
    "an order",
    "a refund",
    "the carrier",
    "the warehouse",
    "a parcel",
    "the invoice",
    "an agent",
)
_VERBS = (
    "confirms",
    "reopens",
    "escalates",
    "delays",
    "checks",
    "cancels",
    "replaces",
    "forwards",
    "closes",
    "reviews",
)
_OBJECTS = (
    "the return label",
    "a partial refund",
    "the delivery window",
    "a damaged item",
    "the loyalty account",
    "the address",
    "a gift card",
    "the warranty claim",
    "an import duty",
    "the support ticket",
)
_TAILS = (
    "within two days",
    "before noon",
    "without delay",
    "as the policy says",
    "in plain words",
    "only once",
    "after the carrier's scan",
    "unless the amount is small",
    "with a short apology",
    "and logs why",
)
_VERBS_OF_TOOLS = (
    "find",
    "list",
    "update",
    "cancel",
    "create",
    "check",
    "send",
    "refund",
    "track",
    "merge",
)
_NOUNS = (
    "orders",
    "parcels",
    "tickets",
    "labels",
    "accounts",
    "invoices",
    "claims",
    "notes",
    "credits",
    "stores",
)


def sentence(dice: random.Random) -> str:
    """One sentence without digits and without capitals inside."""
    words = f"{dice.choice(_SUBJECTS)} {dice.choice(_VERBS)} {dice.choice(_OBJECTS)} {dice.choice(_TAILS)}"
    return words[0].upper() + words[1:] + "."


def prose(dice: random.Random, sentences: int) -> str:
    return " ".join(sentence(dice) for _ in range(sentences))


@dataclass(frozen=True)
class Message:
    """One entry of a history: `call` is a tool call's name and arguments, `image` a picture's bytes beside the text."""

    role: str
    text: str
    call: tuple[str, str] | None = None
    id: str = ""
    image: str | None = None


@dataclass(frozen=True)
class State:
    """What one request sends. `marks` are the messages after which caching is asked for (-1: the system prompt)."""

    system: str
    tools: tuple[dict[str, Any], ...]
    messages: tuple[Message, ...]
    model: int = 0
    key: str = "key"
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    marks: tuple[int, ...] | None = None

    def having(self, **values: Any) -> State:
        return replace(self, **values)


def tool(dice: random.Random, number: int) -> dict[str, Any]:
    name = f"{_VERBS_OF_TOOLS[number % 10]}_{_NOUNS[(number * 7) % 10]}"
    properties = {
        noun: {"type": dice.choice(("string", "integer", "boolean")), "description": sentence(dice)}
        for noun in dice.sample(_NOUNS, dice.randint(2, 4))
    }
    schema = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    return {"name": name, "description": prose(dice, dice.randint(1, 3)), "parameters": schema}


def handbook(dice: random.Random, sections: int) -> str:
    """A system prompt of several kilobytes, in sections."""
    parts = ["You are the support agent of a web shop. Follow the handbook below."]
    parts += [
        f"## {sentence(dice)[:-1]}\n{prose(dice, dice.randint(4, 8))}" for _ in range(sections)
    ]
    return "\n\n".join(parts)


def turn(dice: random.Random, tools: tuple[dict[str, Any], ...], number: int) -> Iterator[Message]:
    """What one turn adds: the user's words, perhaps a tool call and its result, then the answer."""
    yield Message("user", prose(dice, dice.randint(1, 6)))
    if tools and dice.random() < 0.6:
        chosen, name = dice.choice(tools), f"call_{dice.getrandbits(48):012x}"
        arguments = json.dumps(
            {noun: sentence(dice)[:20] for noun in chosen["parameters"]["properties"]}
        )
        yield Message("assistant", "", (chosen["name"], arguments), name)
        rows = [
            {"id": dice.randint(1000, 9999), "note": sentence(dice)}
            for _ in range(dice.randint(1, 8))
        ]
        yield Message("tool", json.dumps(rows), id=name)
    yield Message("assistant", prose(dice, dice.randint(1, 5)) + f" Reference {number}.")


def conversation(
    dice: random.Random, turns: int, sections: int = 14, tools: int = 6
) -> tuple[State, list[State]]:
    """An empty state, and what the requests of `turns` turns send, each ending in the user's (or a tool's) words."""
    kit = tuple(tool(dice, number) for number in range(tools))
    base = State(handbook(dice, sections), kit, ())
    return base, requests(dice, base, turns)


def requests(dice: random.Random, base: State, turns: int) -> list[State]:
    history: tuple[Message, ...] = base.messages
    states: list[State] = []
    for number in range(turns):
        for message in turn(dice, base.tools, number):
            if message.role == "assistant":
                states.append(base.having(messages=history))
            history = (*history, message)
    return states
