"""The breaks: each mutator turns a conversation into labelled requests.

A label is the verdict of a perfect diagnosis. The emulator decides whether a break missed tokens:
it answers the `twin`, the request without the mutation, from a copy of the cache.
"""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from tests.breaks.apis import Api
from tests.breaks.conversations import (
    Message,
    State,
    make_conversation,
    make_prose,
    make_request_states,
    make_sentence,
)


@dataclass(frozen=True)
class Label:
    """The expected reason (see `diagnosis/miss_reasons.py`), place and hint of a break."""

    reason: str
    section: str | None = None
    index: int | None = None
    offset: int | None = None
    hint: str | None = None


@dataclass(frozen=True)
class Step:
    """One request, sent `wait` seconds after the one before.

    `together` requests are sent before the one before is answered. `twin` is this request without
    the mutation. `instead` is the request if all earlier ones had lacked the mutation too.
    """

    state: State
    label: Label | None = None
    twin: State | None = None
    instead: State | None = None
    wait: float = 5.0
    key: str = "one"
    together: bool = False


Steps = Iterator[Step]
Mutator = Callable[[random.Random, Api], Steps]
MUTATORS: dict[str, Mutator] = {}


def mutator(name: str) -> Callable[[Mutator], Mutator]:
    def add(function: Mutator) -> Mutator:
        MUTATORS[name] = function
        return function

    return add


def build_states(rng: random.Random, api: Api, turns: int | None = None) -> list[State]:
    _, states = make_conversation(
        rng,
        turns or rng.choice((5, 8, 12, 20)),
        api.scale_sections(rng.randint(10, 18)),
        rng.randint(4, 9),
    )
    return [add_breakpoints(api, state) for state in states]


def add_breakpoints(api: Api, state: State) -> State:
    """Set breakpoints after the system prompt and the latest three messages of the user."""
    if not api.explicit:
        return state
    users = [index for index, message in enumerate(state.messages) if message.role == "user"]
    return state.with_values(breakpoints=(-1, *users[-3:]))


def block_index(state: State, message: int) -> int:
    """Return the block index of a message. An image is a block of its own."""
    return message + sum(m.image is not None for m in state.messages[:message])


def plain_steps(states: Sequence[State], **more: Any) -> Steps:
    return (Step(state, **more) for state in states)


def change_once(
    rng: random.Random, states: Sequence[State], change: Callable[[State], State], label: Label
) -> Steps:
    """Make one permanent change at a random turn after the first two."""
    index = rng.randint(2, len(states) - 2)
    yield from plain_steps(states[:index])
    yield Step(change(states[index]), label, twin=states[index])
    yield from plain_steps([change(state) for state in states[index + 1 :]])


# Values that change in the system prompt


