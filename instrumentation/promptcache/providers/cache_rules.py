"""Describe how each provider's cache behaves, in dated rules.

Rules only explain what the usage shows. Providers change their caches monthly and contradict
themselves, so a rule alone proves nothing: it sets a tolerance, a limit or a confidence, and an
observation overrides it. A provider's rules are in its folder (`rules.py`), and its row in the
registry names that module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple, final

from promptcache.model import TTL_SECONDS
from promptcache.providers.registry import PROVIDERS, import_provider_module

REQUESTABLE_TTL_SECONDS: Final[Mapping[str, float]] = MappingProxyType(
    {
        **{ttl: float(seconds) for ttl, seconds in TTL_SECONDS.items()},
        "in_memory": 300.0,
        "in-memory": 300.0,
    }
)
"""TTLs that a request can ask for, in seconds. `24h` is left out: OpenAI evicts such prefixes
earlier, typically after 30 minutes."""


@final
class CacheRule(NamedTuple):
    """How the cache treats one family of models, as documented at `documented_on` in `source`.

    `provider_pattern` (full match) and `model_pattern` (match at the start, in any case) are
    regular expressions.

    - `minimum_tokens`: shortest prefix that is cached.
    - `granularity`: reads are rounded down to a multiple of this many tokens; 1 where they are
      exact.
    - `ttl_seconds`: a prefix is safe for this long. Later it may be gone; `expiry_confidence` is
      the confidence that it is.
    - `bills_writes`: written tokens are reported and billed, so an entry exists only where tokens
      were written. Where writes are not billed, every prompt is cached, whatever the request asks.
    - `caches_on_request`: only what a request marks is cached, whatever its wire format is.
    - `marks_system`: an implicit breakpoint is also set at the end of the system prompt.
    - `lookback`: number of blocks that a breakpoint looks back for an entry; None if an entry is
      only found at the position where it was written.
    - `implicit_lookback`: number of message ends that an implicit breakpoint looks back.
    - `max_breakpoints`: number of breakpoints that one request may write.
    - `overflow_rpm`: requests per minute above which one cache key spreads over several machines.
    - `read_multiplier`, `write_multipliers` (pairs of TTL and number): prices as shares of plain
      input, where requests set breakpoints.
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
    caches_on_request: bool = False
    marks_system: bool = False
    lookback: int | None = None
    implicit_lookback: int = 20
    max_breakpoints: int = 4
    overflow_rpm: int | None = None
    read_multiplier: float | None = None
    write_multipliers: tuple[tuple[str, float], ...] = ()


DEFAULT_CACHE_RULE: Final = CacheRule(
    r".*",
    r".*",
    "2026-11-20",
    "no rule known: an automatic prefix cache like most providers have",
    granularity=128,
    expiry_confidence=0.3,
)


@lru_cache(maxsize=1)
def load_cache_rules() -> tuple[CacheRule, ...]:
    """Return all rules from general to special.

    First come the default rule and the rules for all models of a provider, then those for one
    family of models: Claude's rules win over Azure's where Azure serves Claude.
    """
    found = [DEFAULT_CACHE_RULE]
    for module in dict.fromkeys(row.rules for row in PROVIDERS if row.rules):
        found.extend(import_provider_module(module).CACHE_RULES)
    return tuple(
        sorted(found, key=lambda rule: rule.model_pattern != DEFAULT_CACHE_RULE.model_pattern)
    )


@lru_cache(maxsize=512)
def cache_rule_for(provider: str, model: str | None) -> CacheRule:
    """Return the last rule that matches provider and model. The default rule matches all."""
    return next(
        rule
        for rule in reversed(load_cache_rules())
        if re.fullmatch(rule.provider_pattern, provider)
        and re.match(rule.model_pattern, model or "", re.IGNORECASE)
    )


def requested_or_default_ttl_seconds(rule: CacheRule, requested_ttl: str | None) -> float:
    """Return the seconds for which a prefix is safe if the request asked for `requested_ttl`."""
    return REQUESTABLE_TTL_SECONDS.get(requested_ttl or "", rule.ttl_seconds)
