"""How MiniMax's cache behaves.

Every prompt is cached for as long as the load allows, and reads are cheaper. On the Messages API a
request may also mark blocks with `cache_control`: such writes are billed and live five minutes.
"""

from __future__ import annotations

from typing import Final

from promptcache.providers.cache_rules import CacheRule

CACHE_RULES: Final = (
    CacheRule(
        r"minimax",
        r".*",
        "2026-11-28",
        "platform.minimax.io: prompt caching, and explicit prompt caching (Anthropic API)",
        minimum_tokens=512,
        granularity=128,
        expiry_confidence=0.3,
        lookback=20,
    ),
)
