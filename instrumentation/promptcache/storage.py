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

from promptcache.generations import Generations
from promptcache.model import NamedCache, Prefix

REMEMBERED: Final = 4096
"""Caches whose prefix and size are known by name, after their end too."""

Price = Callable[[str, int, float, float, str], float | None]
"""USD for a model, tokens, seconds from a moment on, and a provider; None where unknown."""
Series = tuple[str, str]
"""Provider and model."""


@final
class Held(NamedTuple):
    """A cache as far as it is known. `since` is by our clock; `seconds` is its whole life by the provider's."""

    series: Series
    tokens: int
    since: float
    seconds: float | None
    prefix: Prefix | None = None


@final
@dataclass(slots=True)
class _Rented:
    """What this process rents, and what rent has come to an end. A forked child starts with none of it."""

    running: dict[str, Held] = field(default_factory=dict[str, Held])
    settled: dict[Series, float] = field(default_factory=dict[Series, float])
    lock: Lock = field(default_factory=Lock)


def _key(name: str) -> str:
    """Calls may name a cache in full or in short; its last part is the provider's own random id."""
    return name.rpartition("/")[2]


@final
class Storage:
    """The named caches of this process. Thread-safe."""

    def __init__(self, price: Price, clock: Callable[[], float]) -> None:
        self._price, self._clock = price, clock
        self._known: Generations[str, Held] = Generations(REMEMBERED)
        self._rented = _Rented()
        _start_anew_in_children(self)

    def created(self, provider: str, cache: NamedCache, prefix: Prefix | None) -> None:
        """This process made `cache` just now, of what `prefix` stands for."""
        self.seen(provider, cache)
        held = self._look(cache.name or "")
        if held is not None:
            held = held._replace(since=self._clock(), prefix=prefix)
            with self._rented.lock:
                self._known[_key(cache.name or "")] = self._rented.running[
                    _key(cache.name or "")
                ] = held

    def seen(self, provider: str, cache: NamedCache) -> None:
        """A response described `cache`: its size, and until when it lives now."""
        if not cache.name or not cache.model or cache.tokens is None:
            return
        key = _key(cache.name)
        seconds = (
            max(0.0, cache.expires - cache.created) if cache.expires and cache.created else None
        )
        with self._rented.lock:
            known = self._known.get(key)
            since = self._clock() if cache.created is None else cache.created
            held = Held((provider, cache.model), cache.tokens, since, seconds)
            if known is not None:
                held = held._replace(
                    since=known.since,
                    prefix=known.prefix,
                    seconds=known.seconds if seconds is None else seconds,
                )
            self._known[key] = held
            if key in self._rented.running:
                self._rented.running[key] = held

    def prefix(self, name: str) -> Prefix | None:
        """The hashes of what was put into the cache, where this process did it."""
        held = self._look(name)
        return held.prefix if held else None

    def committed(self, name: str) -> float | None:
        """USD for the whole life of a cache, from its creation to its expiry as it is now; None where unknown."""
        held = self._look(name)
        return self._rent(held, held.seconds) if held and held.seconds is not None else None

    def deleted(self, name: str) -> float | None:
        """USD for the life that a cache had; its rent ends here. None where unknown."""
        held = self._look(name)
        if held is None:
            return None
        held = held._replace(seconds=self._age(held))
        with self._rented.lock:
            self._known[_key(name)] = held
            if self._rented.running.pop(_key(name), None) is not None:
                self._settle(held)
        return self._rent(held, self._age(held))

    def accrued(self) -> Iterator[tuple[float, Series]]:
        """The rent up to now, by provider and model: never falls, and rests once a cache has ended."""
        with self._rented.lock:
            for key, held in tuple(self._rented.running.items()):
                if held.seconds is not None and self._clock() - held.since >= held.seconds:
                    del self._rented.running[key]
                    self._settle(held)
            totals = dict(self._rented.settled)
            for held in self._rented.running.values():
                rent = self._rent(held, self._age(held))
                if rent is not None:
                    totals[held.series] = totals.get(held.series, 0.0) + rent
        for series, total in totals.items():
            yield total, series

    def _look(self, name: str) -> Held | None:
        with self._rented.lock:
            return self._known.get(_key(name))

    def start_anew(self) -> None:
        """For a forked child: the parent goes on counting what it rents."""
        self._rented = _Rented()

    def _settle(self, held: Held) -> None:
        rent = self._rent(held, self._age(held))
        if rent is not None:
            self._rented.settled[held.series] = self._rented.settled.get(held.series, 0.0) + rent

    def _age(self, held: Held) -> float:
        age = max(0.0, self._clock() - held.since)
        return age if held.seconds is None else min(age, held.seconds)

    def _rent(self, held: Held, seconds: float) -> float | None:
        provider, model = held.series
        return self._price(model, held.tokens, seconds, held.since, provider)


def _start_anew_in_children(storage: Storage) -> None:
    if hasattr(os, "register_at_fork"):
        weak = weakref.ref(storage)

        def start_anew() -> None:
            alive = weak()
            if alive is not None:
                alive.start_anew()

        os.register_at_fork(after_in_child=start_anew)
