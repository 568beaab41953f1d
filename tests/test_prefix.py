"""The chain: equal beginnings have equal digests, nothing odd raises, and nothing leaves that
should not."""

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

from promptcache.common.json_sanitize import to_plain_json
from promptcache.model import Block, Param, ParsedPrompt
from promptcache.prefix.hashing import HashChain, InProcessHasher, PrefixHasher

HASHER = InProcessHasher(b"k" * 16)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=8)
)
data = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def prompt(*items: Any, section: Any = "messages", params: tuple[Param, ...] = ()) -> ParsedPrompt:
    return ParsedPrompt(
        tuple(Block(section, at, "text", item) for at, item in enumerate(items)), params
    )


def chain(*items: Any) -> HashChain:
    return HASHER.hash_prompt(prompt(*items))


@given(st.lists(data, max_size=6), data)
def test_appending_a_block_changes_no_earlier_digest(items: list[Any], more: Any) -> None:
    before, after = chain(*items), chain(*items, more)
    assert after.prefix_digests[:-1] == before.prefix_digests
    assert after.block_digests[:-1] == before.block_digests


@given(st.lists(st.text(), min_size=1, max_size=6), st.data())
def test_a_changed_block_changes_every_later_prefix_digest(
    items: list[str], draw: st.DataObject
) -> None:
    at = draw.draw(st.integers(0, len(items) - 1))
    other = [*items[:at], items[at] + "x", *items[at + 1 :]]
    here, there = chain(*items), chain(*other)
    assert here.prefix_digests[:at] == there.prefix_digests[:at]
    assert all(
        a != b for a, b in zip(here.prefix_digests[at:], there.prefix_digests[at:], strict=True)
    )
    assert here.block_digests[at + 1 :] == there.block_digests[at + 1 :]


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
    assert chain(one).block_digests != chain(other).block_digests


def test_section_and_root_change_the_prefix_digest_and_not_the_block_digest() -> None:
    system, message = (
        HASHER.hash_prompt(prompt("x", section=section)) for section in ("system", "messages")
    )
    assert system.block_digests == message.block_digests
    assert system.prefix_digests != message.prefix_digests
    assert (
        HASHER.hash_prompt(prompt("x"), 7).prefix_digests
        != HASHER.hash_prompt(prompt("x"), 8).prefix_digests
    )


