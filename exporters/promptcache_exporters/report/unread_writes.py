"""Cache writes in the table that no call read before they expired. Only certain cases count.

A call writes the tokens after those that it read. A later call that uses this write therefore reads
more tokens than the writing call did. A write counts as unread only if no later call reads more
before the write expires. It compares all calls of the same provider and served model that may share
the prefix: the same tools; or without tools the same system prompt or family. A call whose prefix
is unknown may have read any write. Batches run at an unknown time, so writes that a batch may have
read do not count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final, NamedTuple

from promptcache.diagnosis.unread_writes import compute_write_surcharge_usd
from promptcache.model import Cost, Usage
from promptcache.providers.cache_rules import cache_rule_for, requested_or_default_ttl_seconds
from promptcache.semconv import WRITE_TOKENS_BY_TTL
from promptcache_exporters.database.query import Query
from promptcache_exporters.report.rounding import round_usd_to_12_digits

PrefixKey = tuple[str, ...]
"""What calls must share to read each other's writes."""
_UNKNOWN_PREFIX: Final[PrefixKey] = ("unknown",)
_ANY_TTL: Final = "any"


class CacheReadOrWriteCall(NamedTuple):
    """The columns of a call that read from the cache or wrote to it."""

    time: float
    batch: int
    provider: str | None
    model: str | None
    tools_hash: str | None
    system_hash: str | None
    prefix_family: str | None
    read_tokens: int | None
    write_tokens: int | None
    missed_tokens: int | None
    input_tokens: int | None
    cost_amount: float | None
    cost_input: float | None
    cost_read: float | None
    cost_write: float | None
    without_cache: float | None
    write_5m_tokens: int | None
    write_30m_tokens: int | None
    write_1h_tokens: int | None
    write_12h_tokens: int | None

    @property
    def shared_prefix_keys(self) -> tuple[PrefixKey, ...]:
        """The keys under which other calls may share the prefix."""
        if self.tools_hash:
            return (("tools", self.tools_hash),)
        if self.system_hash:
            return (("system", self.system_hash), ("family", self.prefix_family or ""))
        return (_UNKNOWN_PREFIX,)

    @property
    def max_write_lifetime_seconds(self) -> float:
        """The seconds after which the write has certainly expired.

        The less confident a cache rule is of the expiry, the longer the wait.
        """
        rule = cache_rule_for(self.provider or "", self.model)
        lifetimes = (
            requested_or_default_ttl_seconds(rule, ttl)
            for ttl in WRITE_TOKENS_BY_TTL
            if getattr(self, f"write_{ttl}_tokens")
        )
        return max(lifetimes, default=rule.ttl_seconds) / rule.expiry_confidence


_COLUMNS: Final = ", ".join(
    "coalesce(response_model, request_model) AS model" if name == "model" else name
    for name in CacheReadOrWriteCall._fields
)
UNREAD_WRITES_QUERY: Final = Query(
    CacheReadOrWriteCall,
    f"""
SELECT {_COLUMNS} FROM calls WHERE id >= ? AND +time >= ? AND (read_tokens > 0 OR write_tokens > 0)
ORDER BY time, id""",  # noqa: S608  # our own names
)


@dataclass(frozen=True, slots=True)
class UnreadWriteTotals:
    """`calls` wrote `tokens` that no call read. `wasted_usd` is their surcharge over plain input.

    The amount leaves out tokens that are already charged as missed, and `unpriced` calls. It is
    None if no call has a price. The field names are keys of `promptcache report --json`, a stable
    interface.
    """

    calls: int = 0
    tokens: int = 0
    wasted_usd: float | None = 0.0
    unpriced: int = 0


@dataclass(slots=True)
class _CacheWrite:
    call: CacheReadOrWriteCall
    expires_at: float
    is_read: bool = False


