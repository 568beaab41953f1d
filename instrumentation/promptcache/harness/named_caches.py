"""The named caches of a prompt on Gemini: `warm` creates them, chats read them, `close` deletes."""

from __future__ import annotations

import threading
import time
from typing import Any, Final, NamedTuple, final

from promptcache.harness.prompt_error import PromptError

_LAST_SECONDS: Final = 60.0
"""A cache that ends so soon is not named in a request: it may be gone when the provider reads."""


@final
class NamedCache(NamedTuple):
    """A named cache. `expires_at` is in seconds of the monotonic clock.

    `caches` is the client's interface to named caches, which created it.
    """

    name: str
    expires_at: float
    caches: Any
    is_async: bool

    @property
    def seconds_left(self) -> float:
        return self.expires_at - time.monotonic()


@final
class NamedCaches:
    """The named caches that this process created, by prefix. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_prefix: dict[str, NamedCache] = {}

    def keep(self, prefix: str, cache: NamedCache) -> None:
        """Remember a cache that was created or renewed."""
        with self._lock:
            self._by_prefix[prefix] = cache

    def find(self, prefix: str) -> NamedCache | None:
        """Return the cache of a prefix, None if there is none or it ends within a minute."""
        cache = self._by_prefix.get(prefix)
        return cache if cache and cache.seconds_left > _LAST_SECONDS else None

    def forget(self, prefix: str) -> None:
        """Forget a cache that the provider does not have any more."""
        with self._lock:
            self._by_prefix.pop(prefix, None)

    def delete_all(self) -> None:
        """Delete the caches. Raise PromptError if an asynchronous client created one."""
        while cache := self._take(is_async=False):
            cache.caches.delete(name=cache.name)
        if self._by_prefix:
            raise PromptError("close", "cannot delete what warm_async() created; use close_async()")

    async def delete_all_async(self) -> None:
        """Delete the caches of both kinds of clients."""
        while cache := self._take(is_async=True):
            await cache.caches.delete(name=cache.name)
        self.delete_all()

    def _take(self, *, is_async: bool) -> NamedCache | None:
        """Return a cache that has not expired, and forget it and the expired ones."""
        with self._lock:
            for prefix, cache in list(self._by_prefix.items()):
                if cache.seconds_left <= 0:
                    del self._by_prefix[prefix]
                elif cache.is_async == is_async:
                    return self._by_prefix.pop(prefix)
        return None
