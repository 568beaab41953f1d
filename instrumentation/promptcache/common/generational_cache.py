"""A bounded mapping that evicts the entries unused for longest, without a write per read.

It keeps two generations. A used entry moves to the recent generation. When the recent generation
holds half the capacity, the older one is dropped and the recent one takes its place. So at least
the last `capacity / 2` used entries are held, and never more than `capacity`. Not thread-safe.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar, final

K = TypeVar("K")
V = TypeVar("V")


@final
class GenerationalCache(Generic[K, V]):
    """A mapping of at most `capacity` entries (at least 2); no value may be None.

    `rotations` counts how often the recent generation became the older one.
    """

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
                self.rotate()
        self._recent[key] = value

    def rotate(self) -> None:
        """Drop the older generation, and let the recent one take its place."""
        self._older, self._recent = self._recent, {}
        self.rotations += 1

    def get(self, key: K) -> V | None:
        """Return the value of `key` and mark it as recently used; None if the key is absent."""
        if (value := self._recent.get(key)) is not None:
            return value
        if (value := self._older.pop(key, None)) is not None:
            self[key] = value
        return value

    def is_recent(self, key: K) -> bool:
        """Return whether `key` was used since the last rotation."""
        return key in self._recent

    def clear(self) -> None:
        """Remove all entries."""
        self._recent, self._older = {}, {}
