"""What was written to a provider's cache and never read: known only when it has expired, hence of no span.

Only what this process reads counts as read: another one on the same cache may have, which cannot be seen here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, final

from promptcache.memory import Trace
from promptcache.model import Cost, Usage

_EVERY: Final = 60.0
"""Seconds between two looks at what has expired."""


@final
class Unread(NamedTuple):
    """What a call wrote in vain: `usd` more than if it had not been cached, gone at `due` (epoch seconds)."""

    provider: str
    model: str | None
    usd: float
    due: float


def surcharge(usage: Usage, cost: Cost | None, charged: int) -> float:
    """What writing cost more than plain input, in USD: W * (p_write - p_in).

    The first `charged` tokens are left out, whose whole price is already counted as missed. 0 where a price is unknown.
    """
    if cost is None or cost.p_in is None:
        return 0.0
    total = 0.0
    for ttl, count in usage.write_by_ttl.items():
        again = min(charged, count)
        charged -= again
        total += (count - again) * max(0.0, cost.p_write.get(ttl, cost.p_in) - cost.p_in)
    return total


@final
class Writes:
    """The writes that nobody has read yet, at most `most`: beyond that the oldest are let go, and nothing said of them.

    Not thread-safe by itself.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: dict[Trace, Unread] = {}
        self._next = 0.0

    def __len__(self) -> int:
        return len(self._open)

    def book(
        self, trace: Trace, unread: Unread, relatives: Iterable[Trace], read: int
    ) -> list[Unread]:
        """Books one call, and tells what has expired unread since the last look.

        It read `read` tokens: of its relatives' writes, all that begin before those end. What it wrote is `unread`.
        """
        for other in relatives:
            if read > other.read:
                self._open.pop(other, None)
        if unread.usd:
            if len(self._open) >= self._most:
                del self._open[next(iter(self._open))]
            self._open[trace] = unread
        return self._lapsed(trace.started)

    def _lapsed(self, now: float) -> list[Unread]:
        if now < self._next:
            return []
        self._next = now + _EVERY
        gone = [(trace, unread) for trace, unread in self._open.items() if unread.due <= now]
        for trace, _ in gone:
            del self._open[trace]
        return [unread for _, unread in gone]

    def clear(self) -> None:
        """Forget everything, as a forked child must: its parent goes on counting."""
        self._open = {}
