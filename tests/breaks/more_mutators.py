"""More breaks: images, parameters, breakpoints, time, and traffic that only looks broken."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tests.breaks.apis import Api
from tests.breaks.conversations import State, conversation, prose, requests, sentence
from tests.breaks.mutators import (
    MUTATORS,
    Label,
    Mutator,
    Step,
    Steps,
    marked,
    mutator,
    once,
    plain,
    talk,
)

# Images


def _pictured(states: Sequence[State], at: int, image: str | None) -> Callable[[State], State]:
    def change(state: State) -> State:
        if len(state.messages) <= at:
            return state
        message = replace(state.messages[at], image=image)
        return state.having(messages=(*state.messages[:at], message, *state.messages[at + 1 :]))

    return change


def _image(name: str, before: bool, after: bool, hint: str) -> None:
    def mutate(dice: random.Random, api: Api) -> Steps:
        states = talk(dice, api, 10)
        at = next(n for n, message in enumerate(states[-1].messages) if message.role == "user")
        image = f"{dice.getrandbits(6000):0x}"
        old, new = (_pictured(states, at, image if shown else None) for shown in (before, after))
        index = at if api.path.endswith("completions") and not api.explicit else at + 1
        label = Label("image_changed", "messages", index, hint=hint)
        cut = dice.randint(3, len(states) - 2)
        yield from plain([old(state) for state in states[:cut]])
        yield Step(new(states[cut]), label, twin=old(states[cut]))
        yield from plain([new(state) for state in states[cut + 1 :]])

    MUTATORS[name] = mutate


_image("image added", before=False, after=True, hint="image_added")
_image("image removed", before=True, after=False, hint="image_removed")


@mutator("first image")
def first_image(dice: random.Random, api: Api) -> Steps:
    """A picture comes with the newest words: where it is the first one, some providers forget the whole history."""
    states = talk(dice, api, 10)
    cut = next(n for n, s in enumerate(states) if n > 2 and s.messages[-1].role == "user")
    show = _pictured(states, len(states[cut].messages) - 1, f"{dice.getrandbits(6000):0x}")
    yield from plain(states[:cut])
    yield Step(
        show(states[cut]), Label("image_changed", "messages", hint="image_added"), twin=states[cut]
    )
    yield from plain([show(state) for state in states[cut + 1 :]])


# Parameters


def _param(name: str, param: str, before: Any, after: Any, reason: str = "param_changed") -> None:
    def mutate(dice: random.Random, api: Api) -> Steps:
        if not api.can(param):
            return iter(())
        states = [state.having(params={param: before}) for state in talk(dice, api)]
        label = Label("none" if param in api.harmless else reason, "params")
        return once(dice, states, lambda s: s.having(params={param: after}), label)

    MUTATORS[name] = mutate


_BUDGETS = [{"type": "enabled", "budget_tokens": tokens} for tokens in (2000, 8000)]
_SCHEMA = {
    "type": "json_schema",
    "name": "reply",
    "schema": {"type": "object", "properties": {"text": {"type": "string"}}},
}
_param("effort", "effort", "low", "high")
_param("verbosity", "verbosity", "low", "high")
_param("response format", "format", {"type": "text"}, {"type": "json_object"})
_param("response schema", "format", {"type": "json_object"}, _SCHEMA)
_param("parallel tool calls", "parallel", True, False)
_param("service tier", "tier", "default", "flex", "batch_or_tier")
_param("cache key", "cache_key", "session-a", "session-b", "cache_key_changed")
_param("tool choice", "tool_choice", {"type": "auto"}, {"type": "none"})
_param("thinking budget", "thinking", _BUDGETS[0], _BUDGETS[1])


@mutator("model")
def model(dice: random.Random, api: Api) -> Steps:
    return once(dice, talk(dice, api), lambda s: s.having(model=1), Label("model_changed", "model"))


@mutator("key per user")
def key_per_user(dice: random.Random, api: Api) -> Steps:
    """Every user has a key of his own over one static prefix; from the third on it is a pattern."""
    if not api.can("cache_key"):
        return
    base, _ = conversation(dice, 1, api.sized(16), 6)
    for number in range(6):
        states = [
            marked(api, s)
            for s in requests(dice, base.having(params={"cache_key": f"user-{number}"}), 2)
        ]
        label = Label("per_user_key_or_prefix", "params")
        twin = states[0].having(params={"cache_key": "user-0"})
        yield Step(states[0], label if number > 1 else None, twin if number > 1 else None)
        yield from plain(states[1:])


@mutator("credential")
def credential(dice: random.Random, api: Api) -> Steps:
    states = talk(dice, api)
    at = dice.randint(2, len(states) - 2)
    yield from plain(states[:at])
    yield Step(states[at], Label("scope_changed", "params"), key="two")
    yield from plain(states[at + 1 :], key="two")


# Breakpoints


@mutator("breakpoint removed")
def breakpoint_removed(dice: random.Random, api: Api) -> Steps:
    """The history's breakpoints go, that on the system prompt stays."""
    if not api.explicit:
        return iter(())
    states = talk(dice, api)
    return once(
        dice,
        states,
        lambda s: s.having(marks=(-1,)),
        Label("breakpoint_missing_on_static", "messages"),
    )


