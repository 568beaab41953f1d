"""Breaks of form: the same content in other bytes."""

from __future__ import annotations

import json
import random
import re
import unicodedata
from collections.abc import Callable

from tests.breaks.exam import corpus
from tests.breaks.exam.families.steps import block_indexes, change_always, make_conversation, plain
from tests.breaks.exam.families.systems import edit
from tests.breaks.exam.prompts import Part, Prompt, ToolCall, ToolResult, Turn, make_call_id
from tests.breaks.exam.scenario import Step, Steps, family, label, mark
from tests.breaks.exam.surfaces import Surface

_FORM = "serialization_nondeterminism"
_TYPOGRAPHY = frozenset({"unicode", "form", "punctuation", "typography"})


def _form(
    name: str,
    hints: frozenset[str],
    change: Callable[[str], str],
    prepare: Callable[[str], str] = str,
    *,
    simple: bool = False,
) -> None:
    def play(rng: random.Random, surface: Surface) -> Steps:
        return edit(rng, surface, change, _FORM, prepare=prepare, hints=hints)

    family(name, simple=simple)(play)


def _quote(text: str) -> str:
    """Return the text as a word processor writes it: curly quotes and dashes."""
    text = re.sub(r'"([^"\n]*)"', "\u201c\\1\u201d", text)
    return text.replace("'", "\u2019").replace(" - ", " \u2013 ")


_GREETING = '\n\nSay "Grüß Gott" or "Bonjour, ça va?" - don\'t mix them. Café, naïve, Ångström.'
_form("smart quotes", _TYPOGRAPHY, _quote, lambda text: text + _GREETING)
_form(
    "bullets",
    _TYPOGRAPHY | {"whitespace", "bullets"},
    lambda text: re.sub(r"^- ", "* ", text, flags=re.MULTILINE),
    lambda text: text + "\n\n- First, greet.\n- Then ask for the order number.\n- Then answer.",
)
_form(
    "line ends",
    frozenset({"whitespace"}),
    lambda text: text.replace("\n", "\r\n"),
    simple=True,
)
_form(
    "indentation of embedded JSON",
    frozenset({"whitespace"}),
    lambda text: text.replace('    "', '  "'),
    lambda text: text + "\n\n" + json.dumps({"a": {"limit": 5, "since": "2026-02-03"}}, indent=4),
)
_form(
    "unicode form",
    frozenset({"unicode"}),
    lambda text: unicodedata.normalize("NFD", text),
    lambda text: text + _GREETING,
    simple=True,
)


def _embedded(
    rng: random.Random, surface: Surface, rewrite: Callable[[str], str], hint: str
) -> Steps:
    """Write a record into the system prompt as JSON, and change how it is written."""
    record = corpus.make_record(rng) | {"city": "Zürich", "total": 12.5}
    old = json.dumps(record, ensure_ascii=False)
    return edit(
        rng,
        surface,
        lambda text: text.replace(old, rewrite(old)),
        _FORM,
        prepare=lambda text: f"{text}\n\nThe customer's record:\n{old}\nUse it.",
        hints=frozenset({hint, "form"} | ({"escaping"} if hint == "unicode" else set())),
    )


@family("ensure_ascii in the system prompt")
def ensure_ascii(rng: random.Random, surface: Surface) -> Steps:
    return _embedded(rng, surface, lambda old: json.dumps(json.loads(old)), "unicode")


@family("key order inside text")
def key_order(rng: random.Random, surface: Surface) -> Steps:
    def rewrite(old: str) -> str:
        return json.dumps(json.loads(old), sort_keys=True, ensure_ascii=False)

    return _embedded(rng, surface, rewrite, "key_order")


def _first_result(prompt: Prompt, changed: Callable[[str], str]) -> int | None:
    """Return the first turn with a tool result that `changed` changes."""
    for index, turn in enumerate(prompt.turns):
        for part in turn.parts:
            if isinstance(part, ToolResult) and changed(part.text) != part.text:
                return index
    return None


def _rewrite_results(prompt: Prompt, rewrite: Callable[[str], str]) -> Prompt:
    def change(part: Part) -> Part:
        if isinstance(part, ToolResult):
            return ToolResult(part.id, part.name, rewrite(part.text))
        return part

    return prompt.map_parts(change)


def _results(
    rng: random.Random, surface: Surface, rewrite: Callable[[str], str], hint: str
) -> Steps:
    """Serialize all tool results of the history in another way, once."""
    states = make_conversation(rng, surface, 10)
    first = next((_first_result(s, rewrite) for s in states if _first_result(s, rewrite)), None)
    if first is None:
        return
    at = next(n for n, s in enumerate(states) if len(s.turns) > first + 2 or n == len(states) - 1)
    new = [_rewrite_results(state, rewrite) for state in states]
    truth = label(
        _FORM,
        section="messages",
        indexes=block_indexes(states[at], first),
        hints=frozenset({hint, "form"} | ({"escaping"} if hint == "unicode" else set())),
    )
    yield from plain(surface, states[:at])
    yield Step(mark(surface, new[at]), truth, twin=mark(surface, states[at]))
    yield from plain(surface, new[at + 1 :])


@family("ensure_ascii in tool results")
def results_ascii(rng: random.Random, surface: Surface) -> Steps:
    return _results(rng, surface, lambda text: json.dumps(json.loads(text)), "unicode")


@family("key order in tool results")
def results_keys(rng: random.Random, surface: Surface) -> Steps:
    def rewrite(text: str) -> str:
        return json.dumps(json.loads(text), sort_keys=True, ensure_ascii=False)

    return _results(rng, surface, rewrite, "key_order")


@family("indentation of tool results")
def results_indented(rng: random.Random, surface: Surface) -> Steps:
    def rewrite(text: str) -> str:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)

    return _results(rng, surface, rewrite, "whitespace")


def _with_new_ids(prompt: Prompt, seed: int) -> Prompt:
    ids: dict[str, str] = {}

    def renamed(part: Part) -> Part:
        if isinstance(part, ToolCall | ToolResult):
            rng = random.Random(f"{part.id} {seed}")
            new = ids.setdefault(part.id, make_call_id(rng))
            if isinstance(part, ToolCall):
                return ToolCall(new, part.name, part.arguments)
            return ToolResult(new, part.name, part.text)
        return part

    return prompt.map_parts(renamed)


@family("regenerated tool-call ids")
def regenerated_ids(rng: random.Random, surface: Surface) -> Steps:
    """Rebuild the history from a database that does not keep the ids of tool calls."""
    if "gemini" in surface.name:
        return
    states = make_conversation(rng, surface, 9)
    first = next((n for n, t in enumerate(states[-1].turns) if _has_call(t)), None)
    if first is None:
        return
    begun = next(n for n, state in enumerate(states) if len(state.turns) > first)
    truth = label(
        "volatile_token",
        "serialization_nondeterminism",
        section="messages",
        indexes=block_indexes(states[-1], first),
    )
    yield from change_always(surface, states, _with_new_ids, truth, begun + 1)


def _has_call(turn: Turn) -> bool:
    return any(isinstance(part, ToolCall) for part in turn.parts)
