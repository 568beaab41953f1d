"""What a family yields: requests in time, each with the verdict of a perfect diagnosis."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.breaks.exam.prompts import SYSTEM_MARK, Prompt
from tests.breaks.exam.surfaces import Surface


@dataclass(frozen=True)
class Label:
    """The right verdict of a broken call.

    `reasons` are the reasons that are right by the telemetry contract. `indexes` are the right
    block indexes in `section`; there are two where the contract does not say whether a message or
    a part counts. `offset` is in bytes of a block of `size` bytes. `hints` are the right hints;
    a label without `section`, `offset` or `hints` asserts none. `removes` tells that the old
    content is gone, so that it could not be read again.
    """

    reasons: frozenset[str]
    section: str | None = None
    indexes: frozenset[int] = frozenset()
    offset: int | None = None
    size: int = 0
    hints: frozenset[str] = frozenset()
    removes: bool = False


def label(*reasons: str, **more: Any) -> Label:
    return Label(frozenset(reasons), **more)


@dataclass(frozen=True)
class Step:
    """One request.

    It is sent `wait` seconds after all earlier ones ended, or after the one before was sent if it
    `overlaps` that one. It is answered `lasts` seconds later. `twin` (under `twin_key`) is the
    request without the break; what it would have read is the truth about missed tokens.
    `better_past` are the requests that should have come before, if the break lies in them. `fails`
    is the status of a failed answer. `unseen` is a request of another process on the same cache.
    """

    prompt: Prompt
    label: Label | None = None
    twin: Prompt | None = None
    wait: float = 5.0
    lasts: float = 2.0
    overlaps: bool = False
    key: str = "one"
    twin_key: str | None = None
    fails: int | None = None
    better_past: tuple[Prompt, ...] | None = None
    unseen: bool = False


Steps = Iterator[Step]
Family = Callable[[random.Random, Surface], Steps]


@dataclass(frozen=True)
class FamilyInfo:
    """A family with its name and its kind: `break`, `race` or `neutral`.

    `needs_sdk` marks a break in what the pure functions do not see, such as a header.
    """

    name: str
    kind: str
    play: Family
    simple: bool = False
    excuses: frozenset[str] = field(default_factory=frozenset[str])
    needs_sdk: bool = False


FAMILIES: dict[str, FamilyInfo] = {}


def family(
    name: str,
    kind: str = "break",
    *,
    simple: bool = False,
    excuses: Sequence[str] = (),
    needs_sdk: bool = False,
) -> Callable[[Family], Family]:
    """Register a family. `simple` ones are those that the older score has too.

    `excuses` are reasons that are true of its unlabelled calls.
    """

    def add(function: Family) -> Family:
        FAMILIES[name] = FamilyInfo(name, kind, function, simple, frozenset(excuses), needs_sdk)
        return function

    return add


def mark(surface: Surface, prompt: Prompt) -> Prompt:
    """Set breakpoints as the documents recommend: the system prompt and the newest user turns."""
    if not surface.marked:
        return prompt
    turns = [n for n, turn in enumerate(prompt.turns) if turn.role != "assistant"]
    return prompt.replace(marks=(SYSTEM_MARK, *turns[-3:]))


def mark_all(surface: Surface, prompts: Sequence[Prompt]) -> list[Prompt]:
    return [mark(surface, prompt) for prompt in prompts]
