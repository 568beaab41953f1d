"""The breaks: each mutator turns a conversation into requests of which it knows where, why and whether they miss.

A label is what a perfect diagnosis would say. Whether a break cost anything is not decided here but by the emulator:
the `twin` is the request as it would have been without the mutation, asked of a copy of the cache.
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
from tests.breaks.conversations import Message, State, conversation, prose, requests, sentence


@dataclass(frozen=True)
class Label:
    """What broke: `reason` in the vocabulary of `promptcache.causes`, where, and what it looks like."""

    reason: str
    section: str | None = None
    index: int | None = None
    offset: int | None = None
    hint: str | None = None


@dataclass(frozen=True)
class Step:
    """One request, sent `wait` seconds after the one before; `together` with it: before that was answered.

    `twin` is what it would have been had only this request been different, `instead` had all before been different too.
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


def talk(dice: random.Random, api: Api, turns: int | None = None) -> list[State]:
    _, states = conversation(
        dice,
        turns or dice.choice((5, 8, 12, 20)),
        api.sized(dice.randint(10, 18)),
        dice.randint(4, 9),
    )
    return [marked(api, state) for state in states]


def marked(api: Api, state: State) -> State:
    """With the breakpoints of a careful program: after the system prompt and the latest three user turns."""
    if not api.explicit:
        return state
    users = [at for at, message in enumerate(state.messages) if message.role == "user"]
    return state.having(marks=(-1, *users[-3:]))


def place(state: State, message: int) -> int:
    """The block index of a message: an image is a block of its own."""
    return message + sum(m.image is not None for m in state.messages[:message])


def plain(states: Sequence[State], **more: Any) -> Steps:
    return (Step(state, **more) for state in states)


def once(
    dice: random.Random, states: Sequence[State], change: Callable[[State], State], label: Label
) -> Steps:
    """The conversation goes on with one change made for good, somewhere after its beginning."""
    at = dice.randint(2, len(states) - 2)
    yield from plain(states[:at])
    yield Step(change(states[at]), label, twin=states[at])
    yield from plain([change(state) for state in states[at + 1 :]])


# Values that change in the system prompt


