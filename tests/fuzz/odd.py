"""Odd values that an application or a server may send."""

from __future__ import annotations

import datetime
import decimal
import inspect
import uuid
from collections import UserDict
from collections.abc import Callable, Generator
from enum import IntEnum, StrEnum
from random import Random
from types import MappingProxyType, SimpleNamespace
from typing import Any, Final

import openai
from openai import NOT_GIVEN, Omit

from tests.support.call_shapes import SYSTEM, Reply

TEN_MEGABYTES: Final = "line of a log, 2026-11-20T10:00:00Z, ok\n" * (10 * 2**20 // 40)
"""A block of 10 MB."""


class UntouchableObject:
    """An object of the application whose methods raise."""

    def _never(self, *_: Any) -> Any:
        raise AssertionError("an object of the application's was touched")

    __eq__ = __hash__ = __len__ = __iter__ = __bool__ = __str__ = __repr__ = __contains__ = (
        __getitem__
    ) = _never


class RoleEnum(StrEnum):
    USER = "user"


class CountEnum(IntEnum):
    TEN = 10


class TextSubclass(str):
    __slots__ = ()


def _yield_item() -> Generator[str]:
    yield "consumed"


def _make_cycle() -> Any:
    ring: dict[str, Any] = {"type": "text"}
    ring["content"] = [ring]
    return ring


def _make_nested(depth: int) -> Any:
    nest: Any = "bottom"
    for level in range(depth):
        nest = [nest] if level % 2 else {"content": nest}
    return nest


JSON_VALUES: Final[tuple[Callable[[Random], Any], ...]] = (
    lambda rng: None,
    lambda rng: rng.choice((True, False)),
    lambda rng: rng.choice((0, -1, 1, -(2**63), 2**63, 2**64, 10**12, 10**400, 4096)),
    lambda rng: rng.choice(
        (float("nan"), float("inf"), float("-inf"), -0.0, 0.5, -1.5, 1e308, 5e-324, 3.0)
    ),
    lambda rng: rng.choice(
        ("", " ", "\ud800", "a\udfffb", "\x00", "é" * 9, "🦊", "null", "NaN", "-1", "12", "text")
    ),
    lambda rng: {},
    lambda rng: [],
    lambda rng: [[]],
    lambda rng: dict[str, Any]({"": None, "type": {}, "content": [None, 1, "x", [[]]]}),
    lambda rng: {"text": "x" * rng.randrange(3000), "\ud800": ["\udc00"]},
    lambda rng: [rng.randrange(-9, 99) for _ in range(rng.randrange(9))],
    lambda rng: _make_nested(rng.choice((3, 9, 60))),
)
"""Values that JSON can encode."""

PYTHON_VALUES: Final[tuple[Callable[[Random], Any], ...]] = (
    lambda rng: rng.choice((NOT_GIVEN, Omit(), ..., object, object())),
    lambda rng: rng.choice((b"bytes", bytearray(b"more"), memoryview(b"view"), b"")),
    lambda rng: UntouchableObject(),
    lambda rng: _yield_item(),
    lambda rng: map(str, _yield_item()),
    lambda rng: iter(["consumed"]),
    lambda rng: _make_cycle(),
    lambda rng: _make_nested(rng.choice((150, 300, 3000))),
    lambda rng: rng.choice((RoleEnum.USER, CountEnum.TEN, TextSubclass("sub"), 1j)),
    lambda rng: rng.choice(
        (decimal.Decimal("NaN"), datetime.datetime.now(), uuid.UUID(int=7), range(3))
    ),
    lambda rng: rng.choice(({1, 2}, frozenset({"a"}), (1, (2,)), {1: "one", None: 2, ("a",): [3]})),
    lambda rng: rng.choice(
        (UserDict(type="text", text="u"), MappingProxyType({"type": "text"}), SimpleNamespace(a=1))
    ),
    lambda rng: rng.choice(
        (Reply(text="model"), Reply, openai.APIError, ValueError("canary"), len)
    ),
)
"""Values that only an application in the same process can pass."""


class OddValueMaker:
    """Makes odd values from valid ones. With `plain` it makes only JSON values."""

    def __init__(self, rng: Random, *, plain: bool = False, rate: float = 0.06) -> None:
        self.rng, self._rate = rng, rng.choice((0.0, rate, rate, 4 * rate))
        self._plain = plain
        self.values: list[Any] = []

    def value(self) -> Any:
        """Return an unexpected value."""
        kinds = JSON_VALUES if self._plain or self.rng.random() < 0.6 else PYTHON_VALUES
        value = (
            TEN_MEGABYTES
            if not self._plain and self.rng.random() < 0.0005
            else self.rng.choice(kinds)(self.rng)
        )
        self.values.append(value)
        return value

    def tree(self, tree: Any) -> Any:
        """Return `tree` with parts omitted, repeated or replaced. Functions in it make values."""
        rng = self.rng
        untyped: Any = tree  # narrowed types of containers are unknown to a type checker
        if rng.random() < self._rate:
            return self.value()
        if callable(tree):
            return self.tree(tree(rng))
        if isinstance(tree, dict):
            fields: dict[str, Any] = untyped
            fields_left = {
                name: self.tree(value)
                for name, value in fields.items()
                if rng.random() > self._rate
            }
            return (
                MappingProxyType(fields_left)
                if not self._plain and rng.random() < self._rate / 9
                else fields_left
            )
        if isinstance(tree, list):
            entries: list[Any] = untyped
            many = (1, 1, 1, 1, rng.randrange(4))
            grown = [self.tree(entry) for entry in entries for _ in range(rng.choice(many))]
            return grown if self._plain or rng.random() > self._rate else tuple(grown)
        return tree

    def untouched(self) -> bool:
        """Return whether no generator was read."""
        return all(
            inspect.getgeneratorstate(one) == "GEN_CREATED"
            for one in self.values
            if inspect.isgenerator(one)
        )


TOKEN_COUNTS: Final = (0, 0, 1, 7, 900, 1024, 4096, 20_000, 10**6, 10**11, 10**12 - 1)


def make_count(rng: Random) -> int:
    """Return a token count."""
    return rng.choice(TOKEN_COUNTS) + rng.randrange(3)


def make_text(rng: Random) -> str:
    """Return a text that another request may share in part."""
    start = rng.choice(("", SYSTEM[:9000], SYSTEM[:500], "Hello. " * 30))
    stamp = rng.choice(
        (
            "",
            "",
            f"Today is 2026-11-{rng.randrange(10, 30)}T10:00:00Z. ",
            f"id {uuid.UUID(int=rng.getrandbits(128))}; ",
        )
    )
    return rng.choice((stamp + start, start + stamp, start, f"Where is order {rng.randrange(99)}?"))


def one_of(*choices: Any) -> Callable[[Random], Any]:
    """Return a function that chooses one of `choices`."""
    return lambda rng: rng.choice(choices)
