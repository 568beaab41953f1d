"""What named caches cost while they lie there: a table of its own beside the calls, and the sums over it.

A row is one creation, renewal or deletion of a cache, as the span of it says. Rent is paid once a cache has ended: by
its deletion what its life cost, by its expiry what was committed. Until then it is committed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from promptcache.semconv import (
    CACHE_COMMITTED_USD,
    CACHE_EXPIRES,
    CACHE_NAME,
    CACHE_STORED_USD,
    CACHE_TOKENS,
    COST_AMOUNT,
    ERROR_TYPE,
    GEN_AI_OPERATION_NAME,
    GEN_AI_PROVIDER_NAME,
    GEN_AI_REQUEST_MODEL,
)
from promptcache_exporters.database.columns import CALL_COLUMNS as CALLS
from promptcache_exporters.database.columns import (
    Column,
    attribute_column,
    to_sql_count,
    to_sql_real,
    to_sql_text,
)

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

STORAGE_COSTS_TABLE_NAME: Final = "cache_rents"
CACHE_OPERATIONS: Final = frozenset({"create_cache", "update_cache", "delete_cache"})
_SHARED_COLUMNS: Final = ("time", "service", "trace_id", "span_id")

STORAGE_COST_COLUMNS: Final[tuple[Column, ...]] = (
    *(one for one in CALLS if one.name in _SHARED_COLUMNS),
    attribute_column("provider", GEN_AI_PROVIDER_NAME, to_sql_text),
    attribute_column("operation", GEN_AI_OPERATION_NAME, to_sql_text),
    attribute_column("model", GEN_AI_REQUEST_MODEL, to_sql_text),
    attribute_column("name", CACHE_NAME, to_sql_text),
    attribute_column("tokens", CACHE_TOKENS, to_sql_count),
    attribute_column("expires", CACHE_EXPIRES, to_sql_text),  # RFC 3339
    attribute_column(
        "committed_usd", CACHE_COMMITTED_USD, to_sql_real
    ),  # rent from creation to expiry
    attribute_column(
        "stored_usd", CACHE_STORED_USD, to_sql_real
    ),  # rent of the life that a deleted cache had
    attribute_column("filled_usd", COST_AMOUNT, to_sql_real),  # its tokens at the input price
)
STORAGE_COST_INDEXES: Final = (
    f"CREATE UNIQUE INDEX IF NOT EXISTS {STORAGE_COSTS_TABLE_NAME}_span ON {STORAGE_COSTS_TABLE_NAME} (trace_id, span_id)",
)
STORAGE_COSTS_QUERY: Final = """
SELECT name, operation, expires, committed_usd, stored_usd, filled_usd FROM rents WHERE time >= ? ORDER BY time, id"""


@dataclass(frozen=True, slots=True)
class StorageCosts:
    """USD for `caches` named caches: rent `paid_usd` of those that ended, `committed_usd` of those that live.

    `filled_usd` is what filling them cost. Money is of those caches whose price is known; `unpriced` have none.
    """

    caches: int
    paid_usd: float
    committed_usd: float
    filled_usd: float
    unpriced: int


def is_cache_operation(span: ReadableSpan) -> bool:
    """Whether `span` says that a named cache was made, renewed or deleted."""
    given = span.attributes or {}
    return (
        CACHE_NAME in given
        and given.get(GEN_AI_OPERATION_NAME) in CACHE_OPERATIONS
        and ERROR_TYPE not in given
    )


def sum_storage_costs(rows: Iterable[tuple[Any, ...]], now: float) -> StorageCosts | None:
    """The sums over the rows that `STORAGE_COSTS_QUERY` gives, at `now` (epoch seconds); None where there are no caches."""
    caches: dict[str, dict[str, Any]] = {}
    for name, operation, *values in rows:
        # Calls may name a cache in full or in short; its last part is the provider's own random id.
        known = caches.setdefault(str(name).rpartition("/")[2], {})
        given = zip(("expires", "committed", "stored", "filled"), values, strict=True)
        known |= {key: value for key, value in given if value is not None}
        known["deleted"] = operation == "delete_cache"
    if not caches:
        return None
    paid = [_storage_cost_usd(it) for it in caches.values() if _has_ended(it, now)]
    running = [_storage_cost_usd(it) for it in caches.values() if not _has_ended(it, now)]
    filled = [it.get("filled") for it in caches.values()]
    return StorageCosts(
        len(caches),
        _sum_usd(paid),
        _sum_usd(running),
        _sum_usd(filled),
        [*paid, *running].count(None),
    )


def _has_ended(cache: dict[str, Any], now: float) -> bool:
    return cache["deleted"] or (
        (at := _parse_timestamp(cache.get("expires"))) is not None and at <= now
    )


def _storage_cost_usd(cache: dict[str, Any]) -> float | None:
    return cache.get("stored" if cache["deleted"] else "committed")


def _sum_usd(amounts: Iterable[float | None]) -> float:
    return float(f"{sum(amount for amount in amounts if amount is not None):.12g}")


def _parse_timestamp(stamp: Any) -> float | None:
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except (TypeError, ValueError):
        return None
