"""A prompt as a provider's cache reads it: blocks in order, with token offsets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import accumulate
from typing import Final

from promptcache_emulator.tokens import count_tokens, token_ends

TOOLS: Final = 0
SYSTEM: Final = 1
MESSAGES: Final = 2
"""Levels of a prompt, in the order in which providers read them."""


@dataclass(frozen=True, slots=True)
class PromptBlock:
    """A part of a prompt. A cache breakpoint can be set at its end.

    `level` is TOOLS, SYSTEM or MESSAGES. `breakpoint_ttl` is the TTL of an explicit breakpoint:
    `""` for the default TTL, None for no breakpoint. `ends_message` is true for the last block of
    a message. `fixed_tokens` is the token count of a block that is not counted by text (images).
    """

    text: str
    level: int = MESSAGES
    breakpoint_ttl: str | None = None
    ends_message: bool = True
    fixed_tokens: int | None = None

    @property
    def token_count(self) -> int:
        return count_tokens(self.text) if self.fixed_tokens is None else self.fixed_tokens

    def text_up_to(self, max_tokens: int) -> str:
        """Return the text of the first tokens. A block with `fixed_tokens` is never split."""
        if max_tokens <= 0:
            return ""
        if self.fixed_tokens is not None:
            return self.text
        return self.text[: token_ends(self.text)[max_tokens - 1]]


@dataclass(frozen=True)
class PromptLayout:
    """The blocks of a prompt in the provider's order, and the salts that separate cache entries.

    `salts` has one value per level, made of the parameters that invalidate a cache entry without
    being text. An entry matches only if the salts of its own level and of all levels before it
    are equal.
    """

    blocks: tuple[PromptBlock, ...]
    salts: tuple[str, str, str] = ("", "", "")

    @cached_property
    def end_offsets(self) -> tuple[int, ...]:
        """The token offset of the end of each block."""
        return tuple(accumulate(block.token_count for block in self.blocks))

    @property
    def total_tokens(self) -> int:
        return self.end_offsets[-1] if self.end_offsets else 0

    def prefix_digests(self, offsets: Iterable[int]) -> Iterator[tuple[int, int, bytes]]:
        """Yield (offset, level, digest of the text before it) for each token offset, ascending."""
        digest = blake2b(digest_size=16)
        remaining = iter(sorted(set(offsets)))
        offset = next(remaining, None)
        start = 0
        for block, end in zip(self.blocks, self.end_offsets, strict=True):
            hashed = 0
            while offset is not None and offset <= end:
                text = block.text_up_to(offset - start)
                digest.update(text[hashed:].encode("utf-8", "surrogatepass"))
                hashed = len(text)
                yield offset, block.level, digest.digest()
                offset = next(remaining, None)
            digest.update(block.text[hashed:].encode("utf-8", "surrogatepass") + b"\0")
            start = end
