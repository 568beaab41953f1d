"""Breaks in the system prompt: edits, and values that change from call to call."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.breaks.exam import corpus
from tests.breaks.exam.families.steps import (
    change_always,
    change_once,
    first_difference,
    make_conversation,
    plain,
)
from tests.breaks.exam.prompts import Prompt, continue_conversation, make_base
from tests.breaks.exam.scenario import Step, Steps, family, label, mark
from tests.breaks.exam.surfaces import Surface
from tests.breaks.exam.values import USER_NAMES, VALUES, ChangingValue

_PLAIN_SENTENCES = (
    "Always thank the customer before you close the conversation.",
    "Do not offer store credit unless the customer asks for it.",
    "Answer in short paragraphs and never use more than one exclamation mark.",
)


def edit(
    rng: random.Random,
    surface: Surface,
    change: Callable[[str], str],
    *reasons: str,
    prepare: Callable[[str], str] = str,
    **more: Any,
) -> Steps:
    """Edit the first block of the system prompt once."""
    states = [state.map_system(prepare) for state in make_conversation(rng, surface)]
    old = states[0].system[0]
    new = change(old)
    offset, size = first_difference(old, new), len(old.encode())
    truth = label(
        *reasons, section="system", indexes=frozenset({0}), offset=offset, size=size, **more
    )
    return change_once(rng, surface, states, lambda s: s.map_system(lambda _: new), truth)


def _insert(rng: random.Random, text: str, sentence: str) -> str:
    """Insert a sentence at the end of some paragraph of prose."""
    paragraphs = text.split("\n\n")
    prose = [n for n, p in enumerate(paragraphs) if p[0] not in "#-|`" and n]
    at = rng.choice(prose)
    return "\n\n".join([*paragraphs[:at], f"{paragraphs[at]} {sentence}", *paragraphs[at + 1 :]])


@family("sentence added once")
def sentence_added(rng: random.Random, surface: Surface) -> Steps:
    """Add plain words. The dates around them never change."""
    sentence = rng.choice(_PLAIN_SENTENCES)
    return edit(rng, surface, lambda text: _insert(rng, text, sentence), "system_changed")


@family("dated sentence added once")
def dated_sentence_added(rng: random.Random, surface: Surface) -> Steps:
    """Add a sentence with a date. It is new text, not a value that changes."""
    sentence = f"From {corpus.make_date(rng)} on, returns of the {corpus.fill(rng, '{product}')} "
    sentence += "go to the new warehouse in Lyon, and the old label is void."
    return edit(rng, surface, lambda text: _insert(rng, text, sentence), "system_changed")


@family("sentence removed once")
def sentence_removed(rng: random.Random, surface: Surface) -> Steps:
    def change(text: str) -> str:
        sentences = text.split(". ")
        at = rng.randint(2, len(sentences) - 2)
        return ". ".join([*sentences[:at], *sentences[at + 1 :]])

    return edit(rng, surface, change, "system_changed")


@family("word beside a date edited once")
def neighbour_edited(rng: random.Random, surface: Surface) -> Steps:
    """Change a word whose neighbour is a date that stays."""
    line = f"Status: draft (since {corpus.make_date(rng)}, next check {corpus.make_date(rng)})."
    paragraphs = rng.randint(1, 5)

    def prepare(text: str) -> str:
        parts = text.split("\n\n")
        return "\n\n".join([*parts[:paragraphs], line, *parts[paragraphs:]])

    return edit(
        rng,
        surface,
        lambda text: text.replace("Status: draft", "Status: final", 1),
        "system_changed",
        prepare=prepare,
    )


@family("price edited once")
def price_edited(rng: random.Random, surface: Surface) -> Steps:
    """Change a price. Both words are true: a value differs, and the prompt was edited."""

    def change(text: str) -> str:
        prices = list(re.finditer(r"€\d+\.90|\$\d+\.49", text))
        if not prices:
            return text + "\n\nFee: €4.90"
        found = rng.choice(prices)
        old = found[0]
        new = old[0] + str(int(old[1:-3]) + 7) + old[-3:]
        return text[: found.start()] + new + text[found.end() :]

    return edit(rng, surface, change, "system_changed", "volatile_token")


@family("chapter rewritten")
def chapter_rewritten(rng: random.Random, surface: Surface) -> Steps:
    def change(text: str) -> str:
        chapters = text.split("\n\n## ")
        at = rng.randint(1, len(chapters) - 1)
        chapters[at] = corpus.make_section(rng, at).removeprefix("## ")
        return "\n\n## ".join(chapters)

    return edit(rng, surface, change, "system_changed")


@family("memory section grows")
def memory_grows(rng: random.Random, surface: Surface) -> Steps:
    """Append a fact to the memory at the end of the system prompt, in the same conversation."""
    fact = f"- {corpus.make_english_sentence(rng)}"

    def prepare(text: str) -> str:
        return text + "\n\n## Memory\n- The user prefers e-mail.\n- Locale: de-AT."

    return edit(rng, surface, lambda text: f"{text}\n{fact}", "system_changed", prepare=prepare)


@family("playbook entry replaced")
def playbook_replaced(rng: random.Random, surface: Surface) -> Steps:
    entries = [f"[{n}] {corpus.make_paragraph(rng, 2)}" for n in range(1, 9)]
    better = f"[4] {corpus.make_paragraph(rng, 2)}"
    return edit(
        rng,
        surface,
        lambda text: text.replace(entries[3], better),
        "system_changed",
        prepare=lambda text: text + "\n\n# PLAYBOOK\n" + "\n".join(entries),
    )


def _system_reordered(
    rng: random.Random, surface: Surface, make: Callable[[], str], heading: str
) -> Steps:
    items = [make() for _ in range(6)]
    shuffled = items[:]
    while shuffled[0] == items[0]:
        rng.shuffle(shuffled)
    old, new = "\n\n".join(items), "\n\n".join(shuffled)
    return edit(
        rng,
        surface,
        lambda text: text.replace(old, new),
        "system_changed",
        prepare=lambda text: f"{text}\n\n# {heading}\n\n{old}",
    )


@family("few-shot in the system prompt shuffled")
def few_shot_shuffled(rng: random.Random, surface: Surface) -> Steps:
    return _system_reordered(rng, surface, lambda: "\n".join(corpus.make_example(rng)), "Examples")


@family("chunks in the system prompt re-ranked")
def chunks_reranked(rng: random.Random, surface: Surface) -> Steps:
    return _system_reordered(rng, surface, lambda: corpus.make_chunk(rng), "Search results")


@family("system blocks reordered")
def blocks_reordered(rng: random.Random, surface: Surface) -> Steps:
    """Exchange two of the blocks of the system prompt."""
    extra = tuple(corpus.make_section(rng, n) for n in range(3))
    states = [
        state.replace(system=(*state.system, *extra)) for state in make_conversation(rng, surface)
    ]
    swapped = (extra[1], extra[0], extra[2])
    truth = label(
        "system_changed", section="system", indexes=frozenset({1}), hints=frozenset({"reordered"})
    )
    return change_once(
        rng, surface, states, lambda s: s.replace(system=(s.system[0], *swapped)), truth
    )


_LEADS = (
    "Current value: ",
    "Session ",
    "Generated for this call: ",
    "Stand: ",
    "(ref ",
    '<context now="',
)


def _volatile(value: ChangingValue, rng: random.Random, surface: Surface) -> Steps:
    """Render a value into the handbook on every call, at its beginning, middle or end."""
    states = make_conversation(rng, surface, 6)
    paragraphs = states[0].system[0].split("\n\n")
    at = rng.choice((1, len(paragraphs) // 2, len(paragraphs)))
    head = "\n\n".join(paragraphs[:at]) + "\n\n" + rng.choice(_LEADS)
    tail = "\n\n" + "\n\n".join(paragraphs[at:])
    texts = [head + value.render(rng, number) + tail for number in range(len(states))]
    truth = label(
        "volatile_token",
        section="system",
        indexes=frozenset({0}),
        offset=len(head.encode()),
        size=len(texts[0].encode()),
        hints=value.hints,
    )
    return change_always(
        surface, states, lambda state, number: state.map_system(lambda _: texts[number]), truth
    )


for _value in VALUES:
    family(f"volatile: {_value.name}", simple=_value.name in {"iso date", "uuid", "counter"})(
        partial(_volatile, _value)
    )


@family("volatile: user name", excuses=("volatile_token",))
def user_name(rng: random.Random, surface: Surface) -> Steps:
    """Address each user by name, above the handbook. From the fourth user on it is a pattern."""
    base = make_base(rng, surface.smallest_base)
    head = "You are a concierge. You are talking to "
    truth = label(
        "volatile_token",
        section="system",
        indexes=frozenset({0}),
        offset=len(head),
        size=len(base.system[0].encode()),
        hints=frozenset({"name_like"}),
    )

    def named(prompt: Prompt, name: str) -> Prompt:
        return mark(surface, prompt.map_system(lambda text: f"{head}{name}.\n{text}"))

    for number, name in enumerate(USER_NAMES):
        states = continue_conversation(rng, base, 2)
        twin = named(states[0], USER_NAMES[number - 1])
        yield Step(named(states[0], name), truth if number > 2 else None, twin)
        yield from plain(surface, [named(state, name) for state in states[1:]])
