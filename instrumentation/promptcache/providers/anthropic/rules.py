"""How the cache of Claude models behaves, on every platform that serves them."""

from __future__ import annotations

from typing import Final

from promptcache.providers.cache_rules import CacheRule

_PAGE: Final = "Anthropic prompt caching page, copies of April to September 2026"
_CLAUDE: Final = CacheRule(
    r".*",  # gateways serve Claude, too
    r".*claude",
    "2026-09-01",
    _PAGE,
    expiry_confidence=0.9,
    bills_writes=True,
    caches_on_request=True,
    lookback=20,
    read_multiplier=0.1,
    write_multipliers=(("5m", 1.25), ("1h", 2.0)),
)

_BEFORE_4_5_ON_BEDROCK: Final = _CLAUDE._replace(
    provider_pattern=r"aws\.bedrock",
    model_pattern=r".*claude-(3|(opus|sonnet)-4-([01]\b|20))",
    write_multipliers=(("5m", 1.25),),
)
"""AWS's page: an hour from Claude 4.5 on."""

CACHE_RULES: Final = (
    _CLAUDE,
    _CLAUDE._replace(
        model_pattern=r".*claude-(opus-5|sonnet-5[-.]5|haiku-5[-.]5|fable-5|mythos-5)",
        documented_on="2026-10-07",
        minimum_tokens=512,
    ),
    _CLAUDE._replace(
        model_pattern=r".*claude-(opus-4[-.]7|3[-.]5-haiku|haiku-3[-.]5|3-haiku)",
        minimum_tokens=2048,
    ),
    _CLAUDE._replace(model_pattern=r".*claude-(opus-4[-.][56]|haiku-4[-.]5)", minimum_tokens=4096),
    _BEFORE_4_5_ON_BEDROCK,
    _BEFORE_4_5_ON_BEDROCK._replace(
        model_pattern=r".*claude-(3[-.]5-haiku|haiku-3[-.]5|3-haiku)", minimum_tokens=2048
    ),
)
"""From general to special: the last rule that matches is in force."""
