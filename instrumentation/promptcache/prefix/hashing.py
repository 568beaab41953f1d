"""Hash prompts: in-process digests to compare prompts, exported hashes for people
(docs/specs/prefix.md).

The two kinds never mix. In-process digests are 64-bit integers under a random key of the process:
SipHash, since each call hashes a whole prompt. Python hashes each `str` under such a key and
remembers it, so a text that was sent before is not read again. All other data is hashed as bytes of
`marshal`, and so is everything if PYTHONHASHSEED fixes Python's key.
Exported hashes read `p1:<16 hex>` or `k1:<16 hex>`. They are HMAC-SHA256 over compact JSON, are the
same in every process, and are computed once for each new static prefix.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from hmac import digest as hmac
from typing import Any, Final, cast, final

from promptcache.common.generational_cache import GenerationalCache
from promptcache.common.json_sanitize import marshal_or_sanitize, sanitize_for_json
from promptcache.model import (
    Block,
    Param,
    ParsedPrompt,
    PlainBlock,
    PrefixHashes,
    PromptBlocks,
)
from promptcache.prefix.examined_bytes import ExaminedBytes

_MAX_CHAIN_HASHES: Final = 64
_TYPES_TO_HASH: Final = frozenset({str, bool})
_FREE_TEXT_PARAMS: Final = frozenset(
    {"prompt_cache_key", "user", "safety_identifier", "session_id", "conversation_id"}
)
"""Parameters whose values are text of the application. They are exported under a secret key
only."""


_CONTENT_PARAMS: Final = frozenset({"images"})
"""Parameters that tell what the messages hold. They are no part of the exported scope."""


@final
@dataclass(slots=True)
class PromptDigests:
    """The in-process digests of one prompt.

    `block_digests` holds the digest of each block alone, `prefix_digests` that of the prompt up to
    the end of each block. `static_depth` counts the blocks before the messages. `breakpoint_depths`
    holds the numbers (from 1) of the blocks with a breakpoint. `params_digest` covers all
    parameters.
    """

    block_digests: tuple[int, ...]
    prefix_digests: tuple[int, ...]
    static_depth: int = 0
    breakpoint_depths: tuple[int, ...] = ()
    params_digest: int = 0


@final
class InProcessHasher:
    """Compute in-process digests under `key`, by default 16 random bytes.

    Equal data has equal digests within one process only. `uses_text_hashes` says that texts are
    hashed by Python, under the key of this process.
    """

    __slots__ = ("_key", "_seed", "uses_text_hashes")

    def __init__(self, key: bytes | None = None) -> None:
        self._key = os.urandom(16) if key is None else key
        self._seed = int.from_bytes(blake2b(self._key, digest_size=8).digest(), "big") >> 1
        self.uses_text_hashes = _has_random_text_hashes()

    def keyed_digest(self, data: object) -> bytes:
        """Return 16 bytes for any data. Secrets such as credentials cannot be guessed from them."""
        return blake2b(marshal_or_sanitize(data), digest_size=16, key=self._key[:64]).digest()

    def hash_data(self, data: object) -> int:
        """Return the digest of one piece of data, as in `PromptDigests.block_digests`."""
        if self.uses_text_hashes and (texts := _texts_of(data)) is not None:
            return hash((self._seed, texts))
        return hash(marshal_or_sanitize((self._seed, data)))

    def digest_prompt_blocks(self, prompt: ParsedPrompt, root_digest: int = 0) -> PromptDigests:
        """Return the digests of all blocks. `root_digest` keeps the prefixes of different caches
        apart."""
        blocks = PromptBlocks.from_blocks(prompt.blocks)
        seed, hash_data, digest = self._seed, self.hash_data, root_digest
        entries, depth = blocks.entries, blocks.static_depth
        if self.uses_text_hashes:
            block_digests = [
                hash((seed, one)) if type(one) is tuple else hash_data(cast("Block", one).data)
                for one in entries
            ]
        else:
            block_digests = [hash_data(block.data) for block in blocks]
        prefix_digests: list[int] = []
        for at in range(depth):
            digest = hash((digest, cast("Block", entries[at]).section, block_digests[at]))
            prefix_digests.append(digest)
        prefix_digests += [
            digest := hash((digest, "messages", block_digest))
            for block_digest in block_digests[depth:]
        ]
        return PromptDigests(
            tuple(block_digests),
            tuple(prefix_digests),
            depth,
            blocks.breakpoint_depths,
            self._hash_params(prompt.params),
        )

    def _hash_params(self, params: tuple[Param, ...]) -> int:
        # Most values are strings. An object of the application's must not be asked for its hash,
        # and two numbers may have the same.
        if self.uses_text_hashes and all(type(p.value) in _TYPES_TO_HASH for p in params):
            return hash((self._seed, params))
        return self.hash_data([(p.name, p.value, p.invalidation_level) for p in params])


def _has_random_text_hashes() -> bool:
    """Return whether this process hashes texts under a random key, which PYTHONHASHSEED can fix."""
    fixed = None if sys.flags.ignore_environment else os.environ.get("PYTHONHASHSEED")
    return bool(sys.flags.hash_randomization) and fixed in (None, "", "random")


def _texts_of(data: Any) -> PlainBlock | None:
    """Return the names and values of data that could be a plain block, or is one text."""
    if type(data) is str:
        return (data,)
    if type(data) is not dict or not 0 < len(fields := cast("dict[str, Any]", data)) < 3:
        return None
    texts: list[Any] = []
    for name, value in fields.items():
        if type(value) is dict and texts and 0 < len(inner := cast("dict[str, Any]", value)) < 3:
            texts.append(name)
            for pair in inner.items():
                texts += pair
        else:
            texts += name, value
    for text in texts:
        if type(text) is not str:
            return None
    return tuple(texts)


def derive_key(key: bytes) -> bytes:
    """Return a key for `InProcessHasher`, from which nobody finds `key`."""
    return blake2b(key, digest_size=16, person=b"in process").digest()


@final
class ExportedPrefixHasher:
    """Compute exported hashes under `hash_key`, or under a public constant where it is None.

    `hashes` is `none`, `static` (tools, system and enumerated parameters) or `all` (messages and
    free text too; it needs the key). Computed hashes are remembered by in-process digests, so all
    chains must come from one `InProcessHasher`.
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

    def compute_prefix_hashes(
        self, prompt: ParsedPrompt, prompt_digests: PromptDigests, model: str | None
    ) -> PrefixHashes:
        """Return the shape of `prompt`, with the hashes that the settings allow."""
        blocks = prompt.blocks
        marked = [blocks[depth - 1] for depth in prompt_digests.breakpoint_depths]
        breakpoints = tuple([f"{b.section}[{b.index}] {b.breakpoint_ttl}".rstrip() for b in marked])
        if self._is_disabled:
            return PrefixHashes(
                None, None, None, None, len(blocks), breakpoints, prompt.is_complete
            )
        depth, params_digest = prompt_digests.static_depth, prompt_digests.params_digest
        static_digest = prompt_digests.prefix_digests[depth - 1] if depth else 0
        both_key = (model, static_digest, params_digest)
        if (found := self._remembered.get(both_key)) is None:
            static_key, scope_key = (model, static_digest), (model, "scope", params_digest)
            if (static_hashes := self._remembered.get(static_key)) is None:
                static_hashes = self._hash_static_prefix(blocks[:depth], model)
                self._remembered[static_key] = static_hashes
            if (scope := self._remembered.get(scope_key)) is None:
                scope = self._hash_params_and_model(prompt.params, model)
                self._remembered[scope_key] = scope
            found = self._remembered[both_key] = (*static_hashes, scope)
        prefix, tools, system, scope = found
        count = len(prompt_digests.block_digests)
        hashes = PrefixHashes(prefix, tools, system, scope, count, breakpoints, prompt.is_complete)
        if prefix is None:
            return hashes._replace(is_oversized=True)
        if self._includes_messages:
            return self._with_chain(hashes, blocks, prompt_digests)
        return hashes

    def _hash_static_prefix(
        self, blocks: Sequence[Block], model: str | None
    ) -> tuple[str | None, str | None, str | None]:
        """Return the hashes of the whole static prefix, of the tools and of the system prompt.

        A prefix that is too large has none: a hash of a part would look like one of the whole.
        """
        examined = ExaminedBytes()
        if not all(examined.take(block.data) for block in blocks):
            return None, None, None
        sections = [[b.data for b in blocks if b.section == name] for name in ("tools", "system")]
        tools, system = (
            self._keyed_hash(name, data) if data else None
            for name, data in zip("ts", sections, strict=True)
        )
        return self._keyed_hash("prefix", model, tools, system), tools, system

    def _hash_params_and_model(self, params: Iterable[Param], model: str | None) -> str:
        exported = [
            (p.name, p.value)
            for p in params
            if p.name not in _CONTENT_PARAMS
            and (self._includes_messages or p.name not in _FREE_TEXT_PARAMS)
        ]
        return self._keyed_hash("scope", model, exported)

    def _with_chain(
        self, hashes: PrefixHashes, blocks: Sequence[Block], prompt_digests: PromptDigests
    ) -> PrefixHashes:
        """Add the exported chain at the last 64 block ends, with the sizes of these blocks.

        A prompt with more new bytes than one call examines has no chain. The hashes so far are
        remembered: if the next calls repeat its blocks, one of them has the chain.
        """
        examined = ExaminedBytes()
        chain: list[str] = []
        sizes: list[int] = []
        previous = ""
        for at, digest in enumerate(prompt_digests.prefix_digests):
            if (known := self._remembered.get(digest)) is None:
                block = blocks[at]
                if not examined.take(block.data):
                    return hashes._replace(is_oversized=True)
                data = _encode_compact_json(("block", previous, block.section, block.data))
                known = self._hash_encoded(data), len(data)
                self._remembered[digest] = known
            previous, size = known
            chain.append(previous)
            sizes.append(size)
        depth = prompt_digests.static_depth
        static = [block.section for block in blocks[:depth]]
        return hashes._replace(
            chain=tuple(chain[-_MAX_CHAIN_HASHES:]),
            chain_start=max(0, len(chain) - _MAX_CHAIN_HASHES),
            chain_sizes=tuple(sizes[-_MAX_CHAIN_HASHES:]),
            section_counts=(static.count("tools"), static.count("system"), len(blocks) - depth),
        )

    def _keyed_hash(self, *parts: object) -> str:
        return self._hash_encoded(_encode_compact_json(parts))

    def _hash_encoded(self, data: bytes) -> str:
        return self._scheme + hmac(self._key, data, sha256).hex()[:16]


_encode_compact: Final = json.JSONEncoder(separators=(",", ":")).encode


def _encode_compact_json(data: object) -> bytes:
    try:
        return _encode_compact(data).encode()
    except (TypeError, ValueError, RecursionError):
        return _encode_compact(sanitize_for_json(data)).encode()
