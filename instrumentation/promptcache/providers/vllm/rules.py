"""How vLLM's cache behaves."""

from __future__ import annotations

from typing import Final

from promptcache.providers.cache_rules import CacheRule

CACHE_RULES: Final = (
    CacheRule(
        r"vllm",
        r".*",
        "2026-09-01",
        "vLLM design: full blocks of 16 tokens",
        minimum_tokens=16,
        granularity=16,
        expiry_confidence=0.3,
    ),
)
