"""Refuse breakpoints that Anthropic refuses, in Anthropic's words.

Source: error messages that users of the API quote: sub2api#176 and #225 (the maximum, and thinking
blocks), claude-code-cache-fix#44 (the order of TTLs), claude-code#50082 (empty texts).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from promptcache_emulator.errors import ProviderError
from promptcache_emulator.json_util import JSONObject, as_json_object, as_json_objects
from promptcache_emulator.profiles import TTL_SECONDS

_OFFERED: Final = {ttl: TTL_SECONDS[ttl] for ttl in ("5m", "1h")}

TTL_ORDER: Final = (
    "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. "
    "Note that blocks are processed in the following order: `tools`, `system`, `messages`."
)
_DEFAULT_TTL: Final = "5m"
_NEVER_MARKED: Final = ("thinking", "redacted_thinking")


def check_cache_controls(body: JSONObject) -> None:
    """Raise ProviderError for a breakpoint that no block of this kind or at this place may have."""
    shortest = max(_OFFERED.values())
    for path, block in _located_blocks(body):
        kind = str(block.get("type"))
        if not block.get("cache_control"):
            continue
        if kind in _NEVER_MARKED:
            raise ProviderError(400, f"{path}.{kind}.cache_control: Extra inputs are not permitted")
        if kind == "text" and not block.get("text"):
            message = "cache_control cannot be set for empty text blocks"
            raise ProviderError(400, f"{path}.text: {message}")
        ttl = as_json_object(block["cache_control"]).get("ttl") or _DEFAULT_TTL
        seconds = _OFFERED.get(str(ttl))
        if seconds is None:
            message = f"Input should be '5m' or '1h', not {str(ttl)[:20]!r}"
            raise ProviderError(400, f"{path}.cache_control.ttl: {message}")
        if seconds > shortest:
            raise ProviderError(400, f"{path}.cache_control.ttl: {TTL_ORDER}")
        shortest = min(shortest, seconds)


def _located_blocks(body: JSONObject) -> Iterator[tuple[str, JSONObject]]:
    for section in ("tools", "system"):
        for index, block in enumerate(as_json_objects(body.get(section))):
            yield f"{section}.{index}", block
    for number, message in enumerate(as_json_objects(body.get("messages"))):
        for index, block in enumerate(as_json_objects(message.get("content"))):
            yield f"messages.{number}.content.{index}", block