@dataclass(slots=True)
class _ModelCacheWrites:
    """The writes to the cache of one provider's model.

    `open_writes` has a heap for each prefix key, with the write of the shortest read first.
    """

    open_writes: defaultdict[PrefixKey, list[tuple[int, int, _CacheWrite]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    batch_keys: set[PrefixKey] = field(default_factory=set[PrefixKey])

    def add_write(self, write: _CacheWrite, call_number: int) -> None:
        """Remember a write. `call_number` orders writes with equal reads."""
        for key in write.call.shared_prefix_keys:
            heappush(self.open_writes[key], (write.call.read_tokens or 0, call_number, write))

    def mark_writes_read_by(self, call: CacheReadOrWriteCall) -> None:
        """Mark all writes that `call` may have read."""
        keys = call.shared_prefix_keys
        searched = tuple(self.open_writes) if _UNKNOWN_PREFIX in keys else (*keys, _UNKNOWN_PREFIX)
        for key in searched:
            writes = self.open_writes[key]
            while writes and writes[0][0] < (call.read_tokens or 0):
                write = heappop(writes)[2]
                write.is_read = write.is_read or write.expires_at >= call.time
        if call.batch:
            self.batch_keys.update(keys)

    def may_have_been_read_by_batch(self, call: CacheReadOrWriteCall) -> bool:
        """Return whether a batch result may have read the write of `call`."""
        keys = {*call.shared_prefix_keys, _UNKNOWN_PREFIX}
        if _UNKNOWN_PREFIX in call.shared_prefix_keys:
            return bool(self.batch_keys)
        return not self.batch_keys.isdisjoint(keys)


def sum_expired_unread_writes(
    calls: Iterable[CacheReadOrWriteCall], last_call_time: float
) -> UnreadWriteTotals:
    """Sum the writes that expired unread before `last_call_time` (epoch seconds).

    `calls` are the rows of `UNREAD_WRITES_QUERY`, in its order.
    """
    caches: defaultdict[tuple[str | None, str | None], _ModelCacheWrites] = defaultdict(
        _ModelCacheWrites
    )
    writes: list[tuple[_ModelCacheWrites, _CacheWrite]] = []
    for number, call in enumerate(calls):
        cache = caches[call.provider, call.model]
        if call.read_tokens:
            cache.mark_writes_read_by(call)
        if call.write_tokens and not call.batch:
            write = _CacheWrite(call, call.time + call.max_write_lifetime_seconds)
            writes.append((cache, write))
            cache.add_write(write, number)
    return _sum_unread_writes(_expired_unread_write_calls(writes, last_call_time))


def _expired_unread_write_calls(
    writes: Iterable[tuple[_ModelCacheWrites, _CacheWrite]], last_call_time: float
) -> Iterator[CacheReadOrWriteCall]:
    for cache, write in writes:
        has_expired = write.expires_at < last_call_time
        if has_expired and not write.is_read and not cache.may_have_been_read_by_batch(write.call):
            yield write.call


def _sum_unread_writes(calls: Iterable[CacheReadOrWriteCall]) -> UnreadWriteTotals:
    amounts = [(call.write_tokens or 0, _write_surcharge_usd(call)) for call in calls]
    known = [usd for _, usd in amounts if usd is not None]
    return UnreadWriteTotals(
        calls=len(amounts),
        tokens=sum(tokens for tokens, _ in amounts),
        wasted_usd=round_usd_to_12_digits(sum(known)) if known or not amounts else None,
        unpriced=len(amounts) - len(known),
    )


def _write_surcharge_usd(call: CacheReadOrWriteCall) -> float | None:
    """Return what the write cost more than plain input, less the tokens that are charged as missed.

    The table has no prices, so they follow from the amounts. The write price is the mean over all
    TTLs. The input price follows from the cost without a cache, where only the input differs. None
    if a price is unknown.
    """
    tokens, total_tokens = call.write_tokens or 0, call.input_tokens
    if call.cost_amount is None or call.without_cache is None or call.cost_write is None:
        return None
    if not total_tokens:
        return None
    input_usd = (call.cost_input or 0) + (call.cost_read or 0) + call.cost_write
    cost = Cost(
        amount=call.cost_amount,
        input_price=(call.without_cache - call.cost_amount + input_usd) / total_tokens,
        cache_write_prices={_ANY_TTL: call.cost_write / tokens},
    )
    usage = Usage(total_tokens, 0, call.read_tokens, tokens, {_ANY_TTL: tokens})
    return compute_write_surcharge_usd(usage, cost, call.missed_tokens or 0)
