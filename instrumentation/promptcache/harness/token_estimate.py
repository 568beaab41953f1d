"""Estimate how many tokens a text has at most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from promptcache.harness.json_guards import is_sequence

_BYTES_PER_TOKEN: Final = 3
"""English has 4 to 5 bytes per token, JSON and code about 3, Chinese 3. So this many bytes per
token give an upper estimate. A breakpoint below the minimum is ignored by every provider and costs
nothing, while a missing one costs the whole cache: so the estimate must not be too low."""
_TOKENS_OF_MEDIA: Final = 1500
"""An image of the size that vendors recommend. Its bytes say nothing about its tokens."""
_LONG_DATA: Final = 4096
_MEDIA_KEYS: Final = frozenset({"data", "url", "image_url", "file_data", "bytes"})


def estimate_tokens(block: object) -> int:
    """Return an upper estimate of the tokens of a text, a block or a message."""
    if isinstance(block, str):
        size = len(block) if block.isascii() else len(block.encode("utf-8", "surrogatepass"))
        return size // _BYTES_PER_TOKEN + 1
    if isinstance(block, Mapping):
        return _estimate_fields(cast("Mapping[str, object]", block))
    if is_sequence(block):
        return sum(map(estimate_tokens, block))
    return 2 if block is None or isinstance(block, bool) else len(str(block))


def _estimate_fields(fields: Mapping[str, object]) -> int:
    tokens = 1
    for key, value in fields.items():
        if isinstance(value, str) and len(value) <= _LONG_DATA and value.isascii():  # nearly all
            tokens += 2 + len(value) // _BYTES_PER_TOKEN
            continue
        is_media = (
            key in _MEDIA_KEYS and isinstance(value, (str, bytes)) and len(value) > _LONG_DATA
        )
        tokens += _TOKENS_OF_MEDIA if is_media else 1 + estimate_tokens(value)
    return tokens
