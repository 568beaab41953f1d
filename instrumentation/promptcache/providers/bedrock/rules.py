"""How Amazon Nova's cache behaves."""

from __future__ import annotations

from typing import Final

from promptcache.providers.cache_rules import CacheRule

CACHE_RULES: Final = (
    CacheRule(
        r".*bedrock",
        r".*nova",
        "2026-06-01",
        "AWS prompt caching page (older copy)",
        minimum_tokens=1000,
        expiry_confidence=0.8,
        bills_writes=True,
        lookback=20,
        read_multiplier=0.25,
        write_multipliers=(("5m", 1.0),),
    ),
)
