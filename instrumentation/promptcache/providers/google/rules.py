"""How the cache of Gemini models behaves. Google documents no TTL for implicit caching."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from promptcache.providers.cache_rules import CacheRule

_PLATFORMS: Final = r"gcp.*|google.*|gemini.*|vertex.*"
_GEMINI: Final = CacheRule(
    _PLATFORMS,
    r".*gemini",
    "2026-09-01",
    "Gemini caching page; no implicit TTL",
    minimum_tokens=2048,
    granularity=256,
    expiry_confidence=0.3,
)
_GEMINI_3: Final = _GEMINI._replace(
    model_pattern=r".*gemini-3",
    source="Gemini caching page, September 2026",
    minimum_tokens=4096,
)
_ON_VERTEX_AI: Final[Mapping[str, Any]] = {
    "provider_pattern": r"gcp\.vertex.*|vertex.*",
    "documented_on": "2026-11-27",
    "source": "Google Cloud, context cache overview: implicit caching in two storage tiers",
    "expiry_confidence": 0.2,
}
"""A prefix that leaves the memory goes to durable storage, and is gone after 24 hours at most. So a
pause of minutes explains a miss less there."""

CACHE_RULES: Final = (
    _GEMINI,
    _GEMINI_3,
    _GEMINI._replace(**_ON_VERTEX_AI),
    _GEMINI_3._replace(**_ON_VERTEX_AI),
)
"""From general to special: the last rule that matches is in force."""
