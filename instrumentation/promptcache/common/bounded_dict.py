"""A dict that evicts its oldest keys."""

from __future__ import annotations

from typing import TypeVar, final

K = TypeVar("K")
V = TypeVar("V")


@final
class BoundedDict(dict[K, V]):
    """A dict of at most `capacity` keys (at least 1): a new key evicts the key added first.

    Only `bounded[key] = value` keeps the bound. Reading a key, or setting it again, does not make
    it younger; use `GenerationalCache` where that matters. Threads may share it without a lock:
    each step is one operation of `dict`, and a race evicts one key too many or too few.
    """

    __slots__ = ("_capacity",)

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity = max(1, capacity)

    def __setitem__(self, key: K, value: V) -> None:
        if key not in self:
            while len(self) >= self._capacity:
                self._evict_oldest()
        super().__setitem__(key, value)

    def _evict_oldest(self) -> None:
        try:
            self.pop(next(iter(self)), None)
        except (RuntimeError, StopIteration):  # another thread has changed the dict
            return
