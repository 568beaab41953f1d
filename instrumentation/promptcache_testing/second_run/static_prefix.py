"""Digests of tools, system and their parameters, by which two processes compare their prompts."""

from __future__ import annotations

import json
import re
from array import array
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any, Final

from promptcache.diagnosis.cache_params import LEVEL_ORDER
from promptcache.model import Block, ParsedPrompt
from promptcache.prefix.fingerprint import block_text_or_json, encode_utf8_with_surrogates

_WORD: Final = re.compile(r"\w+|[^\w\s]+")
_ROUTING_PARAMS: Final = frozenset({"prompt_cache_key", "user", "safety_identifier", "session_id"})
"""Each conversation may have its own."""


@dataclass(frozen=True, slots=True)
class BlockDigest:
    """One block of tools or system. `sorted_digest` ignores the order of the keys of JSON."""

    section: str
    index: int
    size: int
    digest: str
    sorted_digest: str


@dataclass(frozen=True, slots=True)
class StaticPrefix:
    """What the calls of one agent have in common: model, parameters, tools and system.

    `params` maps names to digests. `file` and `line` are those of the first call, `call` its
    number.
    """

    model: str | None
    params: tuple[tuple[str, str], ...]
    blocks: tuple[BlockDigest, ...]
    call: int = 0
    file: str | None = None
    line: int | None = None

    @property
    def identity(self) -> object:
        """What two processes must have in common."""
        return (self.model, self.params, tuple((one.section, one.digest) for one in self.blocks))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StaticPrefix:
        blocks = tuple(BlockDigest(**one) for one in data["blocks"])
        params = tuple((name, digest) for name, digest in data["params"])
        values: dict[str, Any] = {**data, "blocks": blocks, "params": params}
        return cls(**values)


@dataclass(slots=True)
class TextDigests:
    """Where a text is equal to another, without the text.

    `prefixes` holds a digest (32 bits) of the text up to each byte, `words` those of its words.
    """

    prefixes: array[int]
    words: array[int]

    def to_json(self) -> list[str]:
        return [b64encode(one.tobytes()).decode() for one in (self.prefixes, self.words)]

    @classmethod
    def from_json(cls, data: list[str]) -> TextDigests:
        prefixes, words = (array("I", b64decode(one)) for one in data)
        return cls(prefixes, words)


@dataclass(slots=True)
class PrefixDigester:
    """Digest static prefixes under `key`, which only the two processes know.

    It keeps the text of each distinct block in memory, to say where the other process differs.
    """

    key: bytes
    texts: dict[str, str] = field(default_factory=dict[str, str])

    def digest_prompt(
        self, prompt: ParsedPrompt, model: str | None, call: int, file: str | None, line: int | None
    ) -> StaticPrefix:
        """Return the digests of a prompt's static prefix."""
        params = tuple(
            (one.name, self._digest(_to_json(one.value)))
            for one in prompt.params
            if LEVEL_ORDER[one.invalidation_level] <= 1 and one.name not in _ROUTING_PARAMS
        )
        static = (one for one in prompt.blocks if one.section != "messages")
        blocks = tuple(self._digest_block(one) for one in static)
        return StaticPrefix(model, params, blocks, call, file, line)

    def _digest_block(self, block: Block) -> BlockDigest:
        text = block_text_or_json(block.data)
        digest = self._digest(text)
        self.texts.setdefault(digest, text)
        ordered = self._digest(_to_json(block.data, sort_keys=True))
        size = len(encode_utf8_with_surrogates(text))
        return BlockDigest(block.section, block.index, size, digest, ordered)

    def _digest(self, text: str) -> str:
        return blake2b(encode_utf8_with_surrogates(text), digest_size=16, key=self.key).hexdigest()

    def digest_text(self, text: str) -> TextDigests:
        """Return the digests of a text at each byte, and of its words."""
        state, prefixes = blake2b(digest_size=4, key=self.key), bytearray()
        for byte in encode_utf8_with_surrogates(text):
            state.update(bytes((byte,)))
            prefixes += state.digest()
        words = bytearray()
        for word in sorted(set(_WORD.findall(text))):
            raw = encode_utf8_with_surrogates(word)
            words += blake2b(raw, digest_size=4, key=self.key).digest()
        return TextDigests(array("I", bytes(prefixes)), array("I", bytes(words)))

    def common_size(self, text: str, other: TextDigests) -> int:
        """Return how many bytes at the beginning are equal in `text` and in the other text."""
        raw = encode_utf8_with_surrogates(text)
        low, high = 0, min(len(raw), len(other.prefixes))
        while low < high:
            middle = (low + high + 1) // 2
            digest = blake2b(raw[:middle], digest_size=4, key=self.key).digest()
            if array("I", digest)[0] == other.prefixes[middle - 1]:
                low = middle
            else:
                high = middle - 1
        return low


def _to_json(value: object, *, sort_keys: bool = False) -> str:
    return json.dumps(value, sort_keys=sort_keys, default=repr)
