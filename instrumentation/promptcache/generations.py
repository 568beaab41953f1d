"""A bounded mapping that forgets what has not been used for longest, without bookkeeping on every use.

Two generations: what is used moves to the young one; when the young one is half the capacity, the old one is dropped
and the young one grows old. So at least the last `capacity / 2` used entries are held, and never more than `capacity`.
Not thread-safe by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar, final

K = TypeVar("K")
V = TypeVar("V")


@final
class Generations(Generic[K, V]):
    """At most `capacity` entries (at least 2). `turns` counts how often the young grew old."""

    __slots__ = ("_half", "_old", "_young", "turns")

    def __init__(self, capacity: int) -> None:
        self._half = max(1, capacity // 2)
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self.turns = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __iter__(self) -> Iterator[K]:
        yield from self._young
        yield from self._old

    def __contains__(self, key: K) -> bool:
        return key in self._young or key in self._old

    def __setitem__(self, key: K, value: V) -> None:
        if key not in self._young:
            self._old.pop(key, None)
            if len(self._young) >= self._half:
                self._old, self._young = self._young, {}
                self.turns += 1
        self._young[key] = value

    def get(self, key: K) -> V | None:
        """The value of `key`, which this use makes young again; None where it is not held."""
        if (value := self._young.get(key)) is not None:
            return value
        if (value := self._old.pop(key, None)) is not None:
            self[key] = value
        return value

    def young(self, key: K) -> bool:
        """Whether `key` was used since the young ones last grew old."""
        return key in self._young

    def clear(self) -> None:
        """Forget everything."""
        self._young, self._old = {}, {}
