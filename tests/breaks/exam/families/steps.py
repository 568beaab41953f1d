"""Steps that many families share."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from tests.breaks.exam.prompts import Prompt, continue_conversation, make_base
from tests.breaks.exam.scenario import Label, Step, Steps, mark, mark_all
from tests.breaks.exam.surfaces import Surface

Change = Callable[[Prompt], Prompt]


def make_conversation(
    rng: random.Random, surface: Surface, requests: int | None = None, tools: int | None = None
) -> list[Prompt]:
    """Return the unmarked requests of one conversation, over a handbook that is surely cached."""
    base = make_base(rng, surface.smallest_base, tools)
    return continue_conversation(rng, base, requests or rng.choice((6, 8, 10)))


def plain(surface: Surface, prompts: Sequence[Prompt], wait: float = 5.0) -> Steps:
    return (Step(prompt, wait=wait) for prompt in mark_all(surface, prompts))


def change_once(
    rng: random.Random,
    surface: Surface,
    states: Sequence[Prompt],
    change: Change,
    label: Label,
    before: Change | None = None,
) -> Steps:
    """Make one permanent change at a random request after the second."""
    old = [before(state) if before else state for state in states]
    new = [change(state) for state in states]
    at = rng.randint(2, len(states) - 2)
    yield from plain(surface, old[:at])
    yield Step(mark(surface, new[at]), label, twin=mark(surface, old[at]))
    yield from plain(surface, new[at + 1 :])


def change_always(
    surface: Surface,
    states: Sequence[Prompt],
    change: Callable[[Prompt, int], Prompt],
    label: Label,
    first_label: int = 1,
) -> Steps:
    """Change every request. The twin of a request holds what the request before it held."""
    for number, state in enumerate(states):
        twin = mark(surface, change(state, number - 1)) if number else None
        labelled = label if number >= first_label else None
        yield Step(mark(surface, change(state, number)), labelled, twin)


def first_difference(old: str, new: str) -> int:
    """Return the byte at which two texts differ."""
    pairs = zip(old.encode(), new.encode(), strict=False)
    shorter = min(len(old.encode()), len(new.encode()))
    return next((at for at, (a, b) in enumerate(pairs) if a != b), shorter)


def block_indexes(prompt: Prompt, turn: int, part: int = 0) -> frozenset[int]:
    """Return the index of a part of a turn, counted in messages and counted in parts."""
    earlier = sum(len(other.parts) for other in prompt.turns[:turn])
    return frozenset({turn, earlier + part})
