"""How Groq's cache behaves."""

from __future__ import annotations

from typing import Final

from promptcache.providers.cache_rules import CacheRule

CACHE_RULES: Final = (
    CacheRule(
        r"groq",
        r".*",
        "2026-10-01",
        "console.groq.com: 2 h idle",
        minimum_tokens=128,
        granularity=128,
        ttl_seconds=7200.0,
        expiry_confidence=0.6,
    ),
)
