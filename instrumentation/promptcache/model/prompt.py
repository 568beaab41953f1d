"""A prompt, as the provider's cache sees it: blocks in order, and what else decides on reuse."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias, final, overload

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


PlainBlock: TypeAlias = tuple[str, ...]
"""The names and values of a message that has nothing but a text, in their order: 2, 4, 5 or 7
strings. `("role", "user", "content", "Hi")` is `{"role": "user", "content": "Hi"}`; with 5 or 7,
the third names the object that the others make: `("role", "user", "parts", "text", "Hi")`."""


def data_of_plain_block(plain: PlainBlock) -> dict[str, Any]:
    """Return the data of a plain block."""
    if len(plain) < 5:
        return dict(zip(plain[::2], plain[1::2], strict=True))
    inner = plain[3:]
    return {plain[0]: plain[1], plain[2]: dict(zip(inner[::2], inner[1::2], strict=True))}


@final
class PromptBlocks(Sequence[Block]):
    """The blocks of a prompt. The `Block` of a plain message is made when it is read.

    So a conversation of thousands of messages costs little, of which only the last ones are new.
    `entries` holds one entry for each block. The first `static_depth` are blocks of tools and
    system, all others are messages. `breakpoint_depths` holds the numbers (from 1) of the blocks
    with a breakpoint.
    """

    __slots__ = ("breakpoint_depths", "entries", "static_depth")

    def __init__(
        self,
        entries: Sequence[Block | PlainBlock],
        static_depth: int,
        breakpoint_depths: tuple[int, ...],
    ) -> None:
        self.entries = entries
        self.static_depth = static_depth
        self.breakpoint_depths = breakpoint_depths

    @classmethod
    def from_blocks(cls, blocks: Iterable[Block]) -> PromptBlocks:
        """Return these blocks, in order."""
        if isinstance(blocks, PromptBlocks):
            return blocks
        entries = tuple(blocks)
        sections = [block.section for block in entries]
        static_depth = sections.index("messages") if "messages" in sections else len(entries)
        depths = [n for n, block in enumerate(entries, 1) if block.breakpoint_ttl is not None]
        return cls(entries, static_depth, tuple(depths))

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> Block: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Block, ...]: ...
    def __getitem__(self, index: int | slice) -> Block | tuple[Block, ...]:
        if isinstance(index, slice):
            return tuple([self._block_at(at) for at in range(*index.indices(len(self.entries)))])
        return self._block_at(range(len(self.entries))[index])

    def __iter__(self) -> Iterator[Block]:
        return map(self._block_at, range(len(self.entries)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PromptBlocks) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # as of a list: its blocks have none either

    def place_of(self, at: int) -> tuple[Section, int]:
        """Return section and index of a block, without making it."""
        entry = self.entries[at]
        if isinstance(entry, tuple):
            return "messages", at - self.static_depth
        return entry.section, entry.index

    def _block_at(self, at: int) -> Block:
        entry = self.entries[at]
        if not isinstance(entry, tuple):
            return entry
        return Block("messages", at - self.static_depth, "text", data_of_plain_block(entry))


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

    blocks: Sequence[Block]
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
    blocks of tools, system and messages. `is_oversized` is True if the prompt is larger than what
    one call examines, or has too many blocks: hashes that would not cover every byte are None then.
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
    is_oversized: bool | None = None
