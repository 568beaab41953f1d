"""The same text in another wrapping: whether a provider tells a string from one text part is documented nowhere."""

from __future__ import annotations

from typing import Any

import pytest

from promptcache.model import Block, ParsedPrompt, Request
from promptcache.prefix.fingerprint import fingerprint, first_difference
from promptcache.providers.openai import wire as openai
from tests.support.diagnosis_lab import FILLER, DiagnosisLab

WORDS = "Where is my parcel, please? "


def chat(*messages: Any, system: Any = FILLER) -> ParsedPrompt:
    roles = ("user", "assistant")
    said = [{"role": roles[at % 2], "content": content} for at, content in enumerate(messages)]
    body = {"model": "gpt-4.1", "messages": [{"role": "system", "content": system}, *said]}
    prompt = openai.CHAT.parse_prompt(
        Request("w", "openai", "chat", "gpt-4.1", "h", 443, False, body, b"", 0.0)
    )
    assert prompt is not None
    return prompt


def part(words: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": words}]


FIRST, SECOND, LAST = WORDS * 40, WORDS * 90, WORDS * 3
BEFORE, AFTER = chat(FIRST, SECOND), chat(FIRST, part(SECOND), LAST)


def test_a_string_and_its_text_part_are_different_blocks_as_sent() -> None:
    assert BEFORE.blocks[2].data != AFTER.blocks[2].data
    assert fingerprint(FIRST) != fingerprint(SECOND)


def test_a_provider_that_reads_both_alike_is_not_contradicted() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(BEFORE, input=4000)
    assert lab.diagnose_call(AFTER, 3968, input=4100).outcome == "hit"


def test_a_read_that_ends_at_the_other_form_shows_that_it_is_another_prefix() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(BEFORE, input=4000)
    said = lab.diagnose_call(AFTER, 2304, input=4100)
    assert (said.reason, said.section, said.index, said.offset, said.hint) == (
        "serialization_nondeterminism",
        "messages",
        1,
        0,
        "form",
    )


@pytest.mark.parametrize("read", [0, 3584])
def test_a_miss_that_begins_elsewhere_is_not_blamed_on_the_form(read: int) -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(BEFORE, input=4000)
    said = lab.diagnose_call(AFTER, read, input=4100)
    assert (said.outcome, said.reason, said.section) == (
        "partial" if read else "miss",
        "unknown",
        None,
    )


def test_a_system_prompt_in_another_form_is_no_edited_one() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(chat(FIRST, SECOND), input=4000)
    assert (
        lab.diagnose_call(chat(FIRST, SECOND, LAST, system=part(FILLER)), 0, input=4100).reason
        == "unknown"
    )


def test_other_words_in_another_form_are_rewritten() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(BEFORE, input=4000)
    said = lab.diagnose_call(chat(FIRST, part(SECOND[:-2] + "! "), LAST), 2304, input=4100)
    assert (said.reason, said.index) == ("history_rewritten", 1)


@pytest.mark.parametrize("size", [1, 63, 64, 65, 300, 2047, 5000])
def test_a_change_of_any_byte_shows_in_the_fingerprints(size: int) -> None:
    text = (WORDS * 200)[:size]
    for at in {0, size // 2, size - 1, max(0, size - 130)}:
        other = fingerprint(text[:at] + "#" + text[at + 1 :])
        assert other != fingerprint(text)
        start, end = first_difference(other, fingerprint(text))
        assert start <= at < end
    assert first_difference(fingerprint(text), fingerprint(text)) == (size, size)


def test_the_form_counts_for_blocks_of_every_wire() -> None:
    lab = DiagnosisLab()
    plain = Block("messages", 0, "text", {"role": "user", "content": FIRST})
    wrapped = Block(
        "messages",
        0,
        "input_text",
        {"role": "user", "content": {"type": "input_text", "text": FIRST}},
    )
    tail = Block("messages", 1, "text", {"role": "user", "content": LAST})
    system = chat("x").blocks[0]
    lab.diagnose_call(ParsedPrompt((system, plain)), input=3000)
    assert lab.diagnose_call(ParsedPrompt((system, wrapped, tail)), 1792, input=3100).hint == "form"


@pytest.mark.parametrize(
    ("before", "after", "hint"), [(0, 1, "image_added"), (1, 0, "image_removed")]
)
def test_an_image_beside_the_text_is_no_mere_form(before: int, after: int, hint: str) -> None:
    picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    contents = (SECOND, part(SECOND) + picture)
    lab = DiagnosisLab()
    lab.diagnose_call(chat(FIRST, FIRST, contents[before]), input=4000)
    said = lab.diagnose_call(chat(FIRST, FIRST, contents[after], LAST, "Yes."), 2048, input=4200)
    assert (said.reason, said.index, said.hint) == ("image_changed", 2, hint)
