"""How xAI's cache behaves."""

from __future__ import annotations

from typing import Final

from promptcache.providers.cache_rules import CacheRule

CACHE_RULES: Final = (
    CacheRule(
        r"x_ai|xai",
        r".*",
        "2026-08-19",
        "docs.x.ai; field test of 2026-08-19",
        granularity=128,
        expiry_confidence=0.3,
    ),
)
