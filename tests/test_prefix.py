"""The chain: equal beginnings have equal digests, nothing odd raises, and nothing leaves that should not."""

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

from promptcache.model import Block, Param, Prompt
from promptcache.plain import plain
from promptcache.prefix import Chain, Exporter, Hasher

HASHER = Hasher(b"k" * 16)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=8)
)
data = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def prompt(*items: Any, section: Any = "messages", params: tuple[Param, ...] = ()) -> Prompt:
    return Prompt(tuple(Block(section, at, "text", item) for at, item in enumerate(items)), params)


def chain(*items: Any) -> Chain:
    return HASHER.chain(prompt(*items))


@given(st.lists(data, max_size=6), data)
def test_appending_changes_no_earlier_link(items: list[Any], more: Any) -> None:
    before, after = chain(*items), chain(*items, more)
    assert after.links[:-1] == before.links
    assert after.own[:-1] == before.own


@given(st.lists(st.text(), min_size=1, max_size=6), st.data())
def test_one_changed_block_changes_every_link_from_there_on(
    items: list[str], draw: st.DataObject
) -> None:
    at = draw.draw(st.integers(0, len(items) - 1))
    other = [*items[:at], items[at] + "x", *items[at + 1 :]]
    here, there = chain(*items), chain(*other)
    assert here.links[:at] == there.links[:at]
    assert all(a != b for a, b in zip(here.links[at:], there.links[at:], strict=True))
    assert here.own[at + 1 :] == there.own[at + 1 :]


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
def test_other_bytes_are_another_block(one: Any, other: Any) -> None:
    assert chain(one).own != chain(other).own


def test_the_section_and_the_root_are_part_of_the_chain_but_not_of_the_block() -> None:
    system, message = (
        HASHER.chain(prompt("x", section=section)) for section in ("system", "messages")
    )
    assert system.own == message.own
    assert system.links != message.links
    assert HASHER.chain(prompt("x"), 7).links != HASHER.chain(prompt("x"), 8).links


def test_marks_are_counted_but_never_hashed() -> None:
    blocks = (
        Block("tools", 0, "t", "a"),
        Block("system", 0, "t", "b", "1h"),
        Block("messages", 0, "t", "c", ""),
    )
    marked = HASHER.chain(Prompt(blocks))
    bare = HASHER.chain(Prompt(tuple(Block(b.section, b.index, b.kind, b.data) for b in blocks)))
    assert marked.links == bare.links
    assert (marked.marks, bare.marks, marked.static) == ((2, 3), (), 2)


def test_the_key_decides_and_is_random_by_default() -> None:
    one, other = Hasher(), Hasher()
    assert one.own("x") != other.own("x")
    assert one.digest("x") != other.digest("x")
    assert Hasher(b"k").own("x") == Hasher(b"k").own("x")


class Word(str, Enum):  # noqa: UP042 - the older way is what applications do
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
def test_odd_data_is_hashed_steadily(odd: Any) -> None:
    assert HASHER.own([odd]) == HASHER.own([odd])
    assert HASHER.digest(odd) == HASHER.digest(odd)
    exported = Exporter().export(
        prompt(odd, section="system"), HASHER.chain(prompt(odd, section="system")), "m"
    )
    assert exported.system_hash is not None


def test_a_generator_is_not_consumed() -> None:
    seen: list[int] = []
    source = counting(seen)
    HASHER.own([source])
    HASHER.digest(source)
    assert seen == []
    assert list(source) == [0, 1, 2]


def test_plain_keeps_what_is_plain_and_names_what_is_not() -> None:
    assert plain({"a": (Word.YES, Number.ONE, Share(0.5), None, True)}) == {
        "a": ["yes", 1, 0.5, None, True]
    }
    assert plain(b"\x01") == {"bytes": "01"}
    assert plain(Sentinel()).endswith("Sentinel>")
    assert plain(endless()) == ["<endless>"]
    assert "<endless>" in str(plain(deep()))


