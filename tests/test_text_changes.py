"""Find what changed inside a text of which only fingerprints are known."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptcache.diagnosis.memory import PastCallMemory, PrefixNode
from promptcache.diagnosis.text_changes import TextChange, find_text_change
from promptcache.diagnosis.volatile_values import name_value
from promptcache.prefix.fingerprint import (
    BlockDetails,
    BlockFingerprint,
    describe_message,
    describe_static_block,
    encode_utf8_with_surrogates,
    first_changed_step_range,
    shared_fraction,
)
from promptcache.prefix.words import (
    HASH_BYTES,
    count_equal_last_words,
    count_equal_words,
    locate_words,
    sample_words,
)

PLAIN = "The agent reads the order, checks the policy and answers in plain words. "
DATED = "Orders placed before 2024-03-05 ship on 5 May 2023 at 10:30, see KB-4711 (v3.4.1). "


def find_change(old: str, new: str) -> TextChange:
    here, there = describe_static_block(new, new), describe_static_block(old, old)
    sizes = len(new.encode()), len(old.encode())
    return find_text_change(new, here, there, first_changed_step_range(here, there, *sizes))


def test_an_old_date_far_behind_the_first_words_is_not_blamed() -> None:
    old = PLAIN * 200 + DATED * 20
    new = old.replace("see KB", "please see KB", 1)
    assert find_change(old, new).kind == "content"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Status: draft (since 2024-03-05)", "Status: final (since 2024-03-05)"),
        ("Ask first. ", "Ask first. From 2026-02-03 on, returns go to the new warehouse in Lyon. "),
        ("Due 2024-03-05. Ask first. ", "Due 2026-01-09. Wait until the user has confirmed it. "),
        ("It is due 2024-03-05 today. ", "It is due today. "),
        ("Answer in short paragraphs. ", "Answer in short paragraphs! "),
        ("Use the model gpt-4o-mini. ", "Use the model gpt-4o-nano. "),
    ],
)
def test_an_edit_beside_a_value_is_content(old: str, new: str) -> None:
    assert find_change(PLAIN + old + PLAIN * 3, PLAIN + new + PLAIN * 3).kind == "content"


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("2026-11-20", "2026-11-21", "date"),
        ("11/20/2026", "11/21/2026", "date"),
        ("November 3, 2026", "December 4, 2026", "date"),
        ("28. November", "29. November", "date"),
        ("28 novembre", "1 décembre", "date"),
        ("28-Nov-2026", "29-Nov-2026", "date"),
        ("2026-W41", "2026-W42", "date"),
        ("10:31:07", "10:32:08", "timestamp"),
        ("2026-11-20T10:31:07Z", "2026-11-20T10:31:09Z", "timestamp"),
        ("1795000000", "1795000061", "timestamp"),
        ("3 minutes ago", "1 hour ago", "relative_time"),
        (
            "0b9c4a52-6d1e-4c6b-9d3f-1a2b3c4d5e6f",
            "7f1c4a52-6d1e-4c6b-9d3f-9a2b3c4d5e6f",
            "uuid",
        ),
        ("01KA6X0S9Y7ZJ5Q8W3E1R4T6YV", "01KA6X0TQ27ZJ5Q8W3E1R4T6YV", "ulid"),
        ("V1StGXR8_Z5jdHi6B-myT", "k2PwQmZ9-aB3cD4eF_gHi", "random_id"),
        ("eyJhbGciOiJI.eyJzdWIiOiJ1.c2lnbmVk", "eyJhbGciOiJI.eyJzdWIiOiJ2.ZWxzZXdo", "jwt"),
        ("a3f91c2", "b81e0d4", "hex_id"),
        ("req_0a1b2c3d4e5f60", "req_ff1b2c3d4e5f61", "hex_id"),
        ("203.0.113.10", "203.0.113.17", "ip_address"),
        ("10.0.3.17", "10.0.3.91", "ip_address"),
        ("2001:db8::1f", "2001:db8::2a", "ip_address"),
        ("28 november", "29 november", "date"),
        ("28 listopada 2026", "29 listopada 2026", "date"),
        ("28 ноября 2026", "1 декабря 2026", "date"),
        ("2026년 11월 28일", "2026년 11월 29일", "date"),
        ("Q3 2026", "Q4 2026", "date"),
        ("U02ABC9EF12", "U03ZYX7VU98", "random_id"),
        ("1041", "1042", "counter"),
        ("Amélie Dupont", "Bartosz Zieliński", "name_like"),
        ("Jan de Vries", "Grace Okafor", "name_like"),
    ],
)
@pytest.mark.parametrize("place", ["front", "end"])
def test_a_value_that_changed_is_named(old: str, new: str, hint: str, place: str) -> None:
    head = DATED * 3 + "Current value: " if place == "front" else PLAIN * 300 + "It is now "
    tail = ".\n" + DATED * 30
    change = find_change(f"{head}{old}{tail}", f"{head}{new}{tail}")
    assert (change.kind, change.hint, change.offset) == ("value", hint, len(head.encode()))
    assert change.is_ambiguous == (hint in {"counter", "name_like"})


def test_a_word_that_is_no_value_has_no_name() -> None:
    assert name_value("nothing to see", [(0, 7)]) is None
    assert name_value("Ann is here", [(0, 3)]) is None  # every sentence begins with a capital


QUOTED = 'Say "Grüß Gott" - don\'t say "Hi".\n- First, greet.\n- Then ask.\n'
RECORD = {"id": "KB-4711", "city": "Zürich", "total": 12.5, "note": "x", "b": {"c": 1, "a": 2}}


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        (QUOTED, QUOTED.replace("\n", "\r\n"), "whitespace"),
        (QUOTED, unicodedata.normalize("NFD", QUOTED), "unicode"),
        (QUOTED, QUOTED.replace(' "', " \u201c").replace(" - ", " \u2013 "), "typography"),
        ('Set "65\\"".', "Set \u201c65\\\u201d\u201d.", "typography"),
        (QUOTED, QUOTED.replace("\n- ", "\n* "), "typography"),
        (json.dumps(RECORD, ensure_ascii=False), json.dumps(RECORD), "unicode"),
        (json.dumps(RECORD), json.dumps(RECORD, indent=2), "whitespace"),
        (json.dumps(RECORD), json.dumps(RECORD, sort_keys=True), "key_order"),
    ],
)
@pytest.mark.parametrize("is_nested", [False, True])
def test_a_changed_form_is_named(old: str, new: str, hint: str, is_nested: bool) -> None:
    texts = [PLAIN + text + PLAIN for text in (old, new)]
    if is_nested:  # as Anthropic's tool results are, inside of the JSON of their block
        texts = [json.dumps({"content": text}, ensure_ascii=False) for text in texts]
        here, there = (describe_message(text) for text in reversed(texts))
        change = find_text_change(texts[1], here, there, None)
    else:
        change = find_change(*texts)
    assert (change.kind, change.hint) == ("form", hint)


def test_sentences_in_another_order_are_no_key_order() -> None:
    parts = [f'Example {n}: "label": {{"intent": "i{n}", "n": {n}}}\n' for n in range(5)]
    change = find_change("".join(parts), "".join([parts[3], *parts[:3], parts[4]]))
    assert (change.kind, change.hint) == ("content", "reordered")


@given(st.text(min_size=1, max_size=3000), st.integers(0, 3000), st.text(min_size=1, max_size=9))
def test_any_change_is_found_without_an_error(before: str, at: int, inserted: str) -> None:
    after = before[: min(at, len(before))] + inserted + before[min(at, len(before)) :]
    new, old = describe_static_block(after, after), describe_static_block(before, before)
    sizes = len(encode_utf8_with_surrogates(after)), len(encode_utf8_with_surrogates(before))
    step = first_changed_step_range(new, old, *sizes)
    assert step is not None
    first = next(
        (
            at
            for at, (one, other) in enumerate(
                zip(
                    encode_utf8_with_surrogates(after),
                    encode_utf8_with_surrogates(before),
                    strict=False,
                )
            )
            if one != other
        ),
        min(sizes),
    )
    assert step[0] <= first <= step[1]
    change = find_text_change(after, new, old, step)
    assert change.offset is None or 0 <= change.offset <= sizes[0] + 16
    assert 0 <= shared_fraction(new, old) <= 1


@given(st.lists(st.sampled_from("abc"), max_size=300), st.lists(st.sampled_from("abc")))
def test_equal_words_are_counted_from_both_ends(one: list[str], other: list[str]) -> None:
    here, there = (sample_words(" ".join(side).encode(), 9999, 9).head for side in (one, other))
    pairs = list(zip(one, other, strict=False))
    front = next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
    pairs = list(zip(reversed(one), reversed(other), strict=False))
    back = next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
    assert (count_equal_words(here, there), count_equal_last_words(here, there)) == (front, back)


def test_words_are_located_in_bytes() -> None:
    raw = "Grüß „Gott“, 2026-11-20\\nnext".encode()
    words = [raw[start:end].decode() for start, end in locate_words(raw, 0, 9)]
    assert words == ["Grüß", "Gott", "2026", "11", "20", "next"]
    assert locate_words(raw, 9, 2) == []


def test_a_long_message_has_words_of_its_beginning_and_its_end() -> None:
    words = describe_message("word " * 4000).words
    assert (words.is_complete, len(words.head) + len(words.tail)) == (False, 2 * words.word_count)
    assert words.word_count < 1024 // 5 + 3
    long = describe_message("a " * 4000)
    assert long.memory_bytes <= 320 + 1024 // 2 * HASH_BYTES


def test_the_details_of_all_blocks_are_bounded_in_bytes() -> None:
    memory, details = PastCallMemory(), describe_static_block("", "word and number 7 " * 4000)
    for number in range(2000):
        node = PrefixNode(number, 0, number, "system", 0, "text", 9, 9, BlockFingerprint(9, number))
        memory.store_details(node.block_digest, details)
    held = [memory.block_details.get(number) for number in range(2000)]
    assert 0 < sum(one.memory_bytes for one in held if one is not None) <= 16_000_000
    assert isinstance(held[-1], BlockDetails)
