"""A prompt, as the provider's cache sees it: blocks in order, and what else decides on reuse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, final

Section = Literal["tools", "system", "messages"]
"""The section that holds a block, in the order in which every provider reads them."""

SECTIONS: Final[tuple[Section, ...]] = ("tools", "system", "messages")

InvalidationLevel = Literal["tools", "system", "messages", "none"]
"""The first section that a changed parameter invalidates; `none` if the cache survives."""


@final
@dataclass(slots=True)
class Block:
    """The smallest piece of a prompt that a provider caches or drops as a whole. Never changed.

    `index` counts within the section. `kind` is the wire's own word (`text`, `image`, `function`).
    `data` is the block as sent, without its cache marker. `breakpoint_ttl` is the TTL that the
    marker asks for: `""` if the marker names no TTL, None if there is no marker.
    """

    section: Section
    index: int
    kind: str
    data: Any
    breakpoint_ttl: str | None = None


@final
class Param(NamedTuple):
    """A request parameter that decides on the reuse of a cached prefix, but is not text of it."""

    name: str
    value: Any
    invalidation_level: InvalidationLevel


@final
class ParsedPrompt(NamedTuple):
    """The prompt of a request, parsed from its body.

    `is_complete` is False if the server holds an earlier part of the prompt; `server_state_id` then
    identifies that part. `caching_mode` tells how the request asks for caching: `automatic` (the
    provider caches on its own), `implicit` (the provider places a breakpoint), `explicit` (only
    marked blocks are cached) or `none` (the provider caches on request, and the request does not
    ask). `ttl` is the TTL that the whole request asks for. `is_prewarm` marks a call that only
    fills the cache.
    """

    blocks: tuple[Block, ...]
    params: tuple[Param, ...] = ()
    is_complete: bool = True
    server_state_id: str | None = None
    caching_mode: Literal["automatic", "implicit", "explicit", "none"] = "automatic"
    ttl: str | None = None
    is_prewarm: bool = False


@final
class PrefixHashes(NamedTuple):
    """The shape of a prompt that telemetry may export: hashes and sizes, never text.

    A hash reads `p1:<16 hex>` (public key) or `k1:<16 hex>` (the user's key); None if the settings
    do not allow its export. `breakpoints` reads `system[0] 1h`. `chain` holds the prefix hashes at
    the last 64 block ends, and `chain_start` is the index of the first of these blocks.
    `chain_sizes` holds the sizes of these blocks, in bytes of JSON. `section_counts` counts the
    blocks of tools, system and messages.
    """

    hash: str | None
    tools_hash: str | None
    system_hash: str | None
    scope_hash: str | None
    block_count: int
    breakpoints: tuple[str, ...]
    is_complete: bool
    chain: tuple[str, ...] = ()
    chain_start: int | None = None
    chain_sizes: tuple[int, ...] = ()
    section_counts: tuple[int, ...] = ()
