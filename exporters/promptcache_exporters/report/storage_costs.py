"""The storage costs of named caches, summed over their operations.

A row is one creation, renewal or deletion of a named cache. The storage cost of a cache is paid
once the cache has ended: after a deletion it is the cost of its life, after its expiry it is the
committed cost. Before that it is committed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from promptcache_exporters.database.query import Query
from promptcache_exporters.report.rounding import round_usd_to_12_digits


class NamedCacheOperation(NamedTuple):
    """One creation, renewal or deletion of a named cache. None is "not reported"."""

    name: str
    operation: str
    expires: str | None
    committed_usd: float | None
    stored_usd: float | None
    filled_usd: float | None


STORAGE_COSTS_QUERY: Final = Query(
    NamedCacheOperation,
    """
SELECT name, operation, expires, committed_usd, stored_usd, filled_usd
FROM storage_costs WHERE time >= ? ORDER BY time, id""",
)


@dataclass(frozen=True, slots=True)
class StorageCosts:
    """USD for `caches` named caches.

    `paid_usd` is the storage cost of caches that ended, `committed_usd` of caches that still exist.
    `filled_usd` is the cost of filling them. The amounts leave out `unpriced` caches, whose price
    is unknown. The field names are keys of `promptcache report --json`, a stable interface.
    """

    caches: int
    paid_usd: float
    committed_usd: float
    filled_usd: float
    unpriced: int


@dataclass(slots=True)
class _NamedCacheState:
    """The newest known values of one named cache."""

    is_deleted: bool = False
    expires: str | None = None
    committed_usd: float | None = None
    stored_usd: float | None = None
    filled_usd: float | None = None

    def apply_operation(self, operation: NamedCacheOperation) -> None:
        self.is_deleted = operation.operation == "delete_cache"
        for field in ("expires", "committed_usd", "stored_usd", "filled_usd"):
            if (value := getattr(operation, field)) is not None:
                setattr(self, field, value)

    def is_deleted_or_expired(self, now: float) -> bool:
        expires_at = _parse_iso_timestamp(self.expires)
        return self.is_deleted or (expires_at is not None and expires_at <= now)

    @property
    def storage_cost_usd(self) -> float | None:
        return self.stored_usd if self.is_deleted else self.committed_usd


def sum_storage_costs(operations: Iterable[NamedCacheOperation], now: float) -> StorageCosts | None:
    """Sum the costs of all named caches at `now` (epoch seconds). None if there are no caches."""
    caches: dict[str, _NamedCacheState] = {}
    for operation in operations:
        # A call may give the full name of a cache or a short one. The last part is the same in
        # both: it is the provider's random id.
        cache_id = str(operation.name).rpartition("/")[2]
        caches.setdefault(cache_id, _NamedCacheState()).apply_operation(operation)
    if not caches:
        return None
    ended = [
        cache.storage_cost_usd for cache in caches.values() if cache.is_deleted_or_expired(now)
    ]
    alive = [
        cache.storage_cost_usd for cache in caches.values() if not cache.is_deleted_or_expired(now)
    ]
    return StorageCosts(
        caches=len(caches),
        paid_usd=_sum_known_usd(ended),
        committed_usd=_sum_known_usd(alive),
        filled_usd=_sum_known_usd(cache.filled_usd for cache in caches.values()),
        unpriced=[*ended, *alive].count(None),
    )


def _sum_known_usd(amounts: Iterable[float | None]) -> float:
    return round_usd_to_12_digits(sum(amount for amount in amounts if amount is not None))


def _parse_iso_timestamp(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return None
