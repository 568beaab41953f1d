"""Breaks by parameters, model, credential and headers."""

from __future__ import annotations

import random
from typing import Any

from tests.breaks.exam.families.steps import change_once, make_conversation, plain
from tests.breaks.exam.prompts import continue_conversation, make_base
from tests.breaks.exam.scenario import Step, Steps, family, label, mark
from tests.breaks.exam.surfaces import Surface

_BUDGETS = [{"type": "enabled", "budget_tokens": tokens} for tokens in (2000, 8000)]


def _param(
    name: str, param: str, old: Any, new: Any, reason: str = "param_changed", simple: bool = True
) -> None:
    def play(rng: random.Random, surface: Surface) -> Steps:
        if param not in surface.params:
            return iter(())
        states = make_conversation(rng, surface)
        truth = label(reason, section="params")
        return change_once(
            rng,
            surface,
            states,
            lambda s: s.replace(params={param: new}),
            truth,
            before=lambda s: s.replace(params={param: old}),
        )

    family(name, simple=simple)(play)


_param("effort", "effort", "low", "high")
_param("verbosity", "verbosity", "low", "high")
_param("response format", "format", {"type": "text"}, {"type": "json_object"})
_param("parallel tool calls", "parallel", True, False)
_param("service tier", "tier", "default", "flex", "batch_or_tier")
_param("cache key", "cache_key", "session-a", "session-b", "cache_key_changed")
_param("tool choice", "tool_choice", {"type": "auto"}, {"type": "none"})
_param("thinking budget", "thinking", _BUDGETS[0], _BUDGETS[1])
_param("user id in metadata", "user", "u-1001", "u-1002", simple=False)


@family("beta header", needs_sdk=True)
def beta_header(rng: random.Random, surface: Surface) -> Steps:
    """Switch a beta on. At Anthropic the header belongs to the prompt."""
    if surface.provider != "anthropic":
        return iter(())
    header = {"anthropic-beta": "context-management-2025-06-27"}
    return change_once(
        rng,
        surface,
        make_conversation(rng, surface),
        lambda s: s.replace(headers=header),
        label("param_changed", section="params"),
    )


@family("model", simple=True)
def model(rng: random.Random, surface: Surface) -> Steps:
    return change_once(
        rng,
        surface,
        make_conversation(rng, surface),
        lambda s: s.replace(model=1),
        label("model_changed", section="model"),
    )


@family("credential", simple=True)
def credential(rng: random.Random, surface: Surface) -> Steps:
    """Continue a long conversation under another API key."""
    states = [mark(surface, state) for state in make_conversation(rng, surface, 8)]
    at = rng.randint(3, 6)
    yield from plain(surface, states[:at])
    truth = label("scope_changed")
    yield Step(states[at], truth, key="two", twin_key="one")
    for state in states[at + 1 :]:
        yield Step(state, key="two")


@family("cache key per user", simple=True)
def key_per_user(rng: random.Random, surface: Surface) -> Steps:
    """Use one cache key per user over one static prompt. The third key makes a pattern."""
    if "cache_key" not in surface.params:
        return
    base = make_base(rng, surface.smallest_handbook)
    for number in range(6):
        states = [
            mark(surface, state.replace(params={"cache_key": f"user-{7000 + number}"}))
            for state in continue_conversation(rng, base, 2)
        ]
        truth = label("per_user_key_or_prefix", section="params")
        twin = states[0].replace(params={"cache_key": "user-7000"})
        yield Step(states[0], truth if number > 1 else None, twin)
        yield from (Step(state) for state in states[1:])