def _volatile(name: str, hint: str, values: Callable[[random.Random, int], str]) -> None:
    def mutate(dice: random.Random, api: Api) -> Steps:
        states = talk(dice, api, 6)
        lines = states[0].system.split("\n")
        at = dice.choice((1, len(lines) // 2, len(lines) - 1))
        head = (
            "\n".join(lines[:at])
            + "\n"
            + dice.choice(("Context: ", "For this session ", "Currently "))
        )
        offset = len(head.encode())
        before: State | None = None
        for number, state in enumerate(states):
            texts = [
                head + value + "\n" + "\n".join(lines[at:])
                for value in (values(dice, number), values(dice, 0))
            ]
            here = state.having(system=texts[0])
            label = Label("volatile_token", "system", 0, offset, hint)
            twin = state.having(system=before.system) if before else None
            yield Step(here, label if before else None, twin)
            before = here

    MUTATORS[name] = mutate


_volatile("date", "date", lambda dice, n: f"2026-{1 + n % 12:02d}-{1 + n % 28:02d}")
_volatile(
    "time",
    "timestamp",
    lambda dice, n: f"2026-11-20 {8 + n % 12:02d}:{dice.randint(10, 59)}:{10 + n:02d}",
)
_volatile("clock", "timestamp", lambda dice, n: f"{8 + n % 12:02d}:{dice.randint(10, 59)}")
_volatile("uuid", "uuid", lambda dice, n: str(UUID(int=dice.getrandbits(128), version=4)))
_volatile("hex id", "hex_id", lambda dice, n: f"{dice.getrandbits(64) | 0xA000000000000001:016x}")
_volatile("counter", "counter", lambda dice, n: str(1041 + n))

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
def user_name(dice: random.Random, api: Api) -> Steps:
    """Each user's own conversation: from the fourth name on it can be told from different programs."""
    base, _ = conversation(dice, 5, api.sized(14), 6)
    head = base.system.split("\n\n")[0] + "\n\nYou are talking to "
    offset = len(head.encode())
    for number, name in enumerate(_NAMES):
        system = head + name + ".\n" + base.system
        states = [marked(api, s) for s in requests(dice, base.having(system=system), 2)]
        twin = states[0].having(system=head + _NAMES[number - 1] + ".\n" + base.system)
        label = Label("volatile_token", "system", 0, offset, "name_like")
        yield Step(states[0], label if number > 2 else None, twin if number > 2 else None)
        yield from plain(states[1:])


# Tools


@mutator("tool added")
def tool_added(dice: random.Random, api: Api) -> Steps:
    states = talk(dice, api)
    extra: dict[str, Any] = {
        "name": "open_dispute",
        "description": sentence(dice),
        "parameters": {"type": "object", "properties": {}},
    }
    at = dice.randint(0, len(states[0].tools))
    label = Label("tools_changed", "tools", at)
    return once(
        dice, states, lambda s: s.having(tools=(*s.tools[:at], extra, *s.tools[at:])), label
    )


@mutator("tool removed")
def tool_removed(dice: random.Random, api: Api) -> Steps:
    states = talk(dice, api)
    at = dice.randrange(len(states[0].tools))
    return once(
        dice,
        states,
        lambda s: s.having(tools=s.tools[:at] + s.tools[at + 1 :]),
        Label("tools_changed", "tools", at),
    )


@mutator("tools reordered")
def tools_reordered(dice: random.Random, api: Api) -> Steps:
    states = talk(dice, api)
    order = list(range(len(states[0].tools)))
    while order == sorted(order):
        dice.shuffle(order)
    first = next(at for at, number in enumerate(order) if at != number)
    return once(
        dice,
        states,
        lambda s: s.having(tools=tuple(s.tools[n] for n in order)),
        Label("tools_reordered", "tools", first, hint="reordered"),
    )


@mutator("tool described anew")
def tool_described(dice: random.Random, api: Api) -> Steps:
    states = talk(dice, api)
    at = dice.randrange(len(states[0].tools))
    text = prose(dice, 2)
    tools = tuple(
        t | {"description": text} if n == at else t for n, t in enumerate(states[0].tools)
    )
    return once(dice, states, lambda s: s.having(tools=tools), Label("tools_changed", "tools", at))


@mutator("JSON key order")
def key_order(dice: random.Random, api: Api) -> Steps:
    states = talk(dice, api)
    tools = tuple(json.loads(json.dumps(t, sort_keys=True)) for t in states[0].tools)
    first = next(
        n for n, (a, b) in enumerate(zip(tools, states[0].tools, strict=True)) if list(a) != list(b)
    )
    return once(
        dice,
        states,
        lambda s: s.having(tools=tools),
        Label("serialization_nondeterminism", "tools", first, hint="key_order"),
    )


# The text of the system prompt


def _system(
    name: str, change: Callable[[random.Random, str], str], reason: str, hint: str | None = None
) -> None:
    def mutate(dice: random.Random, api: Api) -> Steps:
        states = [
            s.having(system=s.system + "\n\nÀ bientôt, café crème et naïveté déjà vus.")
            for s in talk(dice, api)
        ]
        old = states[0].system
        new = change(dice, old)
        offset = next(
            n for n, (a, b) in enumerate(zip(old.encode(), new.encode(), strict=False)) if a != b
        )
        return once(
            dice, states, lambda s: s.having(system=new), Label(reason, "system", 0, offset, hint)
        )

    MUTATORS[name] = mutate


def _edit(dice: random.Random, text: str, part: int, of: int) -> str:
    sentences = text.split(". ")
    at = 1 + (len(sentences) - 3) * part // of
    return ". ".join([*sentences[:at], prose(dice, 3)[:-1], *sentences[at + 2 :]])


_system(
    "whitespace",
    lambda dice, text: text.replace("\n\n##", "\n\n\n##"),
    "serialization_nondeterminism",
    "whitespace",
)
_system(
    "unicode",
    lambda dice, text: unicodedata.normalize("NFD", text),
    "serialization_nondeterminism",
    "unicode",
)
_system("system edited early", lambda dice, text: _edit(dice, text, 0, 8), "system_changed")
_system("system edited late", lambda dice, text: _edit(dice, text, 7, 8), "system_changed")


# The history


@mutator("history edited")
def history_edited(dice: random.Random, api: Api) -> Steps:
    states = talk(dice, api, 12)
    at = dice.randint(1, 4)
    old = states[0 + 8].messages[at]
    text = sentence(dice) + " " + old.text

    def change(state: State) -> State:
        if len(state.messages) <= at + 1:
            return state
        return state.having(
            messages=(
                *state.messages[:at],
                replace(old, text=text, call=None),
                *state.messages[at + 1 :],
            )
        )

    yield from plain(states[:8])
    yield Step(change(states[8]), Label("history_rewritten", "messages", at), twin=states[8])
    yield from plain([change(state) for state in states[9:]])


@mutator("history trimmed")
def history_trimmed(dice: random.Random, api: Api) -> Steps:
    """A sliding window: the oldest messages go, once."""
    states = talk(dice, api, 14)
    gone = dice.randint(2, 5)
    return once(
        dice,
        states[8:],
        lambda s: marked(api, s.having(messages=s.messages[gone:])),
        Label("history_rewritten", "messages", 0, hint="truncated"),
    )


@mutator("history compacted")
def history_compacted(dice: random.Random, api: Api) -> Steps:
    states = talk(dice, api, 20)
    summary = Message("user", "Summary of the conversation so far: " + prose(dice, 4))
    cut = len(states[10].messages) * 2 // 3
    return once(
        dice,
        states[10:],
        lambda s: marked(api, s.having(messages=(summary, *s.messages[cut:]))),
        Label("history_rewritten", "messages", 0, hint="compacted"),
    )


@mutator("first message stamped")
def first_message_stamped(dice: random.Random, api: Api) -> Steps:
    """A template renders the time into the first user message again on every call."""
    head, tail, before = "Ticket opened by the shop at ", prose(dice, 12), None
    for number, state in enumerate(talk(dice, api, 6)):
        stamp = f"2026-11-20T09:{10 + number}:07"
        first = Message("user", head + stamp + ". " + tail)
        here = state.having(messages=(first, *state.messages[1:]))
        label = Label("volatile_token", "messages", 0, len(head), "timestamp")
        twin = state.having(messages=(before, *state.messages[1:])) if before else None
        yield Step(here, label if before else None, twin)
        before = first