def test_breakpoints_are_counted_and_not_hashed() -> None:
    blocks = (
        Block("tools", 0, "t", "a"),
        Block("system", 0, "t", "b", "1h"),
        Block("messages", 0, "t", "c", ""),
    )
    marked = HASHER.hash_prompt(ParsedPrompt(blocks))
    bare = HASHER.hash_prompt(
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

    __str__ = __bool__ = __eq__ = __hash__ = __repr__  # type: ignore[assignment]  # all of them must stay untouched


def endless() -> Any:
    inside: list[Any] = []
    inside.append(inside)
    return inside


def deep() -> Any:
    inside: Any = "core"
    for _ in range(3000):
        inside = [inside]
    return inside


def counting(seen: list[int]) -> Iterator[int]:
    for number in range(3):
        seen.append(number)
        yield number


ODD: list[Any] = [
    float("nan"),
    "\ud800",
    b"x",
    bytearray(b"x"),
    memoryview(b"xyz")[::2],
    Word.YES,
    Number.ONE,
    Share(0.5),
    Sentinel(),
    endless(),
    deep(),
    {1: 2, (1, 2): 3, None: 4},
    {1, 2},
    (1, [Word.YES]),
    OrderedDict(a=Sentinel()),
    1 << 5000,
    object,
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_unusual_data_has_the_same_hash_each_time(odd: Any) -> None:
    assert HASHER.hash_data([odd]) == HASHER.hash_data([odd])
    assert HASHER.keyed_digest(odd) == HASHER.keyed_digest(odd)
    exported = PrefixHasher().hash_prefix(
        prompt(odd, section="system"), HASHER.hash_prompt(prompt(odd, section="system")), "m"
    )
    assert exported.system_hash is not None


def test_a_generator_is_not_consumed() -> None:
    seen: list[int] = []
    source = counting(seen)
    HASHER.hash_data([source])
    HASHER.keyed_digest(source)
    assert seen == []
    assert list(source) == [0, 1, 2]


def test_plain_json_keeps_json_values_and_describes_other_values() -> None:
    assert to_plain_json({"a": (Word.YES, Number.ONE, Share(0.5), None, True)}) == {
        "a": ["yes", 1, 0.5, None, True]
    }
    assert to_plain_json(b"\x01") == {"bytes": "01"}
    assert to_plain_json(Sentinel()).endswith("Sentinel>")
    assert to_plain_json(endless()) == ["<endless>"]
    assert "<endless>" in str(to_plain_json(deep()))


# Exported hashes

PINNED = (
    "p1:9c82815d783cada6",
    "p1:734ecece4dd6608c",
    "p1:3338d7dfae2929a4",
    "p1:c2ad17239b20828f",
)
STATIC = ParsedPrompt(
    (
        Block("tools", 0, "function", {"name": "f"}),
        Block("system", 0, "text", "be kind", "1h"),
        Block("messages", 0, "text", "hello", ""),
    ),
    (Param("effort", "high", "tools"), Param("prompt_cache_key", "user-1", "tools")),
)


def export(exporter: PrefixHasher, given: ParsedPrompt = STATIC, model: str = "m") -> Any:
    return exporter.hash_prefix(given, InProcessHasher().hash_prompt(given), model)


def test_exported_hashes_are_the_same_in_every_process_and_release() -> None:
    found = export(PrefixHasher())
    assert (found.hash, found.tools_hash, found.system_hash, found.scope_hash) == PINNED
    assert found.breakpoints == ("system[0] 1h", "messages[0]")
    assert (found.block_count, found.is_complete, found.chain, found.chain_start) == (
        3,
        True,
        (),
        None,
    )


def test_a_cached_hash_equals_a_computed_hash() -> None:
    exporter, hasher = PrefixHasher("secret", "all"), InProcessHasher()
    given = hasher.hash_prompt(STATIC)
    assert (
        exporter.hash_prefix(STATIC, given, "m")
        == exporter.hash_prefix(STATIC, given, "m")
        == export(PrefixHasher("secret", "all"))
    )


def test_hashes_of_messages_and_free_text_need_a_key() -> None:
    other = ParsedPrompt(
        (*STATIC.blocks[:2], Block("messages", 0, "text", "good bye", "")),
        (STATIC.params[0], Param("prompt_cache_key", "user-2", "tools")),
    )
    for key, hashes in ((None, "static"), (None, "all"), ("secret", "static")):
        assert export(PrefixHasher(key, hashes)) == export(PrefixHasher(key, hashes), other)
    assert (
        export(PrefixHasher("secret", "all")).scope_hash
        != export(PrefixHasher("secret", "all"), other).scope_hash
    )
    assert (
        export(PrefixHasher("secret", "all")).chain[:2]
        == export(PrefixHasher("secret", "all"), other).chain[:2]
    )
    assert (
        export(PrefixHasher("secret", "all")).chain[2]
        != export(PrefixHasher("secret", "all"), other).chain[2]
    )


def test_keyed_and_unkeyed_hashes_differ_in_prefix_and_digits() -> None:
    public, secret, other = (export(PrefixHasher(key)) for key in (None, "secret", "other"))
    assert public.hash.startswith("p1:")
    assert secret.hash.startswith("k1:")
    assert len({public.hash[3:], secret.hash[3:], other.hash[3:]}) == 3
    assert export(PrefixHasher(hashes="none")).hash is None


def test_a_changed_section_changes_its_own_hash() -> None:
    base = export(PrefixHasher())
    tools = ParsedPrompt(
        (Block("tools", 0, "function", {"name": "g"}), *STATIC.blocks[1:]), STATIC.params
    )
    effort = ParsedPrompt(STATIC.blocks, (Param("effort", "low", "tools"),))
    assert export(PrefixHasher(), tools).tools_hash != base.tools_hash
    assert export(PrefixHasher(), tools).system_hash == base.system_hash
    assert export(PrefixHasher(), effort).scope_hash != base.scope_hash
    assert (
        export(PrefixHasher(), effort).hash == base.hash != export(PrefixHasher(), model="n").hash
    )
    assert export(PrefixHasher(), prompt("hi")).tools_hash is None


def test_only_the_last_64_block_ends_are_exported() -> None:
    found = export(PrefixHasher("secret", "all"), prompt(*map(str, range(100))))
    assert (len(found.chain), found.chain_start) == (64, 36)


def test_a_prefix_hash_does_not_depend_on_pythonhashseed() -> None:
    code = (
        "from promptcache.prefix.hashing import *; from promptcache.model import *\n"
        "p = ParsedPrompt((Block('system', 0, 'text', 'be kind'),))\n"
        "print(PrefixHasher().hash_prefix(p, InProcessHasher().hash_prompt(p), 'm').hash)"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(runs) == 1
