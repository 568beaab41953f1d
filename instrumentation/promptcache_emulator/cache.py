"""The cache itself: which prefixes of whom are in it, until when, and what one request reads and writes.

A prompt is a row of pieces; a prefix is named by a token offset. Providers differ in the offsets at which they look and
at which they write: that is their `CachePlan`. What is common stands here: an entry is found only by the same tenant, under
the same salts, after the request that wrote it has begun to answer, and within a lifetime that every use renews.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from itertools import accumulate
from types import MappingProxyType
from typing import Final

from promptcache_emulator import tokens
from promptcache_emulator.profiles import CacheProfile

TOOLS, SYSTEM, MESSAGES = 0, 1, 2
_MAX_ENTRIES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class PromptBlock:
    """A part of a prompt that ends where a breakpoint may stand.

    `level` is 0 for tools, 1 for system, 2 for messages; `breakpoint_ttl` the TTL that an explicit breakpoint asks for (`""`:
    the default; None: no breakpoint); `ends_message` says that a message ends here; `fixed_tokens` is the number of tokens where the
    text is not what is counted (images).
    """

    text: str
    level: int = MESSAGES
    breakpoint_ttl: str | None = None
    ends_message: bool = True
    fixed_tokens: int | None = None

    @property
    def token_count(self) -> int:
        return tokens.count_tokens(self.text) if self.fixed_tokens is None else self.fixed_tokens

    def text_up_to(self, max_tokens: int) -> str:
        """The text of the first `max_tokens` tokens. A weighted piece is whole from its first token on."""
        if max_tokens <= 0:
            return ""
        return (
            self.text
            if self.fixed_tokens is not None
            else self.text[: tokens.token_ends(self.text)[max_tokens - 1]]
        )


@dataclass(frozen=True)
class PromptLayout:
    """Pieces in the order in which the provider reads them, and what invalidates them without being text.

    `salts` holds one value per level: an entry is found only under equal salts at its own level and all before it.
    """

    blocks: tuple[PromptBlock, ...]
    salts: tuple[str, str, str] = ("", "", "")

    @cached_property
    def end_offsets(self) -> tuple[int, ...]:
        """Token offset of the end of each piece."""
        return tuple(accumulate(piece.token_count for piece in self.blocks))

    @property
    def total_tokens(self) -> int:
        return self.end_offsets[-1] if self.end_offsets else 0

    def prefix_digests(self, offsets: Iterable[int]) -> Iterator[tuple[int, int, bytes]]:
        """For each token offset of `offsets`, ascending: the offset, its level, the digest of the text before it."""
        digest = blake2b(digest_size=16)
        wanted = iter(sorted(set(offsets)))
        cut = next(wanted, None)
        start = 0
        for piece, end in zip(self.blocks, self.end_offsets, strict=True):
            done = 0
            while cut is not None and cut <= end:
                text = piece.text_up_to(cut - start)
                digest.update(text[done:].encode("utf-8", "surrogatepass"))
                done = len(text)
                yield cut, piece.level, digest.digest()
                cut = next(wanted, None)
            digest.update(piece.text[done:].encode("utf-8", "surrogatepass") + b"\0")
            start = end


@dataclass(frozen=True, slots=True)
class CacheWrite:
    """An entry to make at token offset `offset`, billed under `ttl`, kept `ttl_seconds` after each use, never past `max_age_seconds`."""

    offset: int
    ttl: str
    ttl_seconds: float
    max_age_seconds: float = float("inf")


@dataclass(frozen=True, slots=True)
class CachePlan:
    """Where one request looks for entries and where it writes them. `bills_writes`: written tokens are a class of usage."""

    prompt: PromptLayout
    read_offsets: tuple[int, ...] = ()
    writes: tuple[CacheWrite, ...] = ()
    bills_writes: bool = True


def plan_automatic_cache(prompt: PromptLayout, profile: CacheProfile) -> CachePlan:
    """The plan of a provider that caches by itself: every multiple of `step` from `minimum` on; writes are free."""
    first = -(-profile.minimum // profile.step) * profile.step
    cuts = tuple(range(first, prompt.total_tokens + 1, profile.step))
    seconds, age = profile.ttl_seconds(profile.ttl), profile.age * profile.stretch
    return CachePlan(
        prompt,
        cuts,
        tuple(CacheWrite(cut, profile.ttl, seconds, age) for cut in cuts),
        bills_writes=False,
    )


@dataclass(frozen=True, slots=True)
class CacheResult:
    """What one request read and wrote: `uncached + read + write == input`.

    `reusable_tokens` is what it would have read had nothing expired, and with any tenant and any salts: text alone decides.
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


