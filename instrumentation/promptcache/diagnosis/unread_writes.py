"""Cache writes that expired without a read. They are known only after expiry, so they are a metric,
not on a span.

Only calls of this process count as reads. A read by another process from the same cache is not
detected.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, final

from promptcache.common.bounded_dict import BoundedDict
from promptcache.diagnosis.memory import PastCall
from promptcache.diagnosis.missed_tokens import price_of_write
from promptcache.model import Cost, Usage

_CHECK_INTERVAL_SECONDS: Final = 60.0
"""Expired writes are looked for at most this often."""


@final
class UnreadWrite(NamedTuple):
    """What one call wrote to the cache.

    Without a read until `expired_at` (epoch seconds), it cost `wasted_usd` more than without
    caching.
    """

    provider: str
    model: str | None
    wasted_usd: float
    expired_at: float


def compute_write_surcharge_usd(usage: Usage, cost: Cost | None, missed_tokens: int) -> float:
    """Return what writing cost more than plain input, in USD: W * (write price - input price).

    The first `missed_tokens` written tokens are left out, because their whole price already counts
    as waste of a miss. The result is 0 where a price is unknown.
    """
    if cost is None or cost.input_price is None:
        return 0.0
    total = 0.0
    for ttl, tokens in usage.cache_write_by_ttl.items():
        rewritten = min(missed_tokens, tokens)
        missed_tokens -= rewritten
        price = price_of_write(usage, cost, ttl, cost.input_price)
        total += (tokens - rewritten) * max(0.0, price - cost.input_price)
    return total


@final
class UnreadWriteTracker:
    """The writes without a read, at most `max_writes`. Not thread-safe by itself.

    Beyond the limit the oldest write is dropped and never reported.
    """

    def __init__(self, max_writes: int) -> None:
        self._unread: BoundedDict[PastCall, UnreadWrite] = BoundedDict(max_writes)
        self._next_check_at = 0.0

    def __len__(self) -> int:
        return len(self._unread)

    def record_write_and_pop_expired(
        self,
        call: PastCall,
        write: UnreadWrite,
        related_calls: Iterable[PastCall],
        read_tokens: int,
    ) -> list[UnreadWrite]:
        """Record the write of `call`, and return the writes that expired since the last check.

        The call read `read_tokens`. It read the write of a related call if it read further than
        that call, because a write begins where its call's read ended.
        """
        for other in related_calls:
            if read_tokens > other.cache_read_tokens:
                self._unread.pop(other, None)
        if write.wasted_usd:
            self._unread[call] = write
        return self._pop_expired_if_due(call.started_at)

    def _pop_expired_if_due(self, now: float) -> list[UnreadWrite]:
        if now < self._next_check_at:
            return []
        self._next_check_at = now + _CHECK_INTERVAL_SECONDS
        expired = [
            (call, unread) for call, unread in self._unread.items() if unread.expired_at <= now
        ]
        for call, _ in expired:
            del self._unread[call]
        return [unread for _, unread in expired]

    def clear(self) -> None:
        """Forget all writes, as a forked child must: its parent goes on counting them."""
        self._unread.clear()
