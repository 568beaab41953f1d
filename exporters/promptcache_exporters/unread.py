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

from promptcache.attributes import WRITE_TOKENS_BY_TTL
from promptcache.rules import lifetime, rule

_SPLIT: Final = tuple(f"write_{ttl}_tokens" for ttl in WRITE_TOKENS_BY_TTL)
_NAMES: Final = (
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
    *_SPLIT,
)
QUERY: Final = f"""
SELECT {", ".join(_NAMES)} FROM calls WHERE id >= ? AND +time >= ? AND (read_tokens > 0 OR write_tokens > 0)
ORDER BY time, id"""  # noqa: S608  # names of our own

Key = tuple[Any, ...]
_ANYTHING: Final[Key] = ("anything",)


@dataclass(frozen=True, slots=True)
class Unread:
    """`calls` wrote `tokens` that nothing read; `wasted_usd` is what that cost more than plain input.

    What is already charged as missed is not in the money, and neither are `unpriced` calls; None where none has a
    price.
    """

    calls: int = 0
    tokens: int = 0
    wasted_usd: float | None = 0.0
    unpriced: int = 0


@dataclass(slots=True)
class _Write:
    row: tuple[Any, ...]
    due: float
    read_by: bool = False


@dataclass(slots=True)
class _Cache:
    """The open writes of one provider's model, by what those who may read them begin with; the shortest read first."""

    open: defaultdict[Key, list[tuple[int, int, _Write]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    batched: set[Key] = field(default_factory=set[Key])

    def read(self, row: tuple[Any, ...]) -> None:
        """Everything that `row` may have read is no longer unread."""
        keys = _keys(row)
        for key in (*keys, _ANYTHING) if keys != (_ANYTHING,) else tuple(self.open):
            writes = self.open[key]
            while writes and writes[0][0] < row[_READ]:
                write = heappop(writes)[2]
                write.read_by = write.read_by or write.due >= row[0]
        if row[1]:
            self.batched.update(keys)


_READ: Final = _NAMES.index("read_tokens")
_WRITE: Final = _NAMES.index("write_tokens")


def _keys(row: tuple[Any, ...]) -> tuple[Key, ...]:
    tools, system, family = row[4:7]
    if tools:
        return (("tools", tools),)
    return (("system", system), ("family", family)) if system else (_ANYTHING,)


def find(rows: Iterable[tuple[Any, ...]], last: float) -> Unread:
    """The writes among `rows`, which `QUERY` gives, whose time was up by `last` (epoch seconds) and nobody had read."""
    caches: defaultdict[Key, _Cache] = defaultdict(_Cache)
    writes: list[tuple[_Cache, _Write]] = []
    for number, row in enumerate(rows):
        cache = caches[row[2:4]]
        if row[_READ]:
            cache.read(row)
        if row[_WRITE] and not row[1]:
            write = _Write(row, row[0] + _kept(row))
            writes.append((cache, write))
            for key in _keys(row):
                heappush(cache.open[key], (row[_READ] or 0, number, write))
    return _told(_unread(writes, last))


def _kept(row: tuple[Any, ...]) -> float:
    """Seconds after which what the row wrote is surely gone: the less sure a lapse is, the longer we wait."""
    known = rule(row[2] or "", row[3])
    split = zip(WRITE_TOKENS_BY_TTL, row[-len(_SPLIT) :], strict=True)
    return (
        max((lifetime(known, ttl) for ttl, tokens in split if tokens), default=known.ttl)
        / known.lapse
    )


def _unread(writes: Iterable[tuple[_Cache, _Write]], last: float) -> Iterator[tuple[Any, ...]]:
    for cache, write in writes:
        keys = _keys(write.row)
        batched = cache.batched and (
            _ANYTHING in keys or not cache.batched.isdisjoint({*keys, _ANYTHING})
        )
        if not batched and not write.read_by and write.due < last:
            yield write.row


def _told(rows: Iterable[tuple[Any, ...]]) -> Unread:
    found = [(row[_WRITE], _surcharge(dict(zip(_NAMES, row, strict=True)))) for row in rows]
    known = [usd for _, usd in found if usd is not None]
    money = float(f"{sum(known):.12g}") if known or not found else None
    return Unread(len(found), sum(tokens for tokens, _ in found), money, len(found) - len(known))


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
