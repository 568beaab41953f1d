"""The cache itself: which prefixes of whom are in it, until when, and what one request reads and writes.

A prompt is a row of pieces; a prefix is named by a token offset. Providers differ in the offsets at which they look and
at which they write: that is their `Plan`. What is common stands here: an entry is found only by the same tenant, under
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

from promptcache.emulator import tokens
from promptcache.emulator.profiles import Rules

TOOLS, SYSTEM, MESSAGES = 0, 1, 2
_LIMIT: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a prompt that ends where a breakpoint may stand.

    `level` is 0 for tools, 1 for system, 2 for messages; `mark` the TTL that an explicit breakpoint asks for (`""`:
    the default; None: no breakpoint); `ends` says that a message ends here; `weight` is the number of tokens where the
    text is not what is counted (images).
    """

    text: str
    level: int = MESSAGES
    mark: str | None = None
    ends: bool = True
    weight: int | None = None

    @property
    def tokens(self) -> int:
        return tokens.count(self.text) if self.weight is None else self.weight

    def upto(self, token: int) -> str:
        """The text of the first `token` tokens. A weighted piece is whole from its first token on."""
        if token <= 0:
            return ""
        return (
            self.text if self.weight is not None else self.text[: tokens.ends(self.text)[token - 1]]
        )


@dataclass(frozen=True)
class Prompt:
    """Pieces in the order in which the provider reads them, and what invalidates them without being text.

    `salts` holds one value per level: an entry is found only under equal salts at its own level and all before it.
    """

    pieces: tuple[Piece, ...]
    salts: tuple[str, str, str] = ("", "", "")

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """Token offset of the end of each piece."""
        return tuple(accumulate(piece.tokens for piece in self.pieces))

    @property
    def total(self) -> int:
        return self.ends[-1] if self.ends else 0

    def prefixes(self, cuts: Iterable[int]) -> Iterator[tuple[int, int, bytes]]:
        """For each token offset of `cuts`, ascending: the offset, its level, the digest of the text before it."""
        digest = blake2b(digest_size=16)
        wanted = iter(sorted(set(cuts)))
        cut = next(wanted, None)
        start = 0
        for piece, end in zip(self.pieces, self.ends, strict=True):
            done = 0
            while cut is not None and cut <= end:
                text = piece.upto(cut - start)
                digest.update(text[done:].encode("utf-8", "surrogatepass"))
                done = len(text)
                yield cut, piece.level, digest.digest()
                cut = next(wanted, None)
            digest.update(piece.text[done:].encode("utf-8", "surrogatepass") + b"\0")
            start = end


@dataclass(frozen=True, slots=True)
class Write:
    """An entry to make at token offset `at`, billed under `ttl`, kept `seconds` after each use, never past `age`."""

    at: int
    ttl: str
    seconds: float
    age: float = float("inf")


@dataclass(frozen=True, slots=True)
class Plan:
    """Where one request looks for entries and where it writes them. `bills`: written tokens are a class of usage."""

    prompt: Prompt
    reads: tuple[int, ...] = ()
    writes: tuple[Write, ...] = ()
    bills: bool = True


def stepped(prompt: Prompt, rules: Rules) -> Plan:
    """The plan of a provider that caches by itself: every multiple of `step` from `minimum` on; writes are free."""
    first = -(-rules.minimum // rules.step) * rules.step
    cuts = tuple(range(first, prompt.total + 1, rules.step))
    seconds, age = rules.seconds(rules.ttl), rules.age * rules.stretch
    return Plan(
        prompt, cuts, tuple(Write(cut, rules.ttl, seconds, age) for cut in cuts), bills=False
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one request read and wrote: `uncached + read + write == input`.

    `reusable` is what it would have read had nothing expired, and with any tenant and any salts: text alone decides.
    """

    input: int
    read: int = 0
    written: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    reusable: int = 0

    @property
    def write(self) -> int:
        return sum(self.written.values())

    @property
    def uncached(self) -> int:
        return self.input - self.read - self.write


@dataclass(slots=True)
class _Entry:
    seconds: float
    dies: float
    expires: float

    def use(self, now: float) -> None:
        self.expires = min(now + self.seconds, self.dies)


_Key = tuple[str, tuple[str, ...], bytes]


class Cache:
    """Entries of all tenants. `clock` gives epoch seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: dict[_Key, _Entry] = {}
        self._ever: set[bytes] = set()

    def evict(self) -> None:
        """Drops every entry before its time, as a provider short of room does."""
        self._entries.clear()

    def fork(self) -> Cache:
        """An independent copy, to ask what would have happened had another request been sent."""
        twin = Cache(self._clock)
        twin._entries = {
            key: _Entry(e.seconds, e.dies, e.expires) for key, e in self._entries.items()
        }
        twin._ever = set(self._ever)
        return twin

    def clear(self) -> None:
        self._entries.clear()
        self._ever.clear()

    def look(self, tenant: str, plan: Plan) -> tuple[Outcome, Callable[[], None]]:
        """What the request reads and will write, and the function that makes its entries (at its first byte out)."""
        now = self._clock()
        keys = dict(self._keys(tenant, plan))
        found = {
            at: entry
            for at in plan.reads
            if (entry := self._entries.get(keys[at])) and entry.expires > now
        }
        for entry in found.values():
            entry.use(now)
        read = max(found, default=0)
        written = dict(_billed(plan, read)) if plan.bills else {}
        known = max((at for at in plan.reads if keys[at][2] in self._ever), default=0)
        return Outcome(
            plan.prompt.total, read, MappingProxyType(written), known
        ), lambda: self._write(plan, keys)

    def _keys(self, tenant: str, plan: Plan) -> Iterator[tuple[int, _Key]]:
        cuts = {*plan.reads, *(write.at for write in plan.writes)}
        for at, level, digest in plan.prompt.prefixes(cuts):
            yield at, (tenant, plan.prompt.salts[: level + 1], digest)

    def _write(self, plan: Plan, keys: Mapping[int, _Key]) -> None:
        now = self._clock()
        for write in plan.writes:
            key = keys[write.at]
            alive = self._entries.get(key)
            if alive and alive.expires > now:
                alive.use(now)
                continue
            self._entries[key] = _Entry(
                write.seconds, now + write.age, now + min(write.seconds, write.age)
            )
            self._ever.add(key[2])
        if len(self._entries) > _LIMIT:
            alive_keys = [key for key, entry in self._entries.items() if entry.expires > now][
                -_LIMIT // 2 :
            ]
            self._entries = {key: self._entries[key] for key in alive_keys}
            self._ever = {digest for _, _, digest in alive_keys}


def _billed(plan: Plan, read: int) -> Iterator[tuple[str, int]]:
    """Tokens written, by TTL: each written offset pays from the offset below it, or from where reading ended."""
    paid: dict[str, int] = {}
    for write in sorted(plan.writes, key=lambda write: write.at):
        paid[write.ttl] = paid.get(write.ttl, 0) + max(0, write.at - read)
        read = max(read, write.at)
    return iter(paid.items())
