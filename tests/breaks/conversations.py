"""Generate realistic conversations of an agent with tools, independent of any provider's format.

The same seed gives the same conversation.
"""

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


def make_sentence(rng: random.Random) -> str:
    """Return a sentence without digits and with one capital."""
    words = (
        f"{rng.choice(_SUBJECTS)} {rng.choice(_VERBS)} {rng.choice(_OBJECTS)} {rng.choice(_TAILS)}"
    )
    return words[0].upper() + words[1:] + "."


def make_prose(rng: random.Random, sentences: int) -> str:
    return " ".join(make_sentence(rng) for _ in range(sentences))


@dataclass(frozen=True)
class Message:
    """One entry of a history.

    `call` is the name and the arguments of a tool call, `image` an encoded image beside the text.
    """

    role: str
    text: str
    call: tuple[str, str] | None = None
    id: str = ""
    image: str | None = None


@dataclass(frozen=True)
class State:
    """The content of one request.

    `breakpoints` are the indexes of the messages with a breakpoint; -1 is the system prompt.
    """

    system: str
    tools: tuple[dict[str, Any], ...]
    messages: tuple[Message, ...]
    model: int = 0
    key: str = "key"
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    breakpoints: tuple[int, ...] | None = None

    def with_values(self, **values: Any) -> State:
        return replace(self, **values)


def make_tool(rng: random.Random, number: int) -> dict[str, Any]:
    name = f"{_VERBS_OF_TOOLS[number % 10]}_{_NOUNS[(number * 7) % 10]}"
    properties = {
        noun: {
            "type": rng.choice(("string", "integer", "boolean")),
            "description": make_sentence(rng),
        }
        for noun in rng.sample(_NOUNS, rng.randint(2, 4))
    }
    schema = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    return {"name": name, "description": make_prose(rng, rng.randint(1, 3)), "parameters": schema}


def make_handbook(rng: random.Random, sections: int) -> str:
    """Return a system prompt of several kilobytes in sections."""
    parts = ["You are the support agent of a web shop. Follow the handbook below."]
    parts += [
        f"## {make_sentence(rng)[:-1]}\n{make_prose(rng, rng.randint(4, 8))}"
        for _ in range(sections)
    ]
    return "\n\n".join(parts)


def make_turn(
    rng: random.Random, tools: tuple[dict[str, Any], ...], number: int
) -> Iterator[Message]:
    """Yield the messages of one turn: a user message, sometimes a tool call, an answer."""
    yield Message("user", make_prose(rng, rng.randint(1, 6)))
    if tools and rng.random() < 0.6:
        chosen, name = rng.choice(tools), f"call_{rng.getrandbits(48):012x}"
        arguments = json.dumps(
            {noun: make_sentence(rng)[:20] for noun in chosen["parameters"]["properties"]}
        )
        yield Message("assistant", "", (chosen["name"], arguments), name)
        rows = [
            {"id": rng.randint(1000, 9999), "note": make_sentence(rng)}
            for _ in range(rng.randint(1, 8))
        ]
        yield Message("tool", json.dumps(rows), id=name)
    yield Message("assistant", make_prose(rng, rng.randint(1, 5)) + f" Reference {number}.")


def make_conversation(
    rng: random.Random, turns: int, sections: int = 14, tools: int = 6
) -> tuple[State, list[State]]:
    """Return a state without messages, and the states of all requests of `turns` turns.

    Each request ends with a message of the user or a tool.
    """
    tools_of_agent = tuple(make_tool(rng, number) for number in range(tools))
    base = State(make_handbook(rng, sections), tools_of_agent, ())
    return base, make_request_states(rng, base, turns)


def make_request_states(rng: random.Random, base: State, turns: int) -> list[State]:
    history: tuple[Message, ...] = base.messages
    states: list[State] = []
    for number in range(turns):
        for message in make_turn(rng, base.tools, number):
            if message.role == "assistant":
                states.append(base.with_values(messages=history))
            history = (*history, message)
    return states
