"""How OpenAI's cache behaves, on OpenAI's own API, Azure and Bedrock."""

from __future__ import annotations

from typing import Final

from promptcache.providers.cache_rules import CacheRule

_GUIDE: Final = "OpenAI prompt caching guide, copies of July to October 2026"

CACHE_RULES: Final = (
    CacheRule(r"openai|azure.*", r".*", "2026-10-01", _GUIDE, granularity=128, overflow_rpm=15),
    CacheRule(
        r"openai|azure.*",
        r".*gpt-5\.5",
        "2026-10-01",
        f"{_GUIDE}; implicit points every 2,048 tokens",
        granularity=2048,
        ttl_seconds=1800.0,
        expiry_confidence=0.5,
        overflow_rpm=15,
    ),
    CacheRule(
        r"openai|azure.*|.*bedrock",
        r".*gpt-(5\.[6-9]|[6-9]|\d\d)",
        "2026-10-01",
        _GUIDE,
        ttl_seconds=1800.0,
        bills_writes=True,
        marks_system=True,
        read_multiplier=0.1,
        write_multipliers=(("30m", 1.25), ("12h", 2.5)),
    ),
)
"""From general to special: the last rule that matches is in force."""
