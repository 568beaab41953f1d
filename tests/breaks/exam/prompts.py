"""Prompts independent of any provider's format, and the conversations of an agent."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.breaks.exam import corpus


@dataclass(frozen=True)
class Image:
    """An image. `data` is base64, or None if `url` refers to it."""

    data: str | None = None
    url: str = ""
    media_type: str = "image/png"


@dataclass(frozen=True)
class ToolCall:
    """A tool call of the assistant. `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class ToolResult:
    """The result of a tool call, sent back by the application."""

    id: str
    name: str
    text: str


Part = str | Image | ToolCall | ToolResult


@dataclass(frozen=True)
class Turn:
    """One message. `role` is `user`, `assistant` or `tool`."""

    role: str
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        return next((part for part in self.parts if isinstance(part, str)), "")


TOOLS_MARK, SYSTEM_MARK = -2, -1
"""Places of breakpoints: the end of the tools, of the system prompt; 0 and more are turns."""


@dataclass(frozen=True)
class Prompt:
    """What one request contains, in no provider's format.

    `system` has one text per block. `marks` are the places of breakpoints, on surfaces that have
    them. `model` is 0 or 1, of the two models of a surface.
    """

    system: tuple[str, ...]
    tools: tuple[dict[str, Any], ...] = ()
    turns: tuple[Turn, ...] = ()
    model: int = 0
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    headers: dict[str, str] = field(default_factory=dict[str, str])
    marks: tuple[int, ...] = ()

    def replace(self, **values: Any) -> Prompt:
        return replace(self, **values)

    def map_system(self, change: Callable[[str], str]) -> Prompt:
        """Change the first block of the system prompt."""
        return self.replace(system=(change(self.system[0]), *self.system[1:]))

    def map_turn(self, index: int, change: Callable[[Turn], Turn]) -> Prompt:
        """Change one turn, if the prompt has it."""
        if index >= len(self.turns):
            return self
        turns = (*self.turns[:index], change(self.turns[index]), *self.turns[index + 1 :])
        return self.replace(turns=turns)

    def map_parts(self, change: Callable[[Part], Part]) -> Prompt:
        turns = tuple(Turn(turn.role, tuple(map(change, turn.parts))) for turn in self.turns)
        return self.replace(turns=turns)


def user(*parts: Part) -> Turn:
    return Turn("user", parts)


def assistant(*parts: Part) -> Turn:
    return Turn("assistant", parts)


def make_call_id(rng: random.Random) -> str:
    return f"call_{rng.getrandbits(96):024x}"


def _make_tool_loop(rng: random.Random, tools: Sequence[dict[str, Any]]) -> list[Turn]:
    """Return a tool call and its result. A third of the results are long."""
    tool = rng.choice(tools)
    fields = list(tool["parameters"]["properties"])
    arguments = {name: corpus.make_reference(rng) for name in fields if name != "address"}
    call = ToolCall(make_call_id(rng), tool["name"], json.dumps(arguments))
    records = [corpus.make_record(rng) for _ in range(rng.choice((1, 2, 8)))]
    result = ToolResult(call.id, call.name, json.dumps(records, ensure_ascii=False))
    return [assistant(call), Turn("tool", (result,))]


def make_exchange(rng: random.Random, tools: Sequence[dict[str, Any]]) -> list[Turn]:
    """Return a user message, none to three tool loops, and the answer."""
    turns = [user(corpus.make_paragraph(rng, rng.randint(1, 6)))]
    for _ in range(rng.choice((0, 1, 1, 2, 3)) if tools else 0):
        turns += _make_tool_loop(rng, tools)
    return [*turns, assistant(corpus.make_paragraph(rng, rng.randint(1, 7)))]


def make_base(
    rng: random.Random, smallest: int, tools: int | None = None, largest: int = 40_000
) -> Prompt:
    """Return a prompt without turns: a handbook of `smallest` to `largest` bytes, and tools."""
    handbook = corpus.make_handbook(rng, corpus.choose_size(rng, smallest, largest))
    count = rng.randint(3, 8) if tools is None else tools
    return Prompt((handbook,), tuple(corpus.make_tool(rng, number) for number in range(count)))


def continue_conversation(rng: random.Random, base: Prompt, requests: int) -> list[Prompt]:
    """Return the next requests of a conversation; each ends with the user's or a tool's turn."""
    turns, states = base.turns, list[Prompt]()
    while len(states) < requests:
        for turn in make_exchange(rng, base.tools):
            if turn.role == "assistant":
                states.append(base.replace(turns=turns))
            turns = (*turns, turn)
    return states[:requests]


def make_image_data(rng: random.Random, size: int = 3000) -> str:
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + rng.randbytes(size)).decode()
