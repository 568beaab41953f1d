"""More breaks: images, parameters, breakpoints and time, and traffic without a break."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tests.breaks.apis import Api
from tests.breaks.conversations import (
    State,
    make_conversation,
    make_prose,
    make_request_states,
    make_sentence,
)
from tests.breaks.mutators import (
    MUTATORS,
    Label,
    Mutator,
    Step,
    Steps,
    add_breakpoints,
    build_states,
    change_once,
    mutator,
    plain_steps,
)

# Images


def _set_image(states: Sequence[State], index: int, image: str | None) -> Callable[[State], State]:
    def change(state: State) -> State:
        if len(state.messages) <= index:
            return state
        message = replace(state.messages[index], image=image)
        return state.with_values(
            messages=(*state.messages[:index], message, *state.messages[index + 1 :])
        )

    return change


def _add_image_mutator(name: str, before: bool, after: bool, hint: str) -> None:
    def mutate(rng: random.Random, api: Api) -> Steps:
        states = build_states(rng, api, 10)
        index = next(n for n, message in enumerate(states[-1].messages) if message.role == "user")
        image = f"{rng.getrandbits(6000):0x}"
        old, new = (
            _set_image(states, index, image if shown else None) for shown in (before, after)
        )
        index = index if api.path.endswith("completions") and not api.explicit else index + 1
        label = Label("image_changed", "messages", index, hint=hint)
        cut = rng.randint(3, len(states) - 2)
        yield from plain_steps([old(state) for state in states[:cut]])
        yield Step(new(states[cut]), label, twin=old(states[cut]))
        yield from plain_steps([new(state) for state in states[cut + 1 :]])

    MUTATORS[name] = mutate


_add_image_mutator("image added", before=False, after=True, hint="image_added")
_add_image_mutator("image removed", before=True, after=False, hint="image_removed")


@mutator("first image")
def first_image(rng: random.Random, api: Api) -> Steps:
    """Add an image to the newest message. At some providers a first one invalidates the history."""
    states = build_states(rng, api, 10)
    cut = next(n for n, s in enumerate(states) if n > 2 and s.messages[-1].role == "user")
    show = _set_image(states, len(states[cut].messages) - 1, f"{rng.getrandbits(6000):0x}")
    yield from plain_steps(states[:cut])
    yield Step(
        show(states[cut]), Label("image_changed", "messages", hint="image_added"), twin=states[cut]
    )
    yield from plain_steps([show(state) for state in states[cut + 1 :]])


# Parameters


def _add_param_mutator(
    name: str, param: str, before: Any, after: Any, reason: str = "param_changed"
) -> None:
    def mutate(rng: random.Random, api: Api) -> Steps:
        if not api.has_params(param):
            return iter(())
        states = [state.with_values(params={param: before}) for state in build_states(rng, api)]
        label = Label("none" if param in api.harmless else reason, "params")
        return change_once(rng, states, lambda s: s.with_values(params={param: after}), label)

    MUTATORS[name] = mutate


_BUDGETS = [{"type": "enabled", "budget_tokens": tokens} for tokens in (2000, 8000)]
_SCHEMA = {
    "type": "json_schema",
    "name": "reply",
    "schema": {"type": "object", "properties": {"text": {"type": "string"}}},
}
_add_param_mutator("effort", "effort", "low", "high")
_add_param_mutator("verbosity", "verbosity", "low", "high")
_add_param_mutator("response format", "format", {"type": "text"}, {"type": "json_object"})
_add_param_mutator("response schema", "format", {"type": "json_object"}, _SCHEMA)
_add_param_mutator("parallel tool calls", "parallel", True, False)
_add_param_mutator("service tier", "tier", "default", "flex", "batch_or_tier")
_add_param_mutator("cache key", "cache_key", "session-a", "session-b", "cache_key_changed")
_add_param_mutator("tool choice", "tool_choice", {"type": "auto"}, {"type": "none"})
_add_param_mutator("thinking budget", "thinking", _BUDGETS[0], _BUDGETS[1])


@mutator("model")
def model(rng: random.Random, api: Api) -> Steps:
    return change_once(
        rng,
        build_states(rng, api),
        lambda s: s.with_values(model=1),
        Label("model_changed", "model"),
    )


@mutator("key per user")
def key_per_user(rng: random.Random, api: Api) -> Steps:
    """Use one cache key per user over one static prefix. The third key makes a pattern."""
    if not api.has_params("cache_key"):
        return
    base, _ = make_conversation(rng, 1, api.scale_sections(16), 6)
    for number in range(6):
        states = [
            add_breakpoints(api, s)
            for s in make_request_states(
                rng, base.with_values(params={"cache_key": f"user-{number}"}), 2
            )
        ]
        label = Label("per_user_key_or_prefix", "params")
        twin = states[0].with_values(params={"cache_key": "user-0"})
        yield Step(states[0], label if number > 1 else None, twin if number > 1 else None)
        yield from plain_steps(states[1:])


@mutator("credential")
def credential(rng: random.Random, api: Api) -> Steps:
    states = build_states(rng, api)
    index = rng.randint(2, len(states) - 2)
    yield from plain_steps(states[:index])
    yield Step(states[index], Label("scope_changed", "params"), key="two")
    yield from plain_steps(states[index + 1 :], key="two")


# Breakpoints


@mutator("breakpoint removed")
def breakpoint_removed(rng: random.Random, api: Api) -> Steps:
    """Remove the breakpoints of the history and keep the one of the system prompt."""
    if not api.explicit:
        return iter(())
    states = build_states(rng, api)
    return change_once(
        rng,
        states,
        lambda s: s.with_values(breakpoints=(-1,)),
        Label("breakpoint_missing_on_static", "messages"),
    )


@mutator("breakpoint moved")
def breakpoint_moved(rng: random.Random, api: Api) -> Steps:
    """Set a breakpoint only on the newest message, so that earlier writes have none."""
    if not api.explicit:
        return
    states = build_states(rng, api)
    index = rng.randint(2, len(states) - 2)
    yield from plain_steps(states[:index])
    latest = len(states[index].messages) - 1
    yield Step(
        states[index].with_values(breakpoints=(latest,)),
        Label("breakpoint_missing_on_static", "messages"),
        twin=states[index],
    )


@mutator("static prefix unmarked")
def static_unmarked(rng: random.Random, api: Api) -> Steps:
    """Send one static prompt with varying questions and a breakpoint only on the question."""
    if not api.explicit:
        return
    base, _ = make_conversation(rng, 1, api.scale_sections(16), 6)
    for number in range(5):
        state = make_request_states(rng, base, 1)[0]
        last = len(state.messages) - 1
        here, better = (
            state.with_values(breakpoints=(last,)),
            state.with_values(breakpoints=(-1, last)),
        )
        label = Label("breakpoint_missing_on_static", "messages", 0)
        yield Step(here, label if number else None, instead=better)


@mutator("lookback")
def lookback(rng: random.Random, api: Api) -> Steps:
    """Add more messages at once than the lookback of an implicit breakpoint."""
    if not api.writes or (api.explicit and not api.lookback):
        return
    states = build_states(rng, api, 40)
    far = next(state for state in states if len(state.messages) > len(states[3].messages) + 45)
    yield from plain_steps(states[:4])
    yield Step(far, Label("lookback_exceeded", "messages"))
    yield from plain_steps(states[states.index(far) + 1 :][:2])


@mutator("below minimum")
def below_minimum(rng: random.Random, api: Api) -> Steps:
    base, _ = make_conversation(rng, 1, 1, 1)
    for _ in range(4):
        state = base.with_values(messages=make_request_states(rng, base, 1)[0].messages)
        yield Step(add_breakpoints(api, state), Label("below_minimum"))


# Time


@mutator("TTL lapse")
def ttl_lapse(rng: random.Random, api: Api) -> Steps:
    states = build_states(rng, api)
    index = rng.randint(2, len(states) - 2)
    yield from plain_steps(states[:index])
    yield Step(states[index], Label("ttl_expired"), wait=api.ttl * 1.5)
    yield from plain_steps(states[index + 1 :])


@mutator("concurrent race")
def race(rng: random.Random, api: Api) -> Steps:
    """Send three equal new requests at once."""
    state = build_states(rng, api, 5)[0]
    yield Step(state)
    yield Step(state, Label("concurrent_cold_race"), wait=0, together=True)
    yield Step(state, Label("concurrent_cold_race"), wait=0, together=True)
    yield Step(state)


# Traffic without a break


@mutator("= unbroken")
def unbroken(rng: random.Random, api: Api) -> Steps:
    return plain_steps(build_states(rng, api, rng.choice((5, 20, 60))))


@mutator("= interleaved")
def interleaved(rng: random.Random, api: Api) -> Steps:
    """Interleave two conversations of one program."""
    base, first = make_conversation(rng, 8, api.scale_sections(14), 6)
    second = make_request_states(rng, base, 8)
    for pair in zip(first, second, strict=False):
        yield from plain_steps([add_breakpoints(api, state) for state in pair])


@mutator("= auxiliary calls")
def auxiliary(rng: random.Random, api: Api) -> Steps:
    """Send a titling prompt between turns, with the same first message and another model."""
    naming = State(
        "Give the conversation a title of at most five words. " + make_prose(rng, 60), (), ()
    )
    for state in build_states(rng, api, 8):
        yield Step(state)
        yield Step(add_breakpoints(api, naming.with_values(messages=state.messages[:1], model=1)))


@mutator("= sub-agents")
def sub_agents(rng: random.Random, api: Api) -> Steps:
    """Call several agents with the same handbook and tools and different roles."""
    base, _ = make_conversation(rng, 1, api.scale_sections(14), 6)
    for _ in range(3):
        for role in ("a researcher who gathers facts", "a writer who drafts replies"):
            system = base.system + f"\n\nYour role: {role}. {make_sentence(random.Random(role))}"
            yield from plain_steps(
                [
                    add_breakpoints(api, s)
                    for s in make_request_states(rng, base.with_values(system=system), 2)
                ]
            )


@mutator("= branches")
def branches(rng: random.Random, api: Api) -> Steps:
    """Continue one beginning in several ways."""
    states = build_states(rng, api, 8)
    yield from plain_steps(states[:5])
    for _ in range(4):
        last = states[4].messages[-1]
        yield Step(
            states[4].with_values(
                messages=(*states[4].messages[:-1], type(last)("user", make_prose(rng, 3)))
            )
        )


@mutator("= shortened")
def shortened(rng: random.Random, api: Api) -> Steps:
    """Go back to an earlier point and continue there, then begin a new conversation."""
    base, states = make_conversation(rng, 10, api.scale_sections(14), 6)
    again = make_request_states(rng, base.with_values(messages=states[3].messages), 3)
    rest = make_request_states(rng, base, 3)
    yield from plain_steps(
        [add_breakpoints(api, state) for state in (*states, states[3], *again, *rest)]
    )


def mutators() -> dict[str, Mutator]:
    """Return all mutators by name."""
    return MUTATORS
