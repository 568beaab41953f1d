"""Equal prefixes have equal digests, and exported hashes reveal no more than the settings allow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator
from enum import Enum, IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptcache.common.json_sanitize import sanitize_for_json
from promptcache.model import Block, Param, ParsedPrompt
from promptcache.prefix.hashing import ExportedPrefixHasher, InProcessHasher, PromptDigests

HASHER = InProcessHasher(b"k" * 16)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=8)
)
data = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def make_prompt(
    *items: Any, section: Any = "messages", params: tuple[Param, ...] = ()
) -> ParsedPrompt:
    return ParsedPrompt(
        tuple(Block(section, at, "text", item) for at, item in enumerate(items)), params
    )


def hash_items(*items: Any) -> PromptDigests:
    return HASHER.digest_prompt_blocks(make_prompt(*items))


@given(st.lists(data, max_size=6), data)
def test_appending_a_block_changes_no_earlier_digest(items: list[Any], more: Any) -> None:
    before, after = hash_items(*items), hash_items(*items, more)
    assert after.prefix_digests[:-1] == before.prefix_digests
    assert after.block_digests[:-1] == before.block_digests


@given(st.lists(st.text(), min_size=1, max_size=6), st.data())
def test_a_changed_block_changes_every_later_prefix_digest(
    items: list[str], draw: st.DataObject
) -> None:
    at = draw.draw(st.integers(0, len(items) - 1))
    other = [*items[:at], items[at] + "x", *items[at + 1 :]]
    original, changed = hash_items(*items), hash_items(*other)
    assert original.prefix_digests[:at] == changed.prefix_digests[:at]
    assert all(
        a != b
        for a, b in zip(original.prefix_digests[at:], changed.prefix_digests[at:], strict=True)
    )
    assert original.block_digests[at + 1 :] == changed.block_digests[at + 1 :]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (1, 1.0),
        (1, True),
        ("", None),
        ("caf\u00e9", "cafe\u0301"),
        ([], {}),
        ("\ud800", "\ud801"),
    ],
)
def test_different_values_have_different_block_digests(one: Any, other: Any) -> None:
    assert hash_items(one).block_digests != hash_items(other).block_digests


def test_section_and_root_change_the_prefix_digest_and_not_the_block_digest() -> None:
    system, message = (
        HASHER.digest_prompt_blocks(make_prompt("x", section=section))
        for section in ("system", "messages")
    )
    assert system.block_digests == message.block_digests
    assert system.prefix_digests != message.prefix_digests
    assert (
        HASHER.digest_prompt_blocks(make_prompt("x"), 7).prefix_digests
        != HASHER.digest_prompt_blocks(make_prompt("x"), 8).prefix_digests
    )


def test_breakpoints_are_counted_and_not_hashed() -> None:
    blocks = (
        Block("tools", 0, "t", "a"),
        Block("system", 0, "t", "b", "1h"),
        Block("messages", 0, "t", "c", ""),
    )
    marked = HASHER.digest_prompt_blocks(ParsedPrompt(blocks))
    bare = HASHER.digest_prompt_blocks(
        ParsedPrompt(tuple(Block(b.section, b.index, b.kind, b.data) for b in blocks))
    )
    assert marked.prefix_digests == bare.prefix_digests
    assert (marked.breakpoint_depths, bare.breakpoint_depths, marked.static_depth) == (
        (2, 3),
        (),
        2,
    )


def test_digests_depend_on_a_key_that_is_random_by_default() -> None:
    one, other = InProcessHasher(), InProcessHasher()
    assert one.hash_data("x") != other.hash_data("x")
    assert one.keyed_digest("x") != other.keyed_digest("x")
    assert InProcessHasher(b"k").hash_data("x") == InProcessHasher(b"k").hash_data("x")


class Word(str, Enum):  # noqa: UP042
    YES = "yes"


class Number(IntEnum):
    ONE = 1


class Share(float):
    pass


class Sentinel:
    def __repr__(self) -> str:
        raise AssertionError("no method of a foreign class is called")

    __str__ = __bool__ = __eq__ = __hash__ = __repr__  # type: ignore[assignment]  # see __repr__


def make_cyclic_list() -> Any:
    nested: list[Any] = []
    nested.append(nested)
    return nested


def make_deep_list() -> Any:
    nested: Any = "core"
    for _ in range(3000):
        nested = [nested]
    return nested


def yield_and_record(yielded: list[int]) -> Iterator[int]:
    for number in range(3):
        yielded.append(number)
        yield number


UNUSUAL_VALUES: list[Any] = [
    float("nan"),
    "\ud800",
    b"x",
    bytearray(b"x"),
    memoryview(b"xyz")[::2],
    Word.YES,
    Number.ONE,
    Share(0.5),
    Sentinel(),
    make_cyclic_list(),
    make_deep_list(),
    {1: 2, (1, 2): 3, None: 4},
    {1, 2},
    (1, [Word.YES]),
    OrderedDict(a=Sentinel()),
    1 << 5000,
    object,
]


@pytest.mark.parametrize("value", UNUSUAL_VALUES, ids=lambda value: type(value).__name__)
def test_unusual_data_has_the_same_hash_each_time(value: Any) -> None:
    assert HASHER.hash_data([value]) == HASHER.hash_data([value])
    assert HASHER.keyed_digest(value) == HASHER.keyed_digest(value)
    exported = ExportedPrefixHasher().compute_prefix_hashes(
        make_prompt(value, section="system"),
        HASHER.digest_prompt_blocks(make_prompt(value, section="system")),
        "m",
    )
    assert exported.system_hash is not None


def test_a_generator_is_not_consumed() -> None:
    yielded: list[int] = []
    source = yield_and_record(yielded)
    HASHER.hash_data([source])
    HASHER.keyed_digest(source)
    assert yielded == []
    assert list(source) == [0, 1, 2]


def test_plain_json_keeps_json_values_and_describes_other_values() -> None:
    assert sanitize_for_json({"a": (Word.YES, Number.ONE, Share(0.5), None, True)}) == {
        "a": ["yes", 1, 0.5, None, True]
    }
    assert sanitize_for_json(b"\x01") == {"bytes": "01"}
    assert sanitize_for_json(Sentinel()).endswith("Sentinel>")
    assert sanitize_for_json(make_cyclic_list()) == ["<endless>"]
    assert "<endless>" in str(sanitize_for_json(make_deep_list()))


# Exported hashes

PINNED_HASHES = (
    "p1:9c82815d783cada6",
    "p1:734ecece4dd6608c",
    "p1:3338d7dfae2929a4",
    "p1:c2ad17239b20828f",
)
PROMPT = ParsedPrompt(
    (
        Block("tools", 0, "function", {"name": "f"}),
        Block("system", 0, "text", "be kind", "1h"),
        Block("messages", 0, "text", "hello", ""),
    ),
    (Param("effort", "high", "tools"), Param("prompt_cache_key", "user-1", "tools")),
)


def hash_for_export(
    exporter: ExportedPrefixHasher, prompt: ParsedPrompt = PROMPT, model: str = "m"
) -> Any:
    return exporter.compute_prefix_hashes(
        prompt, InProcessHasher().digest_prompt_blocks(prompt), model
    )


def test_exported_hashes_are_the_same_in_every_process_and_release() -> None:
    hashes = hash_for_export(ExportedPrefixHasher())
    assert (hashes.hash, hashes.tools_hash, hashes.system_hash, hashes.scope_hash) == PINNED_HASHES
    assert hashes.breakpoints == ("system[0] 1h", "messages[0]")
    assert (hashes.block_count, hashes.is_complete, hashes.chain, hashes.chain_start) == (
        3,
        True,
        (),
        None,
    )


def test_a_cached_hash_equals_a_computed_hash() -> None:
    exporter, hasher = ExportedPrefixHasher("secret", "all"), InProcessHasher()
    chain = hasher.digest_prompt_blocks(PROMPT)
    assert (
        exporter.compute_prefix_hashes(PROMPT, chain, "m")
        == exporter.compute_prefix_hashes(PROMPT, chain, "m")
        == hash_for_export(ExportedPrefixHasher("secret", "all"))
    )


def test_hashes_of_messages_and_free_text_need_a_key() -> None:
    other = ParsedPrompt(
        (*PROMPT.blocks[:2], Block("messages", 0, "text", "good bye", "")),
        (PROMPT.params[0], Param("prompt_cache_key", "user-2", "tools")),
    )
    for key, hashes in ((None, "static"), (None, "all"), ("secret", "static")):
        assert hash_for_export(ExportedPrefixHasher(key, hashes)) == hash_for_export(
            ExportedPrefixHasher(key, hashes), other
        )
    assert (
        hash_for_export(ExportedPrefixHasher("secret", "all")).scope_hash
        != hash_for_export(ExportedPrefixHasher("secret", "all"), other).scope_hash
    )
    assert (
        hash_for_export(ExportedPrefixHasher("secret", "all")).chain[:2]
        == hash_for_export(ExportedPrefixHasher("secret", "all"), other).chain[:2]
    )
    assert (
        hash_for_export(ExportedPrefixHasher("secret", "all")).chain[2]
        != hash_for_export(ExportedPrefixHasher("secret", "all"), other).chain[2]
    )


def test_keyed_and_unkeyed_hashes_differ_in_prefix_and_digits() -> None:
    public, secret, other = (
        hash_for_export(ExportedPrefixHasher(key)) for key in (None, "secret", "other")
    )
    assert public.hash.startswith("p1:")
    assert secret.hash.startswith("k1:")
    assert len({public.hash[3:], secret.hash[3:], other.hash[3:]}) == 3
    assert hash_for_export(ExportedPrefixHasher(hashes="none")).hash is None


def test_a_changed_section_changes_its_own_hash() -> None:
    base = hash_for_export(ExportedPrefixHasher())
    tools = ParsedPrompt(
        (Block("tools", 0, "function", {"name": "g"}), *PROMPT.blocks[1:]), PROMPT.params
    )
    effort = ParsedPrompt(PROMPT.blocks, (Param("effort", "low", "tools"),))
    assert hash_for_export(ExportedPrefixHasher(), tools).tools_hash != base.tools_hash
    assert hash_for_export(ExportedPrefixHasher(), tools).system_hash == base.system_hash
    assert hash_for_export(ExportedPrefixHasher(), effort).scope_hash != base.scope_hash
    assert (
        hash_for_export(ExportedPrefixHasher(), effort).hash
        == base.hash
        != hash_for_export(ExportedPrefixHasher(), model="n").hash
    )
    assert hash_for_export(ExportedPrefixHasher(), make_prompt("hi")).tools_hash is None


def test_only_the_last_64_block_ends_are_exported() -> None:
    hashes = hash_for_export(
        ExportedPrefixHasher("secret", "all"), make_prompt(*map(str, range(100)))
    )
    assert (len(hashes.chain), hashes.chain_start) == (64, 36)


def test_a_prefix_hash_does_not_depend_on_pythonhashseed() -> None:
    code = (
        "from promptcache.prefix.hashing import *; from promptcache.model import *\n"
        "p = ParsedPrompt((Block('system', 0, 'text', 'be kind'),))\n"
        "digests = InProcessHasher().digest_prompt_blocks(p)\n"
        "print(ExportedPrefixHasher().compute_prefix_hashes(p, digests, 'm').hash)"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(outputs) == 1
