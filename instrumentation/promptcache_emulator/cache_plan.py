"""Where one request reads from the cache and writes to it. Providers differ only in this plan."""

from __future__ import annotations

from dataclasses import dataclass

from promptcache_emulator.profiles import CacheProfile
from promptcache_emulator.prompt_layout import PromptLayout


@dataclass(frozen=True, slots=True)
class CacheWrite:
    """One cache entry that a request writes.

    `offset` is the token offset at which the prefix ends. `ttl` is the TTL that is billed. The
    entry expires `ttl_seconds` after its last use, and at the latest `max_age_seconds` after the
    write.
    """

    offset: int
    ttl: str
    ttl_seconds: float
    max_age_seconds: float = float("inf")


@dataclass(frozen=True, slots=True)
class CachePlan:
    """The token offsets at which one request looks for entries, and the entries that it writes.

    `bills_writes` is true if the provider reports written tokens as a class of usage.
    """

    prompt: PromptLayout
    read_offsets: tuple[int, ...] = ()
    writes: tuple[CacheWrite, ...] = ()
    bills_writes: bool = True


def plan_automatic_cache(prompt: PromptLayout, profile: CacheProfile) -> CachePlan:
    """Return the plan of a provider that caches without breakpoints.

    It reads and writes at every multiple of the profile's `granularity` from `min_tokens` on.
    Writes are free.
    """
    step = profile.granularity
    first = -(-profile.min_tokens // step) * step
    offsets = tuple(range(first, prompt.total_tokens + 1, step))
    ttl_seconds = profile.ttl_seconds(profile.ttl)
    max_age_seconds = profile.max_age_seconds * profile.ttl_factor
    writes = tuple(
        CacheWrite(offset, profile.ttl, ttl_seconds, max_age_seconds) for offset in offsets
    )
    return CachePlan(prompt, offsets, writes, bills_writes=False)
