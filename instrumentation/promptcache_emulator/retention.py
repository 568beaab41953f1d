"""A store that drops its oldest values, by their number and by the bytes of their requests."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class BoundedStore(Generic[T]):
    """Values by name, the oldest first.

    A new value drops the oldest ones until at most `max_count` values with at most `max_bytes` are
    left; the newest one always stays.
    """

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self._max_count, self._max_bytes = max_count, max_bytes
        self._values: dict[str, tuple[T, int]] = {}
        self._bytes = 0

    def add(self, name: str, value: T, size: int) -> None:
        """Store a value that keeps about `size` bytes alive."""
        self._remove(name)
        self._values[name] = (value, size)
        self._bytes += size
        while len(self._values) > 1 and (
            len(self._values) > self._max_count or self._bytes > self._max_bytes
        ):
            self._remove(next(iter(self._values)))

    def get(self, name: str) -> T | None:
        """Return the value, or None if there is none of this name."""
        value, _ = self._values.get(name, (None, 0))
        return value

    def clear(self) -> None:
        """Drop all values."""
        self._values.clear()
        self._bytes = 0

    def copy(self) -> BoundedStore[T]:
        """Return an independent store of the same values."""
        other = BoundedStore[T](self._max_count, self._max_bytes)
        other._values, other._bytes = dict(self._values), self._bytes
        return other

    def _remove(self, name: str) -> None:
        _, size = self._values.pop(name, (None, 0))
        self._bytes -= size
