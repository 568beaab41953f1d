"""What was written to a provider's cache and never read, as far as the table shows: only what is certain.

A call's write begins where its read ended, so whoever reads it reads further. A write counts as never read only if no
later call reads further than it did before its time is up, among all calls of the provider and the served model that
may begin alike: same tools, or without tools the same system prompt or family. A call that says nothing of its
beginning may have read anything. Batches run at an unknown time, so nothing is said beside them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, Final

from promptcache.providers.cache_rules import cache_rule_for, safe_ttl_seconds
from promptcache.semconv import WRITE_TOKENS_BY_TTL

_TTL_COLUMNS: Final = tuple(f"write_{ttl}_tokens" for ttl in WRITE_TOKENS_BY_TTL)
_QUERY_COLUMNS: Final = (
    "time",
    "batch",
    "provider",
    "coalesce(response_model, request_model)",
    "tools_hash",
    "system_hash",
    "prefix_family",
    "read_tokens",
    "write_tokens",
    "missed_tokens",
    "input_tokens",
    "cost_amount",
    "cost_input",
    "cost_read",
    "cost_write",
    "without_cache",
    *_TTL_COLUMNS,
)
UNREAD_WRITES_QUERY: Final = f"""
SELECT {", ".join(_QUERY_COLUMNS)} FROM calls WHERE id >= ? AND +time >= ? AND (read_tokens > 0 OR write_tokens > 0)
ORDER BY time, id"""  # noqa: S608  # names of our own

PrefixKey = tuple[Any, ...]
_UNKNOWN_PREFIX: Final[PrefixKey] = ("anything",)


@dataclass(frozen=True, slots=True)
class UnreadWrites:
    """`calls` wrote `tokens` that nothing read; `wasted_usd` is what that cost more than plain input.

    What is already charged as missed is not in the money, and neither are `unpriced` calls; None where none has a
    price.
    """

    calls: int = 0
    tokens: int = 0
    wasted_usd: float | None = 0.0
    unpriced: int = 0


@dataclass(slots=True)
class _OpenWrite:
    row: tuple[Any, ...]
    expires_at: float
    is_read: bool = False


@dataclass(slots=True)
class _ModelCache:
    """The open writes of one provider's model, by what those who may read them begin with; the shortest read first."""

    open_writes: defaultdict[PrefixKey, list[tuple[int, int, _OpenWrite]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    batch_keys: set[PrefixKey] = field(default_factory=set[PrefixKey])

    def mark_read(self, row: tuple[Any, ...]) -> None:
        """Everything that `row` may have read is no longer unread."""
        keys = _prefix_keys(row)
        for key in (
            (*keys, _UNKNOWN_PREFIX) if keys != (_UNKNOWN_PREFIX,) else tuple(self.open_writes)
        ):
            writes = self.open_writes[key]
            while writes and writes[0][0] < row[_READ]:
                write = heappop(writes)[2]
                write.is_read = write.is_read or write.expires_at >= row[0]
        if row[1]:
            self.batch_keys.update(keys)


_READ: Final = _QUERY_COLUMNS.index("read_tokens")
_WRITE: Final = _QUERY_COLUMNS.index("write_tokens")


def _prefix_keys(row: tuple[Any, ...]) -> tuple[PrefixKey, ...]:
    tools, system, family = row[4:7]
    if tools:
        return (("tools", tools),)
    return (("system", system), ("family", family)) if system else (_UNKNOWN_PREFIX,)


def find_unread_writes(rows: Iterable[tuple[Any, ...]], last_call_time: float) -> UnreadWrites:
    """The writes among `rows`, which `UNREAD_WRITES_QUERY` gives, whose time was up by `last_call_time` (epoch seconds) and nobody had read."""
    caches: defaultdict[PrefixKey, _ModelCache] = defaultdict(_ModelCache)
    writes: list[tuple[_ModelCache, _OpenWrite]] = []
    for number, row in enumerate(rows):
        cache = caches[row[2:4]]
        if row[_READ]:
            cache.mark_read(row)
        if row[_WRITE] and not row[1]:
            write = _OpenWrite(row, row[0] + _lifetime_seconds(row))
            writes.append((cache, write))
            for key in _prefix_keys(row):
                heappush(cache.open_writes[key], (row[_READ] or 0, number, write))
    return _sum_unread(_select_unread(writes, last_call_time))


def _lifetime_seconds(row: tuple[Any, ...]) -> float:
    """Seconds after which what the row wrote is surely gone: the less sure a lapse is, the longer we wait."""
    known = cache_rule_for(row[2] or "", row[3])
    split = zip(WRITE_TOKENS_BY_TTL, row[-len(_TTL_COLUMNS) :], strict=True)
    return (
        max(
            (safe_ttl_seconds(known, ttl) for ttl, tokens in split if tokens),
            default=known.ttl_seconds,
        )
        / known.expiry_confidence
    )


def _select_unread(
    writes: Iterable[tuple[_ModelCache, _OpenWrite]], last: float
) -> Iterator[tuple[Any, ...]]:
    for cache, write in writes:
        keys = _prefix_keys(write.row)
        batched = cache.batch_keys and (
            _UNKNOWN_PREFIX in keys or not cache.batch_keys.isdisjoint({*keys, _UNKNOWN_PREFIX})
        )
        if not batched and not write.is_read and write.expires_at < last:
            yield write.row


def _sum_unread(rows: Iterable[tuple[Any, ...]]) -> UnreadWrites:
    found = [(row[_WRITE], _surcharge(dict(zip(_QUERY_COLUMNS, row, strict=True)))) for row in rows]
    known = [usd for _, usd in found if usd is not None]
    money = float(f"{sum(known):.12g}") if known or not found else None
    return UnreadWrites(
        len(found), sum(tokens for tokens, _ in found), money, len(found) - len(known)
    )


def _surcharge(row: dict[str, Any]) -> float | None:
    """What the write cost more than plain input, in USD, less what is charged as missed; None where not known."""
    amount, plain, paid = row["cost_amount"], row["without_cache"], row["cost_write"]
    written, total = row["write_tokens"], row["input_tokens"]
    if amount is None or plain is None or paid is None or not total:
        return None
    # The plain price follows from the cost without a cache, of which all but the input is the same.
    others = amount - (row["cost_input"] or 0) - (row["cost_read"] or 0) - paid
    extra: float = paid - written * (plain - others) / total
    charged: float = min(row["missed_tokens"] or 0, written) / written
    return max(0.0, extra) * (1 - charged)
