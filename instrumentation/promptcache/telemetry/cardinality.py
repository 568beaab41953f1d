"""Limits on the distinct values of a metric attribute."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Any, final

from promptcache import semconv


@final
class ValueAllowList:
    """Pass the listed values, and replace every other one by `_OTHER`."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(allowed)

    def __call__(self, value: Any) -> Any:
        """Return `value`, or `_OTHER` if the list does not have it."""
        return value if str(value) in self._allowed else semconv.OTHER_VALUE


@final
class CardinalityLimiter:
    """Pass the first `limit` distinct values, and replace every later one by `_OTHER`.

    It needs no lock, so a forked child can use it: each step is one operation on a dict. A race
    between two threads wastes one rank at most.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ranks: dict[Any, int] = {}
        self._next_rank = count()

    def __call__(self, value: Any) -> Any:
        """Return `value`, or `_OTHER` if `limit` other values came first."""
        rank = self._ranks.get(value)
        if rank is None:
            if len(self._ranks) >= self._limit:
                return semconv.OTHER_VALUE
            rank = self._ranks.setdefault(value, next(self._next_rank))
        return value if rank < self._limit else semconv.OTHER_VALUE
