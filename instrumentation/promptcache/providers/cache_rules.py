"""What each provider's cache does: dated rows with a confidence. Rules only explain what the usage shows.

Vendors change these monthly and contradict each other, so a rule alone proves nothing: it sets a tolerance, a limit or
a confidence, and what is observed overrides it. The last row that matches provider and model is in force.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple, final

from promptcache.model import TTL_SECONDS

DAY: Final = 86_400.0
REQUESTABLE_TTL_SECONDS: Final[Mapping[str, float]] = MappingProxyType(
    {**TTL_SECONDS, "in_memory": 300, "in-memory": 300}
)
"""TTLs that a request can ask for, in seconds; `24h` is missing: its prefixes go earlier (OpenAI: typically 30 min)."""


@final
class CacheRule(NamedTuple):
    """How one family of models caches, as documented at `documented_on`.

    `minimum_tokens` and `granularity` are in tokens (`granularity`: reads are rounded down to its multiples, 1 where they are exact). `ttl_seconds`
    is the time in seconds for which a prefix is safe; later it may be gone, with `expiry_confidence` as the confidence that it is.
    `bills_writes` says that written tokens are reported and billed, so that an entry stands only where it was written;
    `lookback` counts the blocks that a breakpoint looks back (None: it must stand at the same place again), `implicit_lookback`
    the message ends that an implicit one does. `max_breakpoints` is how many breakpoints may be written; `overflow_rpm` the
    requests a minute above which a key overflows.
    """

    provider_pattern: str
    model_pattern: str
    documented_on: str
    source: str
    minimum_tokens: int = 1024
    granularity: int = 1
    ttl_seconds: float = 300.0
    expiry_confidence: float = 0.6
    bills_writes: bool = False
    lookback: int | None = None
    implicit_lookback: int = 20
    max_breakpoints: int = 4
    overflow_rpm: int | None = None


_GUIDE: Final = "OpenAI prompt caching guide, copies of July to October 2026"
_CLAUDE: Final = "Anthropic prompt caching page, copies of April to September 2026"
_CLAUDE_PLATFORMS: Final = r"anthropic|.*bedrock|.*vertex_ai|.*vertex|.*foundry"

CACHE_RULES: Final = (
    CacheRule(
        r".*",
        r".*",
        "2026-11-20",
        "no rule known: an automatic prefix cache as most have it",
        granularity=128,
        expiry_confidence=0.3,
    ),
    CacheRule(r"openai|azure.*", r".*", "2026-10-01", _GUIDE, granularity=128, overflow_rpm=15),
    CacheRule(
        r"openai|azure.*",
        r".*gpt-5\.5",
        "2026-10-01",
        _GUIDE + "; implicit points every 2,048 tokens",
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
    ),
    CacheRule(
        _CLAUDE_PLATFORMS,
        r".*claude",
        "2026-09-01",
        _CLAUDE,
        expiry_confidence=0.9,
        bills_writes=True,
        lookback=20,
    ),
    CacheRule(
        _CLAUDE_PLATFORMS,
        r".*claude-(opus-5|sonnet-5-5|haiku-5-5|fable-5|mythos-5)",
        "2026-10-07",
        _CLAUDE,
        minimum_tokens=512,
        expiry_confidence=0.9,
        bills_writes=True,
        lookback=20,
    ),
    CacheRule(
        _CLAUDE_PLATFORMS,
        r".*claude-(opus-4-7|(3-5-haiku|haiku-3-5)|3-haiku)",
        "2026-09-01",
        _CLAUDE,
        minimum_tokens=2048,
        expiry_confidence=0.9,
        bills_writes=True,
        lookback=20,
    ),
    CacheRule(
        _CLAUDE_PLATFORMS,
        r".*claude-(opus-4-[56]|haiku-4-5)",
        "2026-09-01",
        _CLAUDE,
        minimum_tokens=4096,
        expiry_confidence=0.9,
        bills_writes=True,
        lookback=20,
    ),
    CacheRule(
        r".*bedrock",
        r".*nova",
        "2026-06-01",
        "AWS prompt caching page (older copy)",
        minimum_tokens=1000,
        expiry_confidence=0.8,
        bills_writes=True,
        lookback=20,
    ),
    CacheRule(
        r"gcp.*|google.*|gemini.*|vertex.*",
        r".*gemini",
        "2026-09-01",
        "Gemini caching page; no implicit TTL",
        minimum_tokens=2048,
        granularity=256,
        expiry_confidence=0.3,
    ),
    CacheRule(
        r"gcp.*|google.*|gemini.*|vertex.*",
        r".*gemini-3",
        "2026-09-01",
        "Gemini caching page, September 2026",
        minimum_tokens=4096,
        granularity=256,
        expiry_confidence=0.3,
    ),
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
    CacheRule(
        r"x_ai|xai",
        r".*",
        "2026-08-19",
        "docs.x.ai; field test of 2026-08-19",
        granularity=128,
        expiry_confidence=0.3,
    ),
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
    CacheRule(
        r"mistral.*",
        r".*",
        "2026-10-01",
        "docs.mistral.ai: blocks of 64 tokens",
        minimum_tokens=64,
        granularity=64,
        expiry_confidence=0.3,
    ),
    CacheRule(
        r"alibaba.*|qwen.*",
        r".*",
        "2026-10-11",
        "Model Studio context cache, implicit",
        granularity=128,
        expiry_confidence=0.3,
    ),
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
"""From general to special."""


@lru_cache(maxsize=512)
def cache_rule_for(provider: str, model: str | None) -> CacheRule:
    """The rule in force; there is always one."""
    return next(
        row
        for row in reversed(CACHE_RULES)
        if re.fullmatch(row.provider_pattern, provider)
        and re.match(row.model_pattern, model or "", re.IGNORECASE)
    )


def safe_ttl_seconds(rule: CacheRule, requested_ttl: str | None) -> float:
    """Seconds for which a prefix is safe when the request asked for the TTL `requested_ttl`."""
    return REQUESTABLE_TTL_SECONDS.get(requested_ttl or "", rule.ttl_seconds)
