"""Breaks in the messages: edits, shuffled examples, re-ranked chunks, windows, summaries."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from tests.breaks.exam import corpus
from tests.breaks.exam.families.steps import (
    block_indexes,
    change_always,
    make_conversation,
    plain,
)
from tests.breaks.exam.prompts import (
    Prompt,
    ToolResult,
    Turn,
    assistant,
    continue_conversation,
    make_base,
    user,
)
from tests.breaks.exam.scenario import Label, Step, Steps, family, label, mark
from tests.breaks.exam.surfaces import Surface


def _rewritten(indexes: frozenset[int], *hints: str, **more: Any) -> Label:
    return label(
        "history_rewritten",
        section="messages",
        indexes=indexes,
        hints=frozenset(hints),
        **more,
    )


def _change_at(
    surface: Surface,
    states: Sequence[Prompt],
    at: int,
    change: Callable[[Prompt], Prompt],
    truth: Label,
) -> Steps:
    """Change the history at request `at`, and in all later ones."""
    yield from plain(surface, states[:at])
    yield Step(mark(surface, change(states[at])), truth, twin=mark(surface, states[at]))
    yield from plain(surface, [change(state) for state in states[at + 1 :]])


def _at_length(states: Sequence[Prompt], turns: int) -> int:
    """Return the first request with at least so many turns, not the last one."""
    long = [n for n, state in enumerate(states) if len(state.turns) >= turns]
    return min(long[0] if long else len(states) - 2, len(states) - 2)


@family("message edited", simple=True)
def message_edited(rng: random.Random, surface: Surface) -> Steps:
    """Insert a sentence into an early user message, as moderation does."""
    states = make_conversation(rng, surface, 10)
    users = [n for n, turn in enumerate(states[-1].turns) if turn.role == "user"]
    index = rng.choice(users[:2])
    added = f"{corpus.make_english_sentence(rng)} "

    def edit_turn(turn: Turn) -> Turn:
        return Turn(turn.role, (added + turn.text, *turn.parts[1:]))

    at = _at_length(states, index + 4)
    truth = _rewritten(block_indexes(states[at], index))
    return _change_at(surface, states, at, lambda s: s.map_turn(index, edit_turn), truth)


@family("message inserted")
def message_inserted(rng: random.Random, surface: Surface) -> Steps:
    """Insert a memory as a message before the history."""
    states = make_conversation(rng, surface, 10)
    memory = [user(f"[Memory]\n{corpus.make_paragraph(rng, 5)}"), assistant("Noted.")]
    at = _at_length(states, 6)
    truth = _rewritten(frozenset({0}), "inserted")
    return _change_at(surface, states, at, lambda s: s.replace(turns=(*memory, *s.turns)), truth)


@family("window slides", simple=True)
def window_slides(rng: random.Random, surface: Surface) -> Steps:
    """Drop the oldest exchange once the history is long."""
    states = make_conversation(rng, surface, 14)
    users = [n for n, turn in enumerate(states[-1].turns) if turn.role == "user"]
    gone = users[min(2, len(users) - 1)]
    at = _at_length(states, gone + 6)
    truth = _rewritten(frozenset({0}), "truncated", removes=True)
    return _change_at(surface, states, at, lambda s: s.replace(turns=s.turns[gone:]), truth)


@family("summary in place of history")
def summary(rng: random.Random, surface: Surface) -> Steps:
    states = make_conversation(rng, surface, 14)
    users = [n for n, turn in enumerate(states[-1].turns) if turn.role == "user"]
    kept = users[min(3, len(users) - 1)]
    text = "Summary of the conversation so far:\n" + corpus.make_paragraph(rng, 5)
    at = _at_length(states, kept + 4)
    truth = label(
        "history_rewritten",
        "context_compacted",
        section="messages",
        indexes=frozenset({0}),
        hints=frozenset({"compacted"}),
        removes=True,
    )
    return _change_at(
        surface,
        states,
        at,
        lambda s: s.replace(turns=(user(text), assistant("Understood."), *s.turns[kept:])),
        truth,
    )


@family("old tool results cleared")
def results_cleared(rng: random.Random, surface: Surface) -> Steps:
    """Replace the text of all but the newest tool result, so several messages change at once."""
    states = make_conversation(rng, surface, 14)
    results = [
        n for n, turn in enumerate(states[-1].turns) if isinstance(turn.parts[0], ToolResult)
    ]
    if len(results) < 4:
        return
    cleared = set(results[:3])

    def clear(prompt: Prompt) -> Prompt:
        turns = tuple(
            _clear(turn) if index in cleared else turn for index, turn in enumerate(prompt.turns)
        )
        return prompt.replace(turns=turns)

    at = _at_length(states, results[2] + 4)
    truth = _rewritten(block_indexes(states[at], results[0]), removes=True)
    yield from _change_at(surface, states, at, clear, truth)


def _clear(turn: Turn) -> Turn:
    (result,) = turn.parts
    assert isinstance(result, ToolResult)
    return Turn(turn.role, (ToolResult(result.id, result.name, "[cleared to save context]"),))


@family("several messages redacted")
def redacted(rng: random.Random, surface: Surface) -> Steps:
    """Mask names in every message at once, as a privacy filter does that was switched on."""
    states = make_conversation(rng, surface, 12)

    def mask(prompt: Prompt) -> Prompt:
        turns = tuple(
            Turn(t.role, (f"[checked] {t.text}",)) if t.role == "user" else t for t in prompt.turns
        )
        return prompt.replace(turns=turns)

    at = _at_length(states, 8)
    truth = _rewritten(block_indexes(states[at], 0))
    return _change_at(surface, states, at, mask, truth)


def _few_shot_base(rng: random.Random, surface: Surface, count: int) -> tuple[Prompt, list[Turn]]:
    base = make_base(rng, surface.smallest_base, 2)
    turns: list[Turn] = []
    for _ in range(count):
        question, answer = corpus.make_example(rng)
        turns += [user(question), assistant(answer)]
    return base, turns


def _orders(rng: random.Random, turns: Sequence[Turn], size: int) -> list[list[Turn]]:
    """Return six orders of groups of turns. From the third on, each begins with another group."""
    groups = [turns[n : n + size] for n in range(0, len(turns), size)]
    orders = [groups, groups]
    for first in range(1, 5):
        rest = [group for number, group in enumerate(groups) if number != first]
        orders.append([groups[first], *rng.sample(rest, len(rest))])
    return [[turn for group in order for turn in group] for order in orders]


def _reordered_for_each(
    rng: random.Random, surface: Surface, turns: Sequence[Turn], base: Prompt, size: int
) -> Steps:
    """Send questions over turns that come in another order each time, from the third call on."""
    orders = _orders(rng, turns, size)
    truth = _rewritten(frozenset({0}), "reordered")
    for number, order in enumerate(orders):
        question = user(corpus.make_paragraph(rng, 2))
        here, twin = (
            mark(surface, base.replace(turns=(*o, question)))
            for o in (order, orders[max(0, number - 1)])
        )
        yield Step(here, truth if number > 1 else None, twin)


@family("few-shot pairs shuffled")
def few_shot(rng: random.Random, surface: Surface) -> Steps:
    base, turns = _few_shot_base(rng, surface, 8)
    return _reordered_for_each(rng, surface, turns, base, 2)


@family("chunks re-ranked")
def chunks(rng: random.Random, surface: Surface) -> Steps:
    """Send the chunks of a search as messages, ordered by score."""
    base = make_base(rng, surface.smallest_base, 2)
    turns = [user(corpus.make_chunk(rng)) for _ in range(8)]
    return _reordered_for_each(rng, surface, turns, base, 1)


@family("chunks re-ranked inside a conversation")
def chunks_in_first(rng: random.Random, surface: Surface) -> Steps:
    """Hold the chunks in the first message as parts, and re-rank them once."""
    states = make_conversation(rng, surface, 8)
    parts = [corpus.make_chunk(rng) for _ in range(6)]
    shuffled = parts[:]
    while shuffled[0] == parts[0]:
        rng.shuffle(shuffled)
    old, new = user(*parts), user(*shuffled)
    answer = assistant("I have read the sources.")
    at = rng.randint(2, 5)
    return _change_at(
        surface,
        [state.replace(turns=(old, answer, *state.turns)) for state in states],
        at,
        lambda s: s.replace(turns=(new, *s.turns[1:])),
        _rewritten(frozenset({0}), "reordered"),
    )


@family("first message stamped", simple=True)
def stamped(rng: random.Random, surface: Surface) -> Steps:
    """Render the time into the first user message of every call."""
    states = make_conversation(rng, surface, 6)
    head = "Ticket INC0004711, opened 2026-10-02 by Kofi Mensah. It is now "
    tail = ". " + corpus.make_paragraph(rng, 12)

    def stamp(state: Prompt, number: int) -> Prompt:
        first = user(f"{head}2026-11-20T09:{10 + number}:07{tail}")
        return state.replace(turns=(first, *state.turns[1:]))

    truth = label(
        "volatile_token",
        section="messages",
        indexes=frozenset({0}),
        offset=len(head),
        size=len(head) + 24 + len(tail.encode()),
        hints=frozenset({"timestamp"}),
    )
    return change_always(surface, states, stamp, truth)


@family("relative ages in the history")
def relative_ages(rng: random.Random, surface: Surface) -> Steps:
    """Render each user message with its age."""
    states = make_conversation(rng, surface, 8)

    def aged(state: Prompt, number: int) -> Prompt:
        turns = tuple(
            user(f"[{3 + 2 * (number - n // 2)} minutes ago] {turn.text}")
            if turn.role == "user"
            else turn
            for n, turn in enumerate(state.turns)
        )
        return state.replace(turns=turns)

    truth = label(
        "volatile_token",
        section="messages",
        indexes=frozenset({0}),
        offset=1,
        size=300,
        hints=frozenset({"timestamp", "relative_time"}),
    )
    return change_always(surface, states, aged, truth)


@family("state of the world rewritten in the middle")
def world_state(rng: random.Random, surface: Surface) -> Steps:
    """Keep a message with the current state near the beginning, rewritten on every call."""
    states = continue_conversation(rng, make_base(rng, surface.smallest_base, 4), 8)
    texts = [f"State: {corpus.make_record(rng)}" for _ in states]

    def with_state(prompt: Prompt, number: int) -> Prompt:
        turns = (user("Keep the state in mind."), assistant("Yes."), user(texts[number]))
        return prompt.replace(turns=(*turns, assistant("Seen."), *prompt.turns))

    truth = label(
        "history_rewritten",
        "volatile_token",
        section="messages",
        indexes=frozenset({2}),
    )
    return change_always(surface, states, with_state, truth)
