"""Prompt -> digests: in the process for comparison, exported for people (docs/specs/prefix.md).

Two families that never mix. In-memory digests are 64-bit integers under a random key of the process: SipHash over
`marshal` bytes, the fastest that Python has, so that a whole prompt is hashed on every call. Exported ones read
`p1:<16 hex>` or `k1:<16 hex>`, are SHA-256 over compact JSON, the same in every process, and are computed once per new
static prefix.
"""

from __future__ import annotations

import json
import marshal
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from hmac import digest as hmac
from typing import Any, Final, final

from promptcache.generations import Generations
from promptcache.model import Block, Param, Prefix, Prompt
from promptcache.plain import plain

# Level 2 writes no back references: from 3 on the same content has other bytes once a string is interned.
_MARSHAL: Final = 2
_EXPORTED_ENDS: Final = 64
_FREE_TEXT: Final = frozenset(
    {"prompt_cache_key", "user", "safety_identifier", "session_id", "conversation_id"}
)
"""Parameters whose values are the application's own text: exported under a secret key only."""


@final
@dataclass(slots=True)
class Chain:
    """The in-memory digests of one prompt.

    `own` is each block alone, wherever it stands; `links` is everything up to and with the block. `static` counts the
    blocks before the messages, `marks` holds the numbers (from 1) of those that ask for caching, `params` is the digest
    of all parameters.
    """

    own: tuple[int, ...]
    links: tuple[int, ...]
    static: int = 0
    marks: tuple[int, ...] = ()
    params: int = 0


@final
class Hasher:
    """In-memory digests under `key`, by default 16 random bytes: equal data, equal digest, within the process only."""

    __slots__ = ("_key", "_seed")

    def __init__(self, key: bytes | None = None) -> None:
        self._key = os.urandom(16) if key is None else key
        self._seed = int.from_bytes(blake2b(self._key, digest_size=8).digest(), "big") >> 1

    def digest(self, data: object) -> bytes:
        """16 bytes for any data, secrets such as credentials included: they cannot be guessed back from it."""
        return blake2b(_dump(data), digest_size=16, key=self._key[:64]).digest()

    def own(self, data: object) -> int:
        """The digest of one piece of data, as it stands in `Chain.own`."""
        return hash(_dump((self._seed, data)))

    def chain(self, prompt: Prompt, root: int = 0) -> Chain:
        """The digests of all blocks in their order; `root` keeps the chains of different caches apart."""
        seed, link, blocks, dumps = self._seed, root, prompt.blocks, marshal.dumps
        try:
            own = [hash(dumps((seed, block.data), _MARSHAL)) for block in blocks]
        except ValueError:
            own = [self.own(block.data) for block in blocks]
        sections = [block.section for block in blocks]
        links = [
            link := hash((link, section, digest))
            for section, digest in zip(sections, own, strict=True)
        ]
        static = sections.index("messages") if "messages" in sections else len(blocks)
        marks = tuple([depth for depth, block in enumerate(blocks, 1) if block.mark is not None])
        params = self.own([(p.name, p.value, p.level) for p in prompt.params])
        return Chain(tuple(own), tuple(links), static, marks, params)


def _dump(data: Any) -> bytes:
    try:
        return marshal.dumps(data, _MARSHAL)
    except ValueError:  # an odd type, a cycle or great depth
        return marshal.dumps(plain(data), _MARSHAL)


@final
class Exporter:
    """Exported hashes under `hash_key`, or under a public constant where there is none.

    `hashes` is `none`, `static` (tools, system and enumerated parameters) or `all` (messages and free text too, which
    needs the key). Remembers what it computed by in-memory digests, so `chain` must come from one `Hasher`.
    """

    __slots__ = ("_all", "_key", "_known", "_off", "_scheme")

    def __init__(
        self, hash_key: str | None = None, hashes: str = "static", remember: int = 8192
    ) -> None:
        self._off = hashes == "none"
        self._all = hashes == "all" and hash_key is not None
        self._scheme = "p1:" if hash_key is None else "k1:"
        self._key = (
            b"promptcache" if hash_key is None else hash_key.encode("utf-8", "surrogatepass")
        )
        self._known: Generations[object, Any] = Generations(remember)

    def export(self, prompt: Prompt, chain: Chain, model: str | None) -> Prefix:
        """The shape of `prompt` with as many hashes as the settings allow."""
        blocks = prompt.blocks
        marked = (blocks[depth - 1] for depth in chain.marks)
        marks = tuple([f"{b.section}[{b.index}] {b.mark}".rstrip() for b in marked])
        if self._off:
            return Prefix(None, None, None, None, len(blocks), marks, prompt.complete)
        static = chain.static
        seen = (model, chain.links[static - 1] if static else 0)
        if (hashes := self._known.get(seen)) is None:
            hashes = self._known[seen] = self._static(blocks[:static], model)
        prefix, tools, system = hashes
        if (scope := self._known.get((model, "scope", chain.params))) is None:
            scope = self._known[model, "scope", chain.params] = self._scope(prompt.params, model)
        ends, start = self._ends(blocks, chain) if self._all else ((), None)
        return Prefix(
            prefix, tools, system, scope, len(blocks), marks, prompt.complete, ends, start
        )

    def _static(
        self, blocks: Sequence[Block], model: str | None
    ) -> tuple[str, str | None, str | None]:
        sections = [[b.data for b in blocks if b.section == name] for name in ("tools", "system")]
        tools, system = (
            self._read(name, data) if data else None
            for name, data in zip("ts", sections, strict=True)
        )
        return self._read("prefix", model, tools, system), tools, system

    def _scope(self, params: Iterable[Param], model: str | None) -> str:
        shown = [(p.name, p.value) for p in params if self._all or p.name not in _FREE_TEXT]
        return self._read("scope", model, shown)

    def _ends(self, blocks: Sequence[Block], chain: Chain) -> tuple[tuple[str, ...], int]:
        """The exported chain at the last 64 block ends, and the index of the first of them."""
        ends: list[str] = []
        above = ""
        for block, link in zip(blocks, chain.links, strict=True):
            if (end := self._known.get(link)) is None:
                end = self._known[link] = self._read("block", above, block.section, block.data)
            ends.append(above := end)
        return tuple(ends[-_EXPORTED_ENDS:]), max(0, len(ends) - _EXPORTED_ENDS)

    def _read(self, *parts: object) -> str:
        return self._scheme + hmac(self._key, _json(parts), sha256).hex()[:16]


_compact: Final = json.JSONEncoder(separators=(",", ":")).encode


def _json(data: object) -> bytes:
    try:
        return _compact(data).encode()
    except (TypeError, ValueError, RecursionError):
        return _compact(plain(data)).encode()
