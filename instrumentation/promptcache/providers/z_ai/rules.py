"""How the cache of Z.ai (Zhipu's GLM) behaves.

It is automatic. The servers accept `cache_control` too, which LiteLLM sends them; what it changes
is not documented.
"""

from __future__ import annotations

from typing import Final

from promptcache.providers.cache_rules import CacheRule

CACHE_RULES: Final = (
    CacheRule(
        r"z_ai",
        r".*",
        "2026-11-28",
        "docs.z.ai, context caching: automatic; docs.litellm.ai, prompt caching: takes markers",
        granularity=128,
        expiry_confidence=0.3,
    ),
)
