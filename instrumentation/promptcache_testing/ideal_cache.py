"""A cache without a minimum, a granularity or an end: it reads whatever was sent before.

Under it a call misses tokens only if its bytes changed, whatever the provider's rules are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

from promptcache.model import Block, ParsedPrompt, Request, Usage
from promptcache.prefix.fingerprint import block_text_or_json

_LEVELS: Final = {"tools": 0, "system": 1, "messages": 2, "none": 3}
_IMAGE_BYTES: Final = 4_000
"""The weight that the diagnosis gives to an image."""
TOKENS_PER_BYTE: Final = 1_000
"""A byte counts as so many tokens, so that no prompt is below a provider's minimum."""


class IdealCache:
    """The prefixes of all earlier calls."""

    def __init__(self) -> None:
        self._prefixes: set[bytes] = set()
        self._size_by_state: dict[str, int] = {}

    def read_and_write(self, request: Request, prompt: ParsedPrompt) -> Usage:
        """Return the usage of a call, and keep all of its prefixes."""
        state_size = self._size_by_state.get(prompt.server_state_id or "", 0)
        read = size = state_size
        for digest, block in _prefix_digests(request, prompt):
            size += _size_of(block)
            if digest in self._prefixes:
                read = size
            self._prefixes.add(digest)
        read, size = read * TOKENS_PER_BYTE, max(size, 1) * TOKENS_PER_BYTE
        return Usage(size, size - read, read, None)

    def keep_state(self, response_id: str | None, usage: Usage) -> None:
        """Keep the size of a prompt that the server stores under the id of its response."""
        if response_id:
            self._size_by_state[response_id] = usage.input_tokens // TOKENS_PER_BYTE


def _prefix_digests(request: Request, prompt: ParsedPrompt) -> Iterator[tuple[bytes, Block]]:
    scope = repr((request.provider, request.host, request.model, request.cache_scope))
    digest = blake2b(f"{scope}{prompt.server_state_id}".encode(), digest_size=16).digest()
    salts = [
        repr([(p.name, p.value) for p in prompt.params if _LEVELS[p.invalidation_level] <= level])
        for level in range(3)
    ]
    for block in prompt.blocks:
        data = json.dumps(block.data, default=repr)
        text = f"{block.section}{data}{salts[_LEVELS[block.section]]}"
        digest = blake2b(digest + text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        yield digest, block


def _size_of(block: Block) -> int:
    if "image" in block.kind:
        return _IMAGE_BYTES
    return len(block_text_or_json(block.data).encode("utf-8", "surrogatepass"))
