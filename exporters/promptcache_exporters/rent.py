"""What named caches cost while they lie there: a table of its own beside the calls, and the sums over it.

A row is one creation, renewal or deletion of a cache, as the span of it says. Rent is paid once a cache has ended: by
its deletion what its life cost, by its expiry what was committed. Until then it is committed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from promptcache.attributes import (
    CACHE_COMMITTED,
    CACHE_EXPIRES,
    CACHE_NAME,
    CACHE_STORED,
    CACHE_TOKENS,
    COST_AMOUNT,
    ERROR_TYPE,
    OPERATION,
    PROVIDER,
    REQUEST_MODEL,
)
from promptcache_exporters.table import COLUMNS as CALLS
from promptcache_exporters.table import Column, clean, column, finite, whole

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

NAME: Final = "cache_rents"
OPERATIONS: Final = frozenset({"create_cache", "update_cache", "delete_cache"})
_SHARED: Final = ("time", "service", "trace_id", "span_id")

COLUMNS: Final[tuple[Column, ...]] = (
    *(one for one in CALLS if one.name in _SHARED),
    column("provider", PROVIDER, clean),
    column("operation", OPERATION, clean),
    column("model", REQUEST_MODEL, clean),
    column("name", CACHE_NAME, clean),
    column("tokens", CACHE_TOKENS, whole),
    column("expires", CACHE_EXPIRES, clean),  # RFC 3339
    column("committed_usd", CACHE_COMMITTED, finite),  # rent from creation to expiry
    column("stored_usd", CACHE_STORED, finite),  # rent of the life that a deleted cache had
    column("filled_usd", COST_AMOUNT, finite),  # its tokens at the input price
)
INDEXES: Final = (f"CREATE UNIQUE INDEX IF NOT EXISTS {NAME}_span ON {NAME} (trace_id, span_id)",)
QUERY: Final = """
SELECT name, operation, expires, committed_usd, stored_usd, filled_usd FROM rents WHERE time >= ? ORDER BY time, id"""


@dataclass(frozen=True, slots=True)
class Rent:
    """USD for `caches` named caches: rent `paid_usd` of those that ended, `committed_usd` of those that live.

    `filled_usd` is what filling them cost. Money is of those caches whose price is known; `unpriced` have none.
    """

    caches: int
    paid_usd: float
    committed_usd: float
    filled_usd: float
    unpriced: int


def wanted(span: ReadableSpan) -> bool:
    """Whether `span` says that a named cache was made, renewed or deleted."""
    given = span.attributes or {}
    return CACHE_NAME in given and given.get(OPERATION) in OPERATIONS and ERROR_TYPE not in given


def total(rows: Iterable[tuple[Any, ...]], now: float) -> Rent | None:
    """The sums over the rows that `QUERY` gives, at `now` (epoch seconds); None where there are no caches."""
    caches: dict[str, dict[str, Any]] = {}
    for name, operation, *values in rows:
        # Calls may name a cache in full or in short; its last part is the provider's own random id.
        known = caches.setdefault(str(name).rpartition("/")[2], {})
        given = zip(("expires", "committed", "stored", "filled"), values, strict=True)
        known |= {key: value for key, value in given if value is not None}
        known["deleted"] = operation == "delete_cache"
    if not caches:
        return None
    paid = [_amount(it) for it in caches.values() if _ended(it, now)]
    running = [_amount(it) for it in caches.values() if not _ended(it, now)]
    filled = [it.get("filled") for it in caches.values()]
    return Rent(len(caches), _sum(paid), _sum(running), _sum(filled), [*paid, *running].count(None))


def _ended(cache: dict[str, Any], now: float) -> bool:
    return cache["deleted"] or ((at := _instant(cache.get("expires"))) is not None and at <= now)


def _amount(cache: dict[str, Any]) -> float | None:
    return cache.get("stored" if cache["deleted"] else "committed")


def _sum(amounts: Iterable[float | None]) -> float:
    return float(f"{sum(amount for amount in amounts if amount is not None):.12g}")


def _instant(stamp: Any) -> float | None:
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except (TypeError, ValueError):
        return None
