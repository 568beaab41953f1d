"""How Mistral's cache behaves."""

from __future__ import annotations

from typing import Final

from promptcache.providers.cache_rules import CacheRule

CACHE_RULES: Final = (
    CacheRule(
        r"mistral.*",
        r".*",
        "2026-10-01",
        "docs.mistral.ai: blocks of 64 tokens",
        minimum_tokens=64,
        granularity=64,
        expiry_confidence=0.3,
    ),
)
