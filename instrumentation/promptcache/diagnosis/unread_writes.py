"""What was written to a provider's cache and never read: known only when it has expired, hence of no span.

Only what this process reads counts as read: another one on the same cache may have, which cannot be seen here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, final

from promptcache.common.bounded_dict import BoundedDict
from promptcache.diagnosis.memory import PastCall
from promptcache.model import Cost, Usage

_CHECK_INTERVAL_SECONDS: Final = 60.0
"""Seconds between two looks at what has expired."""


@final
class UnreadWrite(NamedTuple):
    """What a call wrote in vain: `wasted_usd` more than if it had not been cached, gone at `expired_at` (epoch seconds)."""

    provider: str
    model: str | None
    wasted_usd: float
    expired_at: float


def write_surcharge(usage: Usage, cost: Cost | None, charged: int) -> float:
    """What writing cost more than plain input, in USD: W * (p_write - p_in).

    The first `charged` tokens are left out, whose whole price is already counted as missed. 0 where a price is unknown.
    """
    if cost is None or cost.input_price is None:
        return 0.0
    total = 0.0
    for ttl, count in usage.cache_write_by_ttl.items():
        again = min(charged, count)
        charged -= again
        total += (count - again) * max(
            0.0, cost.cache_write_prices.get(ttl, cost.input_price) - cost.input_price
        )
    return total


@final
class UnreadWriteLedger:
    """The writes that nobody has read yet, at most `max_writes`: beyond that the oldest are let go, and nothing said of them.

    Not thread-safe by itself.
    """

    def __init__(self, max_writes: int) -> None:
        self._unread: BoundedDict[PastCall, UnreadWrite] = BoundedDict(max_writes)
        self._next_check_at = 0.0

    def __len__(self) -> int:
        return len(self._unread)

    def record(
        self, trace: PastCall, unread: UnreadWrite, relatives: Iterable[PastCall], read: int
    ) -> list[UnreadWrite]:
        """Books one call, and tells what has expired unread since the last look.

        It read `read` tokens: of its relatives' writes, all that begin before those end. What it wrote is `unread`.
        """
        for other in relatives:
            if read > other.cache_read_tokens:
                self._unread.pop(other, None)
        if unread.wasted_usd:
            self._unread[trace] = unread
        return self._pop_expired(trace.started_at)

    def _pop_expired(self, now: float) -> list[UnreadWrite]:
        if now < self._next_check_at:
            return []
        self._next_check_at = now + _CHECK_INTERVAL_SECONDS
        gone = [
            (trace, unread) for trace, unread in self._unread.items() if unread.expired_at <= now
        ]
        for trace, _ in gone:
            del self._unread[trace]
        return [unread for _, unread in gone]

    def clear(self) -> None:
        """Forget everything, as a forked child must: its parent goes on counting."""
        self._unread.clear()