# Exported hashes

PINNED = (
    "p1:9c82815d783cada6",
    "p1:734ecece4dd6608c",
    "p1:3338d7dfae2929a4",
    "p1:c2ad17239b20828f",
)
STATIC = Prompt(
    (
        Block("tools", 0, "function", {"name": "f"}),
        Block("system", 0, "text", "be kind", "1h"),
        Block("messages", 0, "text", "hello", ""),
    ),
    (Param("effort", "high", "tools"), Param("prompt_cache_key", "user-1", "tools")),
)


def export(exporter: Exporter, given: Prompt = STATIC, model: str = "m") -> Any:
    return exporter.export(given, Hasher().chain(given), model)


def test_exported_hashes_are_the_same_in_every_process_and_release() -> None:
    found = export(Exporter())
    assert (found.hash, found.tools_hash, found.system_hash, found.scope_hash) == PINNED
    assert found.breakpoints == ("system[0] 1h", "messages[0]")
    assert (found.blocks, found.complete, found.chain, found.chain_start) == (3, True, (), None)


def test_remembered_values_are_the_computed_ones() -> None:
    exporter, hasher = Exporter("secret", "all"), Hasher()
    given = hasher.chain(STATIC)
    assert (
        exporter.export(STATIC, given, "m")
        == exporter.export(STATIC, given, "m")
        == export(Exporter("secret", "all"))
    )


def test_without_a_key_no_free_text_and_no_message_is_covered() -> None:
    other = Prompt(
        (*STATIC.blocks[:2], Block("messages", 0, "text", "good bye", "")),
        (STATIC.params[0], Param("prompt_cache_key", "user-2", "tools")),
    )
    for key, hashes in ((None, "static"), (None, "all"), ("secret", "static")):
        assert export(Exporter(key, hashes)) == export(Exporter(key, hashes), other)
    assert (
        export(Exporter("secret", "all")).scope_hash
        != export(Exporter("secret", "all"), other).scope_hash
    )
    assert (
        export(Exporter("secret", "all")).chain[:2]
        == export(Exporter("secret", "all"), other).chain[:2]
    )
    assert (
        export(Exporter("secret", "all")).chain[2]
        != export(Exporter("secret", "all"), other).chain[2]
    )


def test_schemes_never_look_alike() -> None:
    public, secret, other = (export(Exporter(key)) for key in (None, "secret", "other"))
    assert public.hash.startswith("p1:")
    assert secret.hash.startswith("k1:")
    assert len({public.hash[3:], secret.hash[3:], other.hash[3:]}) == 3
    assert export(Exporter(hashes="none")).hash is None


def test_each_section_moves_its_own_hash() -> None:
    base = export(Exporter())
    tools = Prompt(
        (Block("tools", 0, "function", {"name": "g"}), *STATIC.blocks[1:]), STATIC.params
    )
    effort = Prompt(STATIC.blocks, (Param("effort", "low", "tools"),))
    assert export(Exporter(), tools).tools_hash != base.tools_hash
    assert export(Exporter(), tools).system_hash == base.system_hash
    assert export(Exporter(), effort).scope_hash != base.scope_hash
    assert export(Exporter(), effort).hash == base.hash != export(Exporter(), model="n").hash
    assert export(Exporter(), prompt("hi")).tools_hash is None


def test_only_the_last_64_block_ends_are_exported() -> None:
    found = export(Exporter("secret", "all"), prompt(*map(str, range(100))))
    assert (len(found.chain), found.chain_start) == (64, 36)


def test_the_hash_seed_of_the_interpreter_does_not_show() -> None:
    code = (
        "from promptcache.prefix import *; from promptcache.model import *\n"
        "p = Prompt((Block('system', 0, 'text', 'be kind'),))\n"
        "print(Exporter().export(p, Hasher().chain(p), 'm').hash)"
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
