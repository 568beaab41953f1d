"""Breaks in short histories, reordered messages, and prompts of one house style."""

from __future__ import annotations

import json
from typing import Any

import pytest

from promptcache.model import Block, ParsedPrompt, Verdict
from tests.support.diagnosis_lab import FILLER, DiagnosisLab, build_prompt, text_block

DATED = "The fee was valid from 2024-03-05 to 2025-04-06, see KB-4711 and version 3.4.1. "
CHUNKS = [f"[Source {name}, updated 2025-01-0{n}] {FILLER[:400]}" for n, name in enumerate("abcde")]


def make_prompt(*blocks: Block) -> ParsedPrompt:
    return ParsedPrompt((text_block("system", 0, FILLER), *blocks))


def make_block(index: int, kind: str, **data: Any) -> Block:
    return Block("messages", index, kind, data)


def diagnose(old: ParsedPrompt, new: ParsedPrompt, read: int = 1920) -> Verdict:
    lab = DiagnosisLab()
    lab.diagnose_call(old, input=4000)
    return lab.diagnose_call(new, read, input=4200)


@pytest.mark.parametrize("order", [(2, 0, 1, 3, 4), (1, 0, 4, 2, 3)])
def test_messages_in_another_order_are_reordered(order: tuple[int, ...]) -> None:
    old = build_prompt(*CHUNKS, "What is the fee?")
    verdict = diagnose(old, build_prompt(*[CHUNKS[at] for at in order], "Who is on call?"))
    assert (verdict.reason, verdict.section, verdict.index, verdict.hint) == (
        "history_rewritten",
        "messages",
        0,
        "reordered",
    )


def test_a_window_that_slides_is_truncated() -> None:
    verdict = diagnose(build_prompt(*CHUNKS), build_prompt(*CHUNKS[2:], "And now?"))
    assert (verdict.reason, verdict.hint) == ("history_rewritten", "truncated")


def make_tool_loop(call_id: str, result: str) -> tuple[Block, ...]:
    return (
        text_block("messages", 0, "Where is my parcel?"),
        make_block(1, "function_call", call_id=call_id, name="find", arguments='{"id": "KB-1"}'),
        make_block(2, "function_call_output", call_id=call_id, output=result),
    )


RECORDS = json.dumps([{"id": f"KB-{n}", "city": "Ulm", "total": 12.5} for n in range(40)])
SORTED = json.dumps(json.loads(RECORDS), sort_keys=True)


@pytest.mark.parametrize(
    ("call_id", "result", "index", "reason", "hint"),
    [
        ("call_0a1b2c3d4e5f60718293a4b5", RECORDS, 1, "volatile_token", "hex_id"),
        ("call_1", SORTED, 2, "serialization_nondeterminism", "key_order"),
        (
            "call_1",
            json.dumps(json.loads(RECORDS), indent=2),
            2,
            "serialization_nondeterminism",
            "whitespace",
        ),
    ],
)
def test_a_first_break_in_a_short_history_is_named(
    call_id: str, result: str, index: int, reason: str, hint: str
) -> None:
    old_id = "call_1" if call_id == "call_1" else "call_ffeeddccbbaa998877665544"
    old = make_prompt(*make_tool_loop(old_id, RECORDS))
    more = (text_block("messages", 3, "It is in Ulm."), text_block("messages", 4, "Thanks."))
    verdict = diagnose(old, make_prompt(*make_tool_loop(call_id, result), *more))
    assert (verdict.reason, verdict.index, verdict.hint) == (reason, index, hint)
    assert verdict.missed_tokens == 3968 - 1920  # what was replaced counts as present


def test_another_image_right_after_the_first_call_is_replaced() -> None:
    question = text_block("messages", 0, "What is this?")

    def show(signature: str) -> Block:
        return make_block(1, "image_url", image_url={"url": f"https://x/1.png?sig={signature}"})

    answer = (text_block("messages", 2, "A tent."), text_block("messages", 3, "Which one?"))
    verdict = diagnose(
        make_prompt(question, show("aa")), make_prompt(question, show("bb"), *answer)
    )
    assert (verdict.reason, verdict.hint) == ("image_changed", "image_replaced")
    other = diagnose(make_prompt(question, show("aa")), make_prompt(question, show("bb")))
    assert other.reason is None  # another picture, another conversation


@pytest.mark.parametrize("place", [0, 3])
def test_a_variant_of_one_house_style_is_another_program(place: int) -> None:
    chapters = [f"## {n}. Fees\n{DATED}{FILLER[:600]} Chapter {n}." for n in range(6)]
    other = [*chapters]
    other[place] = f"## {place}. Tone\nSince 2026-02-03 we write plainly, and never shout. " * 3
    old, new = (build_prompt("one", system="\n\n".join(side)) for side in (chapters, other))
    assert diagnose(old, new, read=0).reason == "cold_start"
