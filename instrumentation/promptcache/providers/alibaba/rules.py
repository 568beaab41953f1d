"""How Alibaba Model Studio's cache behaves."""

from __future__ import annotations

from typing import Final

from promptcache.providers.cache_rules import CacheRule

CACHE_RULES: Final = (
    CacheRule(
        r"alibaba.*|qwen.*",
        r".*",
        "2026-10-11",
        "Model Studio context cache, implicit: from 256 tokens on",
        minimum_tokens=256,
        granularity=128,
        expiry_confidence=0.3,
    ),
)