def _add_volatile_mutator(
    name: str, hint: str, values: Callable[[random.Random, int], str]
) -> None:
    def mutate(rng: random.Random, api: Api) -> Steps:
        states = build_states(rng, api, 6)
        lines = states[0].system.split("\n")
        index = rng.choice((1, len(lines) // 2, len(lines) - 1))
        head = (
            "\n".join(lines[:index])
            + "\n"
            + rng.choice(("Context: ", "For this session ", "Currently "))
        )
        offset = len(head.encode())
        before: State | None = None
        for number, state in enumerate(states):
            texts = [
                head + value + "\n" + "\n".join(lines[index:])
                for value in (values(rng, number), values(rng, 0))
            ]
            here = state.with_values(system=texts[0])
            label = Label("volatile_token", "system", 0, offset, hint)
            twin = state.with_values(system=before.system) if before else None
            yield Step(here, label if before else None, twin)
            before = here

    MUTATORS[name] = mutate


_add_volatile_mutator("date", "date", lambda rng, n: f"2026-{1 + n % 12:02d}-{1 + n % 28:02d}")
_add_volatile_mutator(
    "time",
    "timestamp",
    lambda rng, n: f"2026-11-20 {8 + n % 12:02d}:{rng.randint(10, 59)}:{10 + n:02d}",
)
_add_volatile_mutator(
    "clock", "timestamp", lambda rng, n: f"{8 + n % 12:02d}:{rng.randint(10, 59)}"
)
_add_volatile_mutator("uuid", "uuid", lambda rng, n: str(UUID(int=rng.getrandbits(128), version=4)))
_add_volatile_mutator(
    "hex id", "hex_id", lambda rng, n: f"{rng.getrandbits(64) | 0xA000000000000001:016x}"
)
_add_volatile_mutator("counter", "counter", lambda rng, n: str(1041 + n))

_NAMES = (
    "Alice Moreau",
    "Boris Nemec",
    "Chiara Conti",
    "Dilek Aydin",
    "Emeka Obi",
    "Farah Haddad",
    "Greta Lund",
)


@mutator("user name")
def user_name(rng: random.Random, api: Api) -> Steps:
    """One conversation per user. The fourth name distinguishes it from different programs."""
    base, _ = make_conversation(rng, 5, api.scale_sections(14), 6)
    head = base.system.split("\n\n")[0] + "\n\nYou are talking to "
    offset = len(head.encode())
    for number, name in enumerate(_NAMES):
        system = head + name + ".\n" + base.system
        states = [
            add_breakpoints(api, s)
            for s in make_request_states(rng, base.with_values(system=system), 2)
        ]
        twin = states[0].with_values(system=head + _NAMES[number - 1] + ".\n" + base.system)
        label = Label("volatile_token", "system", 0, offset, "name_like")
        yield Step(states[0], label if number > 2 else None, twin if number > 2 else None)
        yield from plain_steps(states[1:])


# Tools


@mutator("tool added")
def tool_added(rng: random.Random, api: Api) -> Steps:
    states = build_states(rng, api)
    extra: dict[str, Any] = {
        "name": "open_dispute",
        "description": make_sentence(rng),
        "parameters": {"type": "object", "properties": {}},
    }
    index = rng.randint(0, len(states[0].tools))
    label = Label("tools_changed", "tools", index)
    return change_once(
        rng,
        states,
        lambda s: s.with_values(tools=(*s.tools[:index], extra, *s.tools[index:])),
        label,
    )


@mutator("tool removed")
def tool_removed(rng: random.Random, api: Api) -> Steps:
    states = build_states(rng, api)
    index = rng.randrange(len(states[0].tools))
    return change_once(
        rng,
        states,
        lambda s: s.with_values(tools=s.tools[:index] + s.tools[index + 1 :]),
        Label("tools_changed", "tools", index),
    )


@mutator("tools reordered")
def tools_reordered(rng: random.Random, api: Api) -> Steps:
    states = build_states(rng, api)
    order = list(range(len(states[0].tools)))
    while order == sorted(order):
        rng.shuffle(order)
    first = next(index for index, number in enumerate(order) if index != number)
    return change_once(
        rng,
        states,
        lambda s: s.with_values(tools=tuple(s.tools[n] for n in order)),
        Label("tools_reordered", "tools", first, hint="reordered"),
    )


@mutator("tool described anew")
def tool_described(rng: random.Random, api: Api) -> Steps:
    states = build_states(rng, api)
    index = rng.randrange(len(states[0].tools))
    text = make_prose(rng, 2)
    tools = tuple(
        t | {"description": text} if n == index else t for n, t in enumerate(states[0].tools)
    )
    return change_once(
        rng, states, lambda s: s.with_values(tools=tools), Label("tools_changed", "tools", index)
    )


@mutator("JSON key order")
def key_order(rng: random.Random, api: Api) -> Steps:
    states = build_states(rng, api)
    tools = tuple(json.loads(json.dumps(t, sort_keys=True)) for t in states[0].tools)
    first = next(
        n for n, (a, b) in enumerate(zip(tools, states[0].tools, strict=True)) if list(a) != list(b)
    )
    return change_once(
        rng,
        states,
        lambda s: s.with_values(tools=tools),
        Label("serialization_nondeterminism", "tools", first, hint="key_order"),
    )


# The text of the system prompt


def _add_system_mutator(
    name: str, change: Callable[[random.Random, str], str], reason: str, hint: str | None = None
) -> None:
    def mutate(rng: random.Random, api: Api) -> Steps:
        states = [
            s.with_values(system=s.system + "\n\nÀ bientôt, café crème et naïveté déjà vus.")
            for s in build_states(rng, api)
        ]
        old = states[0].system
        new = change(rng, old)
        offset = next(
            n for n, (a, b) in enumerate(zip(old.encode(), new.encode(), strict=False)) if a != b
        )
        return change_once(
            rng,
            states,
            lambda s: s.with_values(system=new),
            Label(reason, "system", 0, offset, hint),
        )

    MUTATORS[name] = mutate


def _edit_sentence(rng: random.Random, text: str, part: int, of: int) -> str:
    sentences = text.split(". ")
    index = 1 + (len(sentences) - 3) * part // of
    return ". ".join([*sentences[:index], make_prose(rng, 3)[:-1], *sentences[index + 2 :]])


_add_system_mutator(
    "whitespace",
    lambda rng, text: text.replace("\n\n##", "\n\n\n##"),
    "serialization_nondeterminism",
    "whitespace",
)
_add_system_mutator(
    "unicode",
    lambda rng, text: unicodedata.normalize("NFD", text),
    "serialization_nondeterminism",
    "unicode",
)
_add_system_mutator(
    "system edited early", lambda rng, text: _edit_sentence(rng, text, 0, 8), "system_changed"
)
_add_system_mutator(
    "system edited late", lambda rng, text: _edit_sentence(rng, text, 7, 8), "system_changed"
)


# The history


@mutator("history edited")
def history_edited(rng: random.Random, api: Api) -> Steps:
    states = build_states(rng, api, 12)
    index = rng.randint(1, 4)
    old = states[0 + 8].messages[index]
    text = make_sentence(rng) + " " + old.text

    def change(state: State) -> State:
        if len(state.messages) <= index + 1:
            return state
        return state.with_values(
            messages=(
                *state.messages[:index],
                replace(old, text=text, call=None),
                *state.messages[index + 1 :],
            )
        )

    yield from plain_steps(states[:8])
    yield Step(change(states[8]), Label("history_rewritten", "messages", index), twin=states[8])
    yield from plain_steps([change(state) for state in states[9:]])


@mutator("history trimmed")
def history_trimmed(rng: random.Random, api: Api) -> Steps:
    """Drop the oldest messages once, as a sliding window does."""
    states = build_states(rng, api, 14)
    gone = rng.randint(2, 5)
    return change_once(
        rng,
        states[8:],
        lambda s: add_breakpoints(api, s.with_values(messages=s.messages[gone:])),
        Label("history_rewritten", "messages", 0, hint="truncated"),
    )


@mutator("history compacted")
def history_compacted(rng: random.Random, api: Api) -> Steps:
    states = build_states(rng, api, 20)
    summary = Message("user", "Summary of the conversation so far: " + make_prose(rng, 4))
    cut = len(states[10].messages) * 2 // 3
    return change_once(
        rng,
        states[10:],
        lambda s: add_breakpoints(api, s.with_values(messages=(summary, *s.messages[cut:]))),
        Label("history_rewritten", "messages", 0, hint="compacted"),
    )


@mutator("first message stamped")
def first_message_stamped(rng: random.Random, api: Api) -> Steps:
    """Render the current time into the first user message of every call."""
    head, tail, before = "Ticket opened by the shop at ", make_prose(rng, 12), None
    for number, state in enumerate(build_states(rng, api, 6)):
        stamp = f"2026-11-20T09:{10 + number}:07"
        first = Message("user", head + stamp + ". " + tail)
        here = state.with_values(messages=(first, *state.messages[1:]))
        label = Label("volatile_token", "messages", 0, len(head), "timestamp")
        twin = state.with_values(messages=(before, *state.messages[1:])) if before else None
        yield Step(here, label if before else None, twin)
        before = first
