"""How the cache of Gemini models behaves. Google documents no TTL for implicit caching."""

from __future__ import annotations

from typing import Final

from promptcache.providers.cache_rules import CacheRule

_PLATFORMS: Final = r"gcp.*|google.*|gemini.*|vertex.*"

CACHE_RULES: Final = (
    CacheRule(
        _PLATFORMS,
        r".*gemini",
        "2026-09-01",
        "Gemini caching page; no implicit TTL",
        minimum_tokens=2048,
        granularity=256,
        expiry_confidence=0.3,
    ),
    CacheRule(
        _PLATFORMS,
        r".*gemini-3",
        "2026-09-01",
        "Gemini caching page, September 2026",
        minimum_tokens=4096,
        granularity=256,
        expiry_confidence=0.3,
    ),
)
"""From general to special: the last rule that matches is in force."""