class PrefixCache:
    """Entries of all tenants. `clock` gives epoch seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: dict[_EntryKey, _CacheEntry] = {}
        self._digests_ever_written: set[bytes] = set()

    def evict_all(self) -> None:
        """Drops every entry before its time, as a provider short of room does."""
        self._entries.clear()

    def copy(self) -> PrefixCache:
        """An independent copy, to ask what would have happened had another request been sent."""
        twin = PrefixCache(self._clock)
        twin._entries = {
            key: _CacheEntry(e.ttl_seconds, e.max_expires_at, e.expires_at)
            for key, e in self._entries.items()
        }
        twin._digests_ever_written = set(self._digests_ever_written)
        return twin

    def clear(self) -> None:
        self._entries.clear()
        self._digests_ever_written.clear()

    def look_up(self, cache_scope: str, plan: CachePlan) -> tuple[CacheResult, Callable[[], None]]:
        """What the request reads and will write, and the function that makes its entries (at its first byte out)."""
        now = self._clock()
        keys = dict(self._entry_keys(cache_scope, plan))
        found = {
            at: entry
            for at in plan.read_offsets
            if (entry := self._entries.get(keys[at])) and entry.expires_at > now
        }
        for entry in found.values():
            entry.renew(now)
        read = max(found, default=0)
        written = dict(_billed_writes(plan, read)) if plan.bills_writes else {}
        known = max(
            (at for at in plan.read_offsets if keys[at][2] in self._digests_ever_written), default=0
        )
        return CacheResult(
            plan.prompt.total_tokens, read, MappingProxyType(written), known
        ), lambda: self._write_entries(plan, keys)

    def _entry_keys(self, cache_scope: str, plan: CachePlan) -> Iterator[tuple[int, _EntryKey]]:
        cuts = {*plan.read_offsets, *(write.offset for write in plan.writes)}
        for at, level, digest in plan.prompt.prefix_digests(cuts):
            yield at, (cache_scope, plan.prompt.salts[: level + 1], digest)

    def _write_entries(self, plan: CachePlan, keys: Mapping[int, _EntryKey]) -> None:
        now = self._clock()
        for write in plan.writes:
            key = keys[write.offset]
            alive = self._entries.get(key)
            if alive and alive.expires_at > now:
                alive.renew(now)
                continue
            self._entries[key] = _CacheEntry(
                write.ttl_seconds,
                now + write.max_age_seconds,
                now + min(write.ttl_seconds, write.max_age_seconds),
            )
            self._digests_ever_written.add(key[2])
        if len(self._entries) > _MAX_ENTRIES:
            alive_keys = [key for key, entry in self._entries.items() if entry.expires_at > now][
                -_MAX_ENTRIES // 2 :
            ]
            self._entries = {key: self._entries[key] for key in alive_keys}
            self._digests_ever_written = {digest for _, _, digest in alive_keys}


def _billed_writes(plan: CachePlan, read_offset: int) -> Iterator[tuple[str, int]]:
    """Tokens written, by TTL: each written offset pays from the offset below it, or from where reading ended."""
    paid: dict[str, int] = {}
    for write in sorted(plan.writes, key=lambda write: write.offset):
        paid[write.ttl] = paid.get(write.ttl, 0) + max(0, write.offset - read_offset)
        read_offset = max(read_offset, write.offset)
    return iter(paid.items())
