"""Diagnose the same text as a string and as a text part.

No provider documents whether its cache distinguishes the two forms.
"""

from __future__ import annotations

from typing import Any

import pytest

from promptcache.model import Block, ParsedPrompt, Request
from promptcache.prefix.fingerprint import fingerprint_block_text
from promptcache.providers.openai import wire as openai
from tests.support.diagnosis_lab import FILLER, DiagnosisLab

TEXT = "Where is my parcel, please? "


def parse_chat(*messages: Any, system: Any = FILLER) -> ParsedPrompt:
    roles = ("user", "assistant")
    bodies = [
        {"role": roles[index % 2], "content": content} for index, content in enumerate(messages)
    ]
    body = {"model": "gpt-4.1", "messages": [{"role": "system", "content": system}, *bodies]}
    prompt = openai.CHAT.parse_prompt(
        Request("w", "openai", "chat", "gpt-4.1", "h", 443, False, body, b"", 0.0)
    )
    assert prompt is not None
    return prompt


def text_part(words: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": words}]


FIRST, SECOND, LAST = TEXT * 40, TEXT * 90, TEXT * 3
BEFORE, AFTER = parse_chat(FIRST, SECOND), parse_chat(FIRST, text_part(SECOND), LAST)


def test_a_string_and_its_text_part_are_different_blocks() -> None:
    assert BEFORE.blocks[2].data != AFTER.blocks[2].data
    assert fingerprint_block_text(FIRST) != fingerprint_block_text(SECOND)


def test_a_read_over_both_forms_is_a_hit() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(BEFORE, input=4000)
    assert lab.diagnose_call(AFTER, 3968, input=4100).outcome == "hit"


def test_a_read_that_ends_before_the_other_form_blames_the_form() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(BEFORE, input=4000)
    verdict = lab.diagnose_call(AFTER, 2304, input=4100)
    assert (verdict.reason, verdict.section, verdict.index, verdict.offset, verdict.hint) == (
        "serialization_nondeterminism",
        "messages",
        1,
        0,
        "form",
    )


@pytest.mark.parametrize("read", [0, 3584])
def test_a_miss_that_begins_elsewhere_does_not_blame_the_form(read: int) -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(BEFORE, input=4000)
    verdict = lab.diagnose_call(AFTER, read, input=4100)
    assert (verdict.outcome, verdict.reason, verdict.section) == (
        "partial" if read else "miss",
        "unknown",
        None,
    )


def test_a_system_prompt_in_another_form_is_not_an_edited_one() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(parse_chat(FIRST, SECOND), input=4000)
    assert (
        lab.diagnose_call(
            parse_chat(FIRST, SECOND, LAST, system=text_part(FILLER)), 0, input=4100
        ).reason
        == "unknown"
    )


def test_another_text_in_another_form_is_a_rewritten_history() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(BEFORE, input=4000)
    verdict = lab.diagnose_call(
        parse_chat(FIRST, text_part(SECOND[:-2] + "! "), LAST), 2304, input=4100
    )
    assert (verdict.reason, verdict.index) == ("history_rewritten", 1)


@pytest.mark.parametrize("size", [1, 63, 64, 65, 300, 2047, 5000])
def test_a_change_of_any_byte_changes_the_fingerprint(size: int) -> None:
    text = (TEXT * 200)[:size]
    for index in {0, size // 2, size - 1, max(0, size - 130)}:
        other = fingerprint_block_text(text[:index] + "#" + text[index + 1 :])
        assert other != fingerprint_block_text(text)


def test_the_form_is_diagnosed_for_blocks_of_every_wire_format() -> None:
    lab = DiagnosisLab()
    plain = Block("messages", 0, "text", {"role": "user", "content": FIRST})
    wrapped = Block(
        "messages",
        0,
        "input_text",
        {"role": "user", "content": {"type": "input_text", "text": FIRST}},
    )
    tail = Block("messages", 1, "text", {"role": "user", "content": LAST})
    system = parse_chat("x").blocks[0]
    lab.diagnose_call(ParsedPrompt((system, plain)), input=3000)
    assert lab.diagnose_call(ParsedPrompt((system, wrapped, tail)), 1792, input=3100).hint == "form"


@pytest.mark.parametrize(
    ("before", "after", "hint"), [(0, 1, "image_added"), (1, 0, "image_removed")]
)
def test_an_image_beside_the_text_is_more_than_another_form(
    before: int, after: int, hint: str
) -> None:
    image_parts = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    contents = (SECOND, text_part(SECOND) + image_parts)
    lab = DiagnosisLab()
    lab.diagnose_call(parse_chat(FIRST, FIRST, contents[before]), input=4000)
    verdict = lab.diagnose_call(
        parse_chat(FIRST, FIRST, contents[after], LAST, "Yes."), 2048, input=4200
    )
    assert (verdict.reason, verdict.index, verdict.hint) == ("image_changed", 2, hint)
