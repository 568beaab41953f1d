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
class GenerationalCache(Generic[K, V]):
    """At most `capacity` entries (at least 2). `rotations` counts how often the young grew old."""

    __slots__ = ("_generation_size", "_older", "_recent", "rotations")

    def __init__(self, capacity: int) -> None:
        self._generation_size = max(1, capacity // 2)
        self._recent: dict[K, V] = {}
        self._older: dict[K, V] = {}
        self.rotations = 0

    def __len__(self) -> int:
        return len(self._recent) + len(self._older)

    def __iter__(self) -> Iterator[K]:
        yield from self._recent
        yield from self._older

    def __contains__(self, key: K) -> bool:
        return key in self._recent or key in self._older

    def __setitem__(self, key: K, value: V) -> None:
        if key not in self._recent:
            self._older.pop(key, None)
            if len(self._recent) >= self._generation_size:
                self._older, self._recent = self._recent, {}
                self.rotations += 1
        self._recent[key] = value

    def get(self, key: K) -> V | None:
        """The value of `key`, which this use makes young again; None where it is not held."""
        if (value := self._recent.get(key)) is not None:
            return value
        if (value := self._older.pop(key, None)) is not None:
            self[key] = value
        return value

    def is_recent(self, key: K) -> bool:
        """Whether `key` was used since the young ones last grew old."""
        return key in self._recent

    def clear(self) -> None:
        """Forget everything."""
        self._recent, self._older = {}, {}
