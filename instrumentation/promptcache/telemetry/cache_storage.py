"""The storage cost of named caches: token-hours from creation to expiry or deletion.

Only caches created by this process are charged. What it does not know of another cache is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Final, NamedTuple, final

from promptcache.common.fork import register_after_fork_in_child
from promptcache.common.generational_cache import GenerationalCache
from promptcache.model import CachedContentInfo, PrefixHashes

MAX_REMEMBERED_CACHES: Final = 4096
"""Caches whose prefix and size are known by name, after their end too."""

StoragePricer = Callable[[str, int, float, float, str], float | None]
"""Return USD for (model, tokens, seconds, start in epoch seconds, provider); None if unknown."""
ProviderModel = tuple[str, str]
"""Provider and model."""


@final
class KnownCachedContent(NamedTuple):
    """What is known of a named cache.

    `stored_since` is in epoch seconds by our clock, or the provider's creation time for a cache of
    another process. `lifetime_seconds` is the time from creation to expiry by the provider's clock.
    """

    provider_model: ProviderModel
    token_count: int
    stored_since: float
    lifetime_seconds: float | None
    prefix: PrefixHashes | None = None


@final
@dataclass(slots=True)
class ChargedCaches:
    """The caches that this process pays for, by id, and the cost of those that ended.

    A forked child starts with none.
    """

    active: dict[str, KnownCachedContent] = field(default_factory=dict[str, KnownCachedContent])
    ended_costs: dict[ProviderModel, float] = field(default_factory=dict[ProviderModel, float])
    lock: Lock = field(default_factory=Lock)


@final
class NamedCacheStorageCosts:
    """The named caches that this process knows. Thread-safe."""

    def __init__(self, price_storage: StoragePricer, clock: Callable[[], float]) -> None:
        self._price_storage, self._clock = price_storage, clock
        self._known_caches: GenerationalCache[str, KnownCachedContent] = GenerationalCache(
            MAX_REMEMBERED_CACHES
        )
        self._active_caches = ChargedCaches()
        register_after_fork_in_child(self.reset_after_fork)

    def record_created_cache(
        self, provider: str, cache: CachedContentInfo, prefix: PrefixHashes | None
    ) -> None:
        """Record that this process has just created `cache`; `prefix` hashes its content."""
        self.record_cache_description(provider, cache)
        known = self._find_known_cache(cache.name or "")
        if known is not None:
            known = known._replace(stored_since=self._clock(), prefix=prefix)
            cache_id = _cache_id_from_name(cache.name or "")
            with self._active_caches.lock:
                self._known_caches[cache_id] = known
                self._active_caches.active[cache_id] = known

    def record_cache_description(self, provider: str, cache: CachedContentInfo) -> None:
        """Record the size and the expiry of `cache`, as a response described it."""
        if not cache.name or not cache.model or cache.token_count is None:
            return
        cache_id = _cache_id_from_name(cache.name)
        lifetime = (
            max(0.0, cache.expires_at - cache.created_at)
            if cache.expires_at and cache.created_at
            else None
        )
        with self._active_caches.lock:
            known = self._known_caches.get(cache_id)
            since = self._clock() if cache.created_at is None else cache.created_at
            found = KnownCachedContent((provider, cache.model), cache.token_count, since, lifetime)
            if known is not None:
                found = found._replace(
                    stored_since=known.stored_since,
                    prefix=known.prefix,
                    lifetime_seconds=known.lifetime_seconds if lifetime is None else lifetime,
                )
            self._known_caches[cache_id] = found
            if cache_id in self._active_caches.active:
                self._active_caches.active[cache_id] = found

    def prefix_hashes_of_cache(self, name: str) -> PrefixHashes | None:
        """Return the hashes of the cache's content; None if another process created the cache."""
        known = self._find_known_cache(name)
        return known.prefix if known else None

    def storage_usd_until_expiry(self, name: str) -> float | None:
        """Return the cost of a cache from its creation to its expiry; None if unknown."""
        known = self._find_known_cache(name)
        if known is None or known.lifetime_seconds is None:
            return None
        return self._storage_cost(known, known.lifetime_seconds)

    def record_deleted_cache(self, name: str) -> float | None:
        """Stop charging a cache, and return what it cost in USD; None if unknown."""
        known = self._find_known_cache(name)
        if known is None:
            return None
        known = known._replace(lifetime_seconds=self._stored_seconds(known))
        with self._active_caches.lock:
            self._known_caches[_cache_id_from_name(name)] = known
            if self._active_caches.active.pop(_cache_id_from_name(name), None) is not None:
                self._add_cost_of_ended_cache(known)
        return self._storage_cost(known, self._stored_seconds(known))

    def accrued_costs_by_model(self) -> Iterator[tuple[float, ProviderModel]]:
        """Yield the cost up to now in USD, by provider and model. It never falls."""
        with self._active_caches.lock:
            self._stop_charging_expired_caches()
            totals = dict(self._active_caches.ended_costs)
            for cache in self._active_caches.active.values():
                cost = self._storage_cost(cache, self._stored_seconds(cache))
                if cost is not None:
                    totals[cache.provider_model] = totals.get(cache.provider_model, 0.0) + cost
        for provider_model, total in totals.items():
            yield total, provider_model

    def reset_after_fork(self) -> None:
        """Forget the active caches in a forked child: the parent goes on charging them."""
        self._active_caches = ChargedCaches()

    def _find_known_cache(self, name: str) -> KnownCachedContent | None:
        with self._active_caches.lock:
            return self._known_caches.get(_cache_id_from_name(name))

    def _stop_charging_expired_caches(self) -> None:
        for cache_id, cache in tuple(self._active_caches.active.items()):
            lifetime = cache.lifetime_seconds
            if lifetime is not None and self._clock() - cache.stored_since >= lifetime:
                del self._active_caches.active[cache_id]
                self._add_cost_of_ended_cache(cache)

    def _add_cost_of_ended_cache(self, cache: KnownCachedContent) -> None:
        cost = self._storage_cost(cache, self._stored_seconds(cache))
        if cost is not None:
            ended = self._active_caches.ended_costs
            ended[cache.provider_model] = ended.get(cache.provider_model, 0.0) + cost

    def _stored_seconds(self, cache: KnownCachedContent) -> float:
        age = max(0.0, self._clock() - cache.stored_since)
        return age if cache.lifetime_seconds is None else min(age, cache.lifetime_seconds)

    def _storage_cost(self, cache: KnownCachedContent, seconds: float) -> float | None:
        provider, model = cache.provider_model
        return self._price_storage(model, cache.token_count, seconds, cache.stored_since, provider)


def _cache_id_from_name(name: str) -> str:
    """Return the last part of a cache's name, which is the provider's random id.

    Calls may name a cache in full (`projects/.../cachedContents/ID`) or in short.
    """
    return name.rpartition("/")[2]
