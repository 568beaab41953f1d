"""What named caches cost while they lie there: rent by token-hours, from creation to expiry or deletion.

A cache that this process did not create is somebody else's to pay for here: its rent is never counted, and what is not
known of it stays unknown.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Final, NamedTuple, final

from promptcache.common.generational_cache import GenerationalCache
from promptcache.model import CachedContentInfo, PrefixHashes

MAX_REMEMBERED_CACHES: Final = 4096
"""Caches whose prefix and size are known by name, after their end too."""

StoragePricer = Callable[[str, int, float, float, str], float | None]
"""USD for a model, tokens, seconds from a moment on, and a provider; None where unknown."""
ProviderModel = tuple[str, str]
"""Provider and model."""


@final
class CachedContent(NamedTuple):
    """A cache as far as it is known. `stored_since` is by our clock; `lifetime_seconds` is its whole life by the provider's."""

    provider_model: ProviderModel
    token_count: int
    stored_since: float
    lifetime_seconds: float | None
    prefix: PrefixHashes | None = None


@final
@dataclass(slots=True)
class ActiveCaches:
    """What this process rents, and what rent has come to an end. A forked child starts with none of it."""

    active: dict[str, CachedContent] = field(default_factory=dict[str, CachedContent])
    ended_costs: dict[ProviderModel, float] = field(default_factory=dict[ProviderModel, float])
    lock: Lock = field(default_factory=Lock)


def _cache_id(name: str) -> str:
    """Calls may name a cache in full or in short; its last part is the provider's own random id."""
    return name.rpartition("/")[2]


@final
class CacheStorage:
    """The named caches of this process. Thread-safe."""

    def __init__(self, price: StoragePricer, clock: Callable[[], float]) -> None:
        self._price_storage, self._clock = price, clock
        self._known_caches: GenerationalCache[str, CachedContent] = GenerationalCache(
            MAX_REMEMBERED_CACHES
        )
        self._active_caches = ActiveCaches()
        _reset_in_forked_child(self)

    def record_created(
        self, provider: str, cache: CachedContentInfo, prefix: PrefixHashes | None
    ) -> None:
        """This process made `cache` just now, of what `prefix_of` stands for."""
        self.record_described(provider, cache)
        held = self._find(cache.name or "")
        if held is not None:
            held = held._replace(stored_since=self._clock(), prefix=prefix)
            with self._active_caches.lock:
                self._known_caches[_cache_id(cache.name or "")] = self._active_caches.active[
                    _cache_id(cache.name or "")
                ] = held

    def record_described(self, provider: str, cache: CachedContentInfo) -> None:
        """A response described `cache`: its size, and until when it lives now."""
        if not cache.name or not cache.model or cache.token_count is None:
            return
        key = _cache_id(cache.name)
        seconds = (
            max(0.0, cache.expires_at - cache.created_at)
            if cache.expires_at and cache.created_at
            else None
        )
        with self._active_caches.lock:
            known = self._known_caches.get(key)
            since = self._clock() if cache.created_at is None else cache.created_at
            held = CachedContent((provider, cache.model), cache.token_count, since, seconds)
            if known is not None:
                held = held._replace(
                    stored_since=known.stored_since,
                    prefix=known.prefix,
                    lifetime_seconds=known.lifetime_seconds if seconds is None else seconds,
                )
            self._known_caches[key] = held
            if key in self._active_caches.active:
                self._active_caches.active[key] = held

    def prefix_of(self, name: str) -> PrefixHashes | None:
        """The hashes of what was put into the cache, where this process did it."""
        held = self._find(name)
        return held.prefix if held else None

    def committed_usd(self, name: str) -> float | None:
        """USD for the whole life of a cache, from its creation to its expiry as it is now; None where unknown."""
        held = self._find(name)
        return (
            self._storage_cost(held, held.lifetime_seconds)
            if held and held.lifetime_seconds is not None
            else None
        )

    def record_deleted(self, name: str) -> float | None:
        """USD for the life that a cache had; its rent ends here. None where unknown."""
        held = self._find(name)
        if held is None:
            return None
        held = held._replace(lifetime_seconds=self._age_seconds(held))
        with self._active_caches.lock:
            self._known_caches[_cache_id(name)] = held
            if self._active_caches.active.pop(_cache_id(name), None) is not None:
                self._add_ended_cost(held)
        return self._storage_cost(held, self._age_seconds(held))

    def accrued_costs(self) -> Iterator[tuple[float, ProviderModel]]:
        """The rent up to now, by provider and model: never falls, and rests once a cache has ended."""
        with self._active_caches.lock:
            for key, held in tuple(self._active_caches.active.items()):
                if (
                    held.lifetime_seconds is not None
                    and self._clock() - held.stored_since >= held.lifetime_seconds
                ):
                    del self._active_caches.active[key]
                    self._add_ended_cost(held)
            totals = dict(self._active_caches.ended_costs)
            for held in self._active_caches.active.values():
                rent = self._storage_cost(held, self._age_seconds(held))
                if rent is not None:
                    totals[held.provider_model] = totals.get(held.provider_model, 0.0) + rent
        for series, total in totals.items():
            yield total, series

    def _find(self, name: str) -> CachedContent | None:
        with self._active_caches.lock:
            return self._known_caches.get(_cache_id(name))

    def reset_after_fork(self) -> None:
        """For a forked child: the parent goes on counting what it rents."""
        self._active_caches = ActiveCaches()

    def _add_ended_cost(self, held: CachedContent) -> None:
        rent = self._storage_cost(held, self._age_seconds(held))
        if rent is not None:
            self._active_caches.ended_costs[held.provider_model] = (
                self._active_caches.ended_costs.get(held.provider_model, 0.0) + rent
            )

    def _age_seconds(self, held: CachedContent) -> float:
        age = max(0.0, self._clock() - held.stored_since)
        return age if held.lifetime_seconds is None else min(age, held.lifetime_seconds)

    def _storage_cost(self, held: CachedContent, seconds: float) -> float | None:
        provider, model = held.provider_model
        return self._price_storage(model, held.token_count, seconds, held.stored_since, provider)


def _reset_in_forked_child(storage: CacheStorage) -> None:
    if hasattr(os, "register_at_fork"):
        weak = weakref.ref(storage)

        def start_anew() -> None:
            alive = weak()
            if alive is not None:
                alive.reset_after_fork()

        os.register_at_fork(after_in_child=start_anew)