@mutator("breakpoint moved")
def breakpoint_moved(dice: random.Random, api: Api) -> Steps:
    """Only the newest message is marked from now on: nothing marks what was written before."""
    if not api.explicit:
        return
    states = talk(dice, api)
    at = dice.randint(2, len(states) - 2)
    yield from plain(states[:at])
    latest = len(states[at].messages) - 1
    yield Step(
        states[at].having(marks=(latest,)),
        Label("breakpoint_missing_on_static", "messages"),
        twin=states[at],
    )


@mutator("static prefix unmarked")
def static_unmarked(dice: random.Random, api: Api) -> Steps:
    """One static prompt, another question each time, and the only breakpoint on the question."""
    if not api.explicit:
        return
    base, _ = conversation(dice, 1, api.sized(16), 6)
    for number in range(5):
        state = requests(dice, base, 1)[0]
        last = len(state.messages) - 1
        here, better = state.having(marks=(last,)), state.having(marks=(-1, last))
        label = Label("breakpoint_missing_on_static", "messages", 0)
        yield Step(here, label if number else None, instead=better)


@mutator("lookback")
def lookback(dice: random.Random, api: Api) -> Steps:
    """A burst of more messages at once than an implicit breakpoint looks back."""
    if not api.writes or (api.explicit and not api.lookback):
        return
    states = talk(dice, api, 40)
    far = next(state for state in states if len(state.messages) > len(states[3].messages) + 45)
    yield from plain(states[:4])
    yield Step(far, Label("lookback_exceeded", "messages"))
    yield from plain(states[states.index(far) + 1 :][:2])


@mutator("below minimum")
def below_minimum(dice: random.Random, api: Api) -> Steps:
    base, _ = conversation(dice, 1, 1, 1)
    for _ in range(4):
        state = base.having(messages=requests(dice, base, 1)[0].messages)
        yield Step(marked(api, state), Label("below_minimum"))


# Time


@mutator("TTL lapse")
def ttl_lapse(dice: random.Random, api: Api) -> Steps:
    states = talk(dice, api)
    at = dice.randint(2, len(states) - 2)
    yield from plain(states[:at])
    yield Step(states[at], Label("ttl_expired"), wait=api.ttl * 1.5)
    yield from plain(states[at + 1 :])


@mutator("concurrent race")
def race(dice: random.Random, api: Api) -> Steps:
    """Three equal requests at once, none of them before."""
    state = talk(dice, api, 5)[0]
    yield Step(state)
    yield Step(state, Label("concurrent_cold_race"), wait=0, together=True)
    yield Step(state, Label("concurrent_cold_race"), wait=0, together=True)
    yield Step(state)


# What only looks broken


@mutator("= unbroken")
def unbroken(dice: random.Random, api: Api) -> Steps:
    return plain(talk(dice, api, dice.choice((5, 20, 60))))


@mutator("= interleaved")
def interleaved(dice: random.Random, api: Api) -> Steps:
    """Two conversations of one program in one process."""
    base, first = conversation(dice, 8, api.sized(14), 6)
    second = requests(dice, base, 8)
    for pair in zip(first, second, strict=False):
        yield from plain([marked(api, state) for state in pair])


@mutator("= auxiliary calls")
def auxiliary(dice: random.Random, api: Api) -> Steps:
    """Between the turns another prompt names the conversation, with the same first message and another model."""
    naming = State(
        "Give the conversation a title of at most five words. " + prose(dice, 60), (), ()
    )
    for state in talk(dice, api, 8):
        yield Step(state)
        yield Step(marked(api, naming.having(messages=state.messages[:1], model=1)))


@mutator("= sub-agents")
def sub_agents(dice: random.Random, api: Api) -> Steps:
    """Agents with the same handbook and tools but roles of their own, each called several times."""
    base, _ = conversation(dice, 1, api.sized(14), 6)
    for _ in range(3):
        for role in ("a researcher who gathers facts", "a writer who drafts replies"):
            system = base.system + f"\n\nYour role: {role}. {sentence(random.Random(role))}"
            yield from plain(
                [marked(api, s) for s in requests(dice, base.having(system=system), 2)]
            )


@mutator("= branches")
def branches(dice: random.Random, api: Api) -> Steps:
    """One beginning, several continuations side by side."""
    states = talk(dice, api, 8)
    yield from plain(states[:5])
    for _ in range(4):
        last = states[4].messages[-1]
        yield Step(
            states[4].having(
                messages=(*states[4].messages[:-1], type(last)("user", prose(dice, 3)))
            )
        )


@mutator("= shortened")
def shortened(dice: random.Random, api: Api) -> Steps:
    """Back to an earlier point, on purpose, and on from there; then a new conversation."""
    base, states = conversation(dice, 10, api.sized(14), 6)
    again = requests(dice, base.having(messages=states[3].messages), 3)
    rest = requests(dice, base, 3)
    yield from plain([marked(api, state) for state in (*states, states[3], *again, *rest)])


def mutators() -> dict[str, Mutator]:
    """All of them, by name."""
    return MUTATORS
