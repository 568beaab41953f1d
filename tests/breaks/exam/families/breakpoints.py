"""Breaks by breakpoints: missing, moved, too many, out of reach; and prompts that are too short."""

from __future__ import annotations

import random

from tests.breaks.exam import corpus
from tests.breaks.exam.families.steps import make_conversation, plain
from tests.breaks.exam.prompts import (
    SYSTEM_MARK,
    TOOLS_MARK,
    Prompt,
    continue_conversation,
    make_base,
    user,
)
from tests.breaks.exam.scenario import Step, Steps, family, label, mark
from tests.breaks.exam.surfaces import Surface

_MISSING = label("breakpoint_missing_on_static")


@family("cache point moved from system to tools")
def system_to_tools(rng: random.Random, surface: Surface) -> Steps:
    return _moved(rng, surface, TOOLS_MARK)


@family("cache points of the history dropped")
def history_dropped(rng: random.Random, surface: Surface) -> Steps:
    return _moved(rng, surface, SYSTEM_MARK)


def _moved(rng: random.Random, surface: Surface, target: int) -> Steps:
    """Keep one breakpoint only, before content that earlier requests had cached."""
    if not surface.marked:
        return
    states = make_conversation(rng, surface, 8, 8)
    marked = [mark(surface, state) for state in states]
    at = rng.randint(2, 6)
    yield from (Step(state) for state in marked[:at])
    moved = states[at].replace(marks=(target,))
    yield Step(moved, _MISSING, twin=marked[at])


@family("cache point moved from tools to system")
def tools_to_system(rng: random.Random, surface: Surface) -> Steps:
    """Move a breakpoint forward. The tools are still found by the lookback: nothing is missed."""
    if not surface.marked:
        return
    states = make_conversation(rng, surface, 6, 5)
    yield from (Step(state.replace(marks=(TOOLS_MARK,))) for state in states[:3])
    yield from (Step(state.replace(marks=(SYSTEM_MARK,))) for state in states[3:])


@family("static prompt without a breakpoint")
def static_unmarked(rng: random.Random, surface: Surface) -> Steps:
    """Mark the varying question only, over one static prompt."""
    if not surface.marked:
        return
    base = make_base(rng, surface.smallest_handbook)
    past: list[Prompt] = []
    for number in range(5):
        asked = base.replace(turns=(user(corpus.make_paragraph(rng, 3)),))
        better = asked.replace(marks=(SYSTEM_MARK, 0))
        yield Step(
            asked.replace(marks=(0,)),
            _MISSING if number else None,
            twin=better,
            better_past=tuple(past),
        )
        past.append(better)


@family("no caching requested")
def not_requested(rng: random.Random, surface: Surface) -> Steps:
    if not surface.marked:
        return
    for state in make_conversation(rng, surface, 5):
        yield Step(state, label("caching_not_requested"))


@family("too many breakpoints")
def too_many(rng: random.Random, surface: Surface) -> Steps:
    """Set five breakpoints: the provider refuses the request."""
    if not surface.marked:
        return
    states = make_conversation(rng, surface, 8)
    yield from plain(surface, states[:-1])
    marks = (SYSTEM_MARK, *range(len(states[-1].turns))[-4:])
    yield Step(states[-1].replace(marks=marks), label("too_many_breakpoints"))


@family("lookback exceeded", simple=True)
def lookback(rng: random.Random, surface: Surface) -> Steps:
    """Add more blocks at once than a breakpoint looks back."""
    if not surface.lookback:
        return
    base = make_base(rng, surface.smallest_base, 4)
    states = continue_conversation(rng, base, 60)
    far = next(n for n, s in enumerate(states) if len(s.turns) > len(states[3].turns) + 30)
    kept = [
        state.replace(marks=(SYSTEM_MARK, len(state.turns) - 1) if surface.marked else ())
        for state in (*states[:4], states[far])
    ]
    yield from (Step(state) for state in kept[:4])
    twin = kept[4].replace(marks=(SYSTEM_MARK, len(kept[3].turns) - 1)) if surface.marked else None
    yield Step(kept[4], label("lookback_exceeded"), twin=twin or kept[3])


@family("below the minimum", simple=True)
def below_minimum(rng: random.Random, surface: Surface) -> Steps:
    if surface.minimum < 512:
        return
    base = Prompt((corpus.make_paragraph(rng, 3),), (corpus.make_tool(rng, 1),))
    for number in range(4):
        turns = (user(corpus.make_sentence(rng)),)
        truth = label("below_minimum") if number else None
        yield Step(mark(surface, base.replace(turns=turns)), truth)
