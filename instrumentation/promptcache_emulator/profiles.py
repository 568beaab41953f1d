"""Dated rules of each provider's cache, written from the vendors' pages.

Only the emulator reads these rows. The last row whose `models` matches and whose `since` is not
later than the emulator's clock is in force. Overrides (`profile_overrides.py`) replace single
fields, to test a diagnosis against a provider that does not follow its documentation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

TTL_SECONDS: Final[Mapping[str, float]] = MappingProxyType(
    {"5m": 300, "10m": 600, "30m": 1800, "1h": 3600, "2h": 7200, "12h": 43200, "24h": 86400}
)

IMPLICIT_MODES: Final = ("none", "latest", "developer", "pinned")
"""Which breakpoints the provider sets by itself, as values of `implicit_mode`.

`none`: it sets none. `latest`: at message ends only, for reads and writes. `developer`: also at the
end of the initial developer block, and reads at 20 earlier message ends. `pinned`: only the entry
of the developer block is ever read (field report ax-llm/ax#573).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheProfile:
    """How one group of models caches from one date on.

    `models` is a regular expression for the beginning of the model name, `since` an ISO date.
    `min_tokens` is the shortest prefix that is cached. `granularity` is in tokens; 0 means that
    prefixes end exactly at a breakpoint. `ttl` is the default TTL, which each use renews, up to
    `max_age_seconds`. `ttl_factor` multiplies all lifetimes. `implicit_mode` is one of
    IMPLICIT_MODES. `lookback_blocks` limits the positions that a read considers,
    `implicit_lookback` the earlier message ends that an implicit breakpoint considers.
    `max_breakpoints` limits the breakpoints that one request may write. `bills_writes` is true if
    written tokens are a class of usage.
    """

    models: str
    since: str = "2024-01-01"
    min_tokens: int = 1024
    granularity: int = 0
    ttl: str = "5m"
    max_age_seconds: float = float("inf")
    ttl_factor: float = 1.0
    implicit_mode: str = "none"
    lookback_blocks: int = 20
    implicit_lookback: int = 20
    max_breakpoints: int = 4
    bills_writes: bool = True
    source: str = field(default="", compare=False)

    def ttl_seconds(self, ttl: str) -> float:
        return TTL_SECONDS[ttl] * self.ttl_factor


def select_profile(
    profiles: tuple[CacheProfile, ...], model: str, now: float, overrides: Mapping[str, Any]
) -> CacheProfile:
    """Return the row in force for `model` at epoch second `now`, with the overrides applied."""
    day = datetime.fromtimestamp(now, UTC).date().isoformat()
    matches = [row for row in profiles if re.match(row.models, model) and row.since <= day]
    return replace(matches[-1], **overrides)


OPENAI_PROFILES: Final = (
    CacheProfile(
        models="",
        granularity=128,
        ttl="10m",
        max_age_seconds=3600,
        bills_writes=False,
        source=(
            "OpenAI prompt caching guide, 2024-10: automatic from 1,024 tokens, 5-10 "
            "minutes idle, an hour at most"
        ),
    ),
    CacheProfile(
        models=r"(ft:)?(gpt-|o\d|chatgpt-|codex-)",
        since="2026-05-29",
        granularity=128,
        ttl="24h",
        max_age_seconds=86400,
        bills_writes=False,
        source="OpenAI: default retention 24h for organizations without ZDR since 2026-05-29",
    ),
    CacheProfile(
        models=r"(ft:)?gpt-(5\.[6-9]|[6-9]|\d\d)",
        since="2026-07-09",
        ttl="30m",
        implicit_mode="latest",
        lookback_blocks=80,
        implicit_lookback=50,
        source=(
            "OpenAI guide of July 2026: one implicit breakpoint, at the end of the "
            "latest message; no fall-back"
        ),
    ),
    CacheProfile(
        models=r"(ft:)?gpt-(5\.[6-9]|[6-9]|\d\d)",
        since="2026-10-01",
        ttl="30m",
        implicit_mode="developer",
        lookback_blocks=80,
        source=(
            "OpenAI guide of autumn 2026: also the end of the initial developer block "
            "and 20 earlier message ends"
        ),
    ),
)

_ANTHROPIC_PAGE: Final = "Anthropic prompt caching page: "
_LOWERED_IN_2026: Final = (
    _ANTHROPIC_PAGE + "minimum lowered during 2026 (extracts of July to September)"
)
_AUTUMN_2026: Final = _ANTHROPIC_PAGE + "minimum by model, autumn 2026"

ANTHROPIC_PROFILES: Final = (
    CacheProfile(models="", source=_AUTUMN_2026),
    CacheProfile(
        models=r"claude-(3-haiku|3-5-haiku|haiku-3)", min_tokens=2048, source=_AUTUMN_2026
    ),
    CacheProfile(models=r"claude-(opus-4-[56]|haiku-4-5)", min_tokens=4096, source=_AUTUMN_2026),
    CacheProfile(models=r"claude-opus-4-[78]", min_tokens=4096, source=_AUTUMN_2026),
    CacheProfile(models=r"claude-sonnet-4-6", min_tokens=2048, source=_AUTUMN_2026),
    CacheProfile(models=r"claude-(opus|fable|mythos)-5", min_tokens=512, source=_AUTUMN_2026),
    CacheProfile(models=r"claude-(sonnet|haiku)-5-5", min_tokens=512, source=_AUTUMN_2026),
    CacheProfile(models=r"claude-fable-5$", min_tokens=2048, source=_AUTUMN_2026),
    CacheProfile(
        models=r"claude-fable-5$", since="2026-07-01", min_tokens=512, source=_LOWERED_IN_2026
    ),
    CacheProfile(
        models=r"claude-opus-4-7", since="2026-07-01", min_tokens=2048, source=_LOWERED_IN_2026
    ),
    CacheProfile(
        models=r"claude-opus-4-8", since="2026-07-01", min_tokens=1024, source=_LOWERED_IN_2026
    ),
    CacheProfile(
        models=r"claude-sonnet-4-6", since="2026-07-01", min_tokens=1024, source=_LOWERED_IN_2026
    ),
)

BEDROCK_PROFILES: Final = (
    *ANTHROPIC_PROFILES,
    CacheProfile(
        models=r"claude-opus-4-7",
        min_tokens=4096,
        source="AWS prompt caching page; the model map of LiteLLM says 2048",
    ),
    CacheProfile(
        models=r"nova-",
        min_tokens=1000,
        source="AWS prompt caching page: Nova 1,000 tokens (older copy)",
    ),
)

_GEMINI_PAGE: Final = (
    "Gemini API context caching page of 2026-09: minimum; "
    "lifetime and step of implicit caching are unpublished"
)
_VERTEX_PAGE: Final = "Vertex AI context cache overview, autumn 2026: minimum by generation"

GEMINI_PROFILES: Final = (
    CacheProfile(
        models="",
        min_tokens=2048,
        granularity=256,
        ttl="10m",
        bills_writes=False,
        source=_GEMINI_PAGE,
    ),
    CacheProfile(
        models=r"gemini-3",
        min_tokens=4096,
        granularity=256,
        ttl="10m",
        bills_writes=False,
        source=_GEMINI_PAGE,
    ),
)

VERTEX_PROFILES: Final = (
    CacheProfile(
        models="",
        min_tokens=2048,
        granularity=256,
        ttl="10m",
        bills_writes=False,
        source=_VERTEX_PAGE,
    ),
    CacheProfile(
        models=r"gemini-3",
        min_tokens=4096,
        granularity=256,
        ttl="10m",
        bills_writes=False,
        source=_VERTEX_PAGE,
    ),
    CacheProfile(
        models=r"gemini-3(\.[078])?-(flash|pro)",
        min_tokens=6144,
        granularity=256,
        ttl="10m",
        bills_writes=False,
        source=_VERTEX_PAGE,
    ),
    CacheProfile(
        models=r"gemini-3\.1-pro",
        min_tokens=6144,
        granularity=256,
        ttl="10m",
        bills_writes=False,
        source=_VERTEX_PAGE,
    ),
)
