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

from promptcache.common.generational_cache import GenerationalCache
from promptcache.common.json_sanitize import to_plain_json
from promptcache.model import Block, Param, ParsedPrompt, PrefixHashes

# Level 2 writes no back references: from 3 on the same content has other bytes once a string is interned.
_MARSHAL_VERSION: Final = 2
_MAX_CHAIN_HASHES: Final = 64
_FREE_TEXT_PARAMS: Final = frozenset(
    {"prompt_cache_key", "user", "safety_identifier", "session_id", "conversation_id"}
)
"""Parameters whose values are the application's own text: exported under a secret key only."""


@final
@dataclass(slots=True)
class HashChain:
    """The in-memory digests of one prompt.

    `block_digests` is each block alone, wherever it stands; `prefix_digests` is everything up to and with the block. `static_depth` counts the
    blocks before the messages, `breakpoint_depths` holds the numbers (from 1) of those that ask for caching, `params_digest` is the digest
    of all parameters.
    """

    block_digests: tuple[int, ...]
    prefix_digests: tuple[int, ...]
    static_depth: int = 0
    breakpoint_depths: tuple[int, ...] = ()
    params_digest: int = 0


@final
class InProcessHasher:
    """In-memory digests under `key`, by default 16 random bytes: equal data, equal digest, within the process only."""

    __slots__ = ("_key", "_seed")

    def __init__(self, key: bytes | None = None) -> None:
        self._key = os.urandom(16) if key is None else key
        self._seed = int.from_bytes(blake2b(self._key, digest_size=8).digest(), "big") >> 1

    def keyed_digest(self, data: object) -> bytes:
        """16 bytes for any data, secrets such as credentials included: they cannot be guessed back from it."""
        return blake2b(_marshal(data), digest_size=16, key=self._key[:64]).digest()

    def hash_data(self, data: object) -> int:
        """The digest of one piece of data, as it stands in `Chain.block_digests`."""
        return hash(_marshal((self._seed, data)))

    def hash_prompt(self, prompt: ParsedPrompt, root: int = 0) -> HashChain:
        """The digests of all blocks in their order; `root` keeps the chains of different caches apart."""
        seed, link, blocks, dumps = self._seed, root, prompt.blocks, marshal.dumps
        try:
            own = [hash(dumps((seed, block.data), _MARSHAL_VERSION)) for block in blocks]
        except ValueError:
            own = [self.hash_data(block.data) for block in blocks]
        sections = [block.section for block in blocks]
        links = [
            link := hash((link, section, digest))
            for section, digest in zip(sections, own, strict=True)
        ]
        static = sections.index("messages") if "messages" in sections else len(blocks)
        marks = tuple(
            [depth for depth, block in enumerate(blocks, 1) if block.breakpoint_ttl is not None]
        )
        params = self.hash_data([(p.name, p.value, p.invalidation_level) for p in prompt.params])
        return HashChain(tuple(own), tuple(links), static, marks, params)


def _marshal(data: Any) -> bytes:
    try:
        return marshal.dumps(data, _MARSHAL_VERSION)
    except ValueError:  # an odd type, a cycle or great depth
        return marshal.dumps(to_plain_json(data), _MARSHAL_VERSION)


@final
class PrefixHasher:
    """Exported hashes under `hash_key`, or under a public constant where there is none.

    `hashes` is `none`, `static_depth` (tools, system and enumerated parameters) or `all` (messages and free text too, which
    needs the key). Remembers what it computed by in-memory digests, so `hash_prompt` must come from one `InProcessHasher`.
    """

    __slots__ = ("_includes_messages", "_is_disabled", "_key", "_remembered", "_scheme")

    def __init__(
        self, hash_key: str | None = None, hashes: str = "static", max_remembered: int = 8192
    ) -> None:
        self._is_disabled = hashes == "none"
        self._includes_messages = hashes == "all" and hash_key is not None
        self._scheme = "p1:" if hash_key is None else "k1:"
        self._key = (
            b"promptcache" if hash_key is None else hash_key.encode("utf-8", "surrogatepass")
        )
        self._remembered: GenerationalCache[object, Any] = GenerationalCache(max_remembered)

    def hash_prefix(
        self, prompt: ParsedPrompt, chain: HashChain, model: str | None
    ) -> PrefixHashes:
        """The shape of `prompt` with as many hashes as the settings allow."""
        blocks = prompt.blocks
        marked = (blocks[depth - 1] for depth in chain.breakpoint_depths)
        marks = tuple([f"{b.section}[{b.index}] {b.breakpoint_ttl}".rstrip() for b in marked])
        if self._is_disabled:
            return PrefixHashes(None, None, None, None, len(blocks), marks, prompt.is_complete)
        static = chain.static_depth
        seen = (model, chain.prefix_digests[static - 1] if static else 0)
        if (hashes := self._remembered.get(seen)) is None:
            hashes = self._remembered[seen] = self._hash_static_prefix(blocks[:static], model)
        prefix, tools, system = hashes
        if (scope := self._remembered.get((model, "scope", chain.params_digest))) is None:
            scope = self._remembered[model, "scope", chain.params_digest] = self._hash_scope(
                prompt.params, model
            )
        ends, start = self._hash_chain_end(blocks, chain) if self._includes_messages else ((), None)
        return PrefixHashes(
            prefix, tools, system, scope, len(blocks), marks, prompt.is_complete, ends, start
        )

    def _hash_static_prefix(
        self, blocks: Sequence[Block], model: str | None
    ) -> tuple[str, str | None, str | None]:
        sections = [[b.data for b in blocks if b.section == name] for name in ("tools", "system")]
        tools, system = (
            self._keyed_hash(name, data) if data else None
            for name, data in zip("ts", sections, strict=True)
        )
        return self._keyed_hash("prefix", model, tools, system), tools, system

    def _hash_scope(self, params: Iterable[Param], model: str | None) -> str:
        shown = [
            (p.name, p.value)
            for p in params
            if self._includes_messages or p.name not in _FREE_TEXT_PARAMS
        ]
        return self._keyed_hash("scope", model, shown)

    def _hash_chain_end(
        self, blocks: Sequence[Block], chain: HashChain
    ) -> tuple[tuple[str, ...], int]:
        """The exported chain at the last 64 block ends, and the index of the first of them."""
        ends: list[str] = []
        above = ""
        for block, link in zip(blocks, chain.prefix_digests, strict=True):
            if (end := self._remembered.get(link)) is None:
                end = self._remembered[link] = self._keyed_hash(
                    "block", above, block.section, block.data
                )
            ends.append(above := end)
        return tuple(ends[-_MAX_CHAIN_HASHES:]), max(0, len(ends) - _MAX_CHAIN_HASHES)

    def _keyed_hash(self, *parts: object) -> str:
        return self._scheme + hmac(self._key, _compact_json(parts), sha256).hex()[:16]


_encode_compact: Final = json.JSONEncoder(separators=(",", ":")).encode


def _compact_json(data: object) -> bytes:
    try:
        return _encode_compact(data).encode()
    except (TypeError, ValueError, RecursionError):
        return _encode_compact(to_plain_json(data)).encode()
