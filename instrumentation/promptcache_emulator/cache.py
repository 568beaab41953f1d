"""The prefix cache: which entries exist, until when, and what one request reads and writes.

An entry is identified by the cache scope (the credential), the salts and the digest of the prefix.
A request finds an entry after the request that wrote it has sent its first byte, and until the
entry expires. Each use renews an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from promptcache_emulator.cache_plan import CachePlan

_MAX_ENTRIES: Final = 1 << 20

CommitWrites = Callable[[], None]
"""Stores the entries of a request. The sender calls it with the first byte of the answer."""


@dataclass(frozen=True, slots=True)
class CacheResult:
    """The tokens that one request read and wrote: `uncached + read + write == input`.

    `cache_write_by_ttl` maps a TTL to tokens. `reusable_tokens` is the longest prefix that was ever
    written, by any credential, under any salts, expired or not.
    """

    input_tokens: int
    cache_read_tokens: int = 0
    cache_write_by_ttl: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    reusable_tokens: int = 0

    @property
    def cache_write_tokens(self) -> int:
        return sum(self.cache_write_by_ttl.values())

    @property
    def uncached_tokens(self) -> int:
        return self.input_tokens - self.cache_read_tokens - self.cache_write_tokens


@dataclass(slots=True)
class _CacheEntry:
    ttl_seconds: float
    max_expires_at: float
    expires_at: float

    def renew(self, now: float) -> None:
        self.expires_at = min(now + self.ttl_seconds, self.max_expires_at)


_EntryKey = tuple[str, tuple[str, ...], bytes]
"""Cache scope, salts up to the level of the entry, digest of the prefix."""


class PrefixCache:
    """The cache entries of all credentials. `clock` returns epoch seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: dict[_EntryKey, _CacheEntry] = {}
        self._digests_ever_written: set[bytes] = set()

    def evict_all(self) -> None:
        """Remove every entry before it expires, as a provider does that needs space."""
        self._entries.clear()

    def copy(self) -> PrefixCache:
        """Return an independent copy, to try another request against the same state."""
        other = PrefixCache(self._clock)
        other._entries = {
            key: _CacheEntry(entry.ttl_seconds, entry.max_expires_at, entry.expires_at)
            for key, entry in self._entries.items()
        }
        other._digests_ever_written = set(self._digests_ever_written)
        return other

    def clear(self) -> None:
        self._entries.clear()
        self._digests_ever_written.clear()

    def plan_request(self, cache_scope: str, plan: CachePlan) -> tuple[CacheResult, CommitWrites]:
        """Return what the request reads and writes, and the function that stores its entries."""
        now = self._clock()
        keys = dict(self._cache_entry_keys(cache_scope, plan))
        found = {
            offset: entry
            for offset in plan.read_offsets
            if (entry := self._entries.get(keys[offset])) and entry.expires_at > now
        }
        for entry in found.values():
            entry.renew(now)
        read = max(found, default=0)
        written = dict(_billed_cache_writes(plan, read)) if plan.bills_writes else {}
        ever_written = self._digests_ever_written
        reusable = max((at for at in plan.read_offsets if keys[at][2] in ever_written), default=0)
        result = CacheResult(plan.prompt.total_tokens, read, MappingProxyType(written), reusable)
        return result, lambda: self._write_entries(plan, keys)

    def _cache_entry_keys(
        self, cache_scope: str, plan: CachePlan
    ) -> Iterator[tuple[int, _EntryKey]]:
        offsets = {*plan.read_offsets, *(write.offset for write in plan.writes)}
        for offset, level, digest in plan.prompt.prefix_digests(offsets):
            yield offset, (cache_scope, plan.prompt.salts[: level + 1], digest)

    def _write_entries(self, plan: CachePlan, keys: Mapping[int, _EntryKey]) -> None:
        now = self._clock()
        for write in plan.writes:
            key = keys[write.offset]
            existing = self._entries.get(key)
            if existing and existing.expires_at > now:
                existing.renew(now)
                continue
            lifetime = min(write.ttl_seconds, write.max_age_seconds)
            self._entries[key] = _CacheEntry(
                write.ttl_seconds, now + write.max_age_seconds, now + lifetime
            )
            self._digests_ever_written.add(key[2])
        if len(self._entries) > _MAX_ENTRIES:
            self._drop_oldest_entries(now)

    def _drop_oldest_entries(self, now: float) -> None:
        """Keep the newest half of the allowed number of entries, without the expired ones."""
        alive = [key for key, entry in self._entries.items() if entry.expires_at > now]
        kept = alive[-_MAX_ENTRIES // 2 :]
        self._entries = {key: self._entries[key] for key in kept}
        self._digests_ever_written = {digest for _, _, digest in kept}


def _billed_cache_writes(plan: CachePlan, read_offset: int) -> Iterator[tuple[str, int]]:
    """Return the written tokens by TTL.

    A write is billed from the write before it or from the end of the cache read, the later of both.
    """
    billed: dict[str, int] = {}
    for write in sorted(plan.writes, key=lambda write: write.offset):
        billed[write.ttl] = billed.get(write.ttl, 0) + max(0, write.offset - read_offset)
        read_offset = max(read_offset, write.offset)
    return iter(billed.items())
