"""How DeepSeek's cache behaves."""

from __future__ import annotations

from typing import Final

from promptcache.providers.cache_rules import CacheRule

CACHE_RULES: Final = (
    CacheRule(
        r"deepseek",
        r".*",
        "2026-10-01",
        "api-docs.deepseek.com: whole prefix units, hours to days",
        minimum_tokens=64,
        granularity=64,
        ttl_seconds=7200.0,
        expiry_confidence=0.3,
    ),
)
