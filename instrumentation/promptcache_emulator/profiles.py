"""What each provider's cache did at which date: rows of data, written from the vendors' pages, read by nobody else.

The last row whose `models` matches and whose `since` is not later than the emulator's clock is in force. Any field can
be overridden (`override("minimum=2048,stretch=0.5", rules)`), so that a diagnosis can be tried against a provider
that does not behave as documented.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

TTL_SECONDS: Final[Mapping[str, float]] = MappingProxyType(
    {"5m": 300, "10m": 600, "30m": 1800, "1h": 3600, "2h": 7200, "12h": 43200, "24h": 86400}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheProfile:
    """How one family of models caches.

    `models` is a regular expression for the beginning of the model's name; `minimum` and `step` are in tokens (`step`
    0: prefixes end exactly where a breakpoint stands); `ttl` is the default lifetime, renewed by each use, `age` its
    bound in seconds; `stretch` multiplies all lifetimes; `implicit` says which breakpoints the provider sets by
    itself; `lookback` bounds how many positions a read considers, `endings` how many message ends an implicit one
    does; `marks` how many breakpoints a request may write; `bills` that written tokens are a class of usage.
    """

    models: str
    since: str = "2024-01-01"
    minimum: int = 1024
    step: int = 0
    ttl: str = "5m"
    age: float = float("inf")
    stretch: float = 1.0
    implicit: str = "none"
    lookback: int = 20
    endings: int = 20
    marks: int = 4
    bills: bool = True
    source: str = field(default="", compare=False)

    def ttl_seconds(self, ttl: str) -> float:
        return TTL_SECONDS[ttl] * self.stretch


OPENAI_PROFILES: Final = (
    CacheProfile(
        models="",
        step=128,
        ttl="10m",
        age=3600,
        bills=False,
        source="OpenAI prompt caching guide, 2024-10: automatic from 1,024 tokens, 5-10 minutes idle, an hour at most",
    ),
    CacheProfile(
        models=r"(ft:)?(gpt-|o\d|chatgpt-|codex-)",
        since="2026-05-29",
        step=128,
        ttl="24h",
        age=86400,
        bills=False,
        source="OpenAI: default retention 24h for organizations without ZDR since 2026-05-29",
    ),
    CacheProfile(
        models=r"(ft:)?gpt-(5\.[6-9]|[6-9]|\d\d)",
        since="2026-07-09",
        ttl="30m",
        implicit="latest",
        lookback=80,
        endings=50,
        source="OpenAI guide of July 2026: one implicit breakpoint, at the end of the latest message; no fall-back",
    ),
    CacheProfile(
        models=r"(ft:)?gpt-(5\.[6-9]|[6-9]|\d\d)",
        since="2026-10-01",
        ttl="30m",
        implicit="developer",
        lookback=80,
        source="OpenAI guide of autumn 2026: also the end of the initial developer block and 20 earlier message ends",
    ),
)

_ANTHROPIC_DOC: Final = "Anthropic prompt caching page: "
_LOWERED: Final = _ANTHROPIC_DOC + "minimum lowered during 2026 (extracts of July to September)"
_CURRENT: Final = _ANTHROPIC_DOC + "minimum by model, autumn 2026"

ANTHROPIC_PROFILES: Final = (
    CacheProfile(models="", source=_CURRENT),
    CacheProfile(models=r"claude-(3-haiku|3-5-haiku|haiku-3)", minimum=2048, source=_CURRENT),
    CacheProfile(models=r"claude-(opus-4-[56]|haiku-4-5)", minimum=4096, source=_CURRENT),
    CacheProfile(models=r"claude-opus-4-[78]", minimum=4096, source=_CURRENT),
    CacheProfile(models=r"claude-sonnet-4-6", minimum=2048, source=_CURRENT),
    CacheProfile(models=r"claude-(opus|fable|mythos)-5", minimum=512, source=_CURRENT),
    CacheProfile(models=r"claude-(sonnet|haiku)-5-5", minimum=512, source=_CURRENT),
    CacheProfile(models=r"claude-fable-5$", minimum=2048, source=_CURRENT),
    CacheProfile(models=r"claude-fable-5$", since="2026-07-01", minimum=512, source=_LOWERED),
    CacheProfile(models=r"claude-opus-4-7", since="2026-07-01", minimum=2048, source=_LOWERED),
    CacheProfile(models=r"claude-opus-4-8", since="2026-07-01", minimum=1024, source=_LOWERED),
    CacheProfile(models=r"claude-sonnet-4-6", since="2026-07-01", minimum=1024, source=_LOWERED),
)

BEDROCK_PROFILES: Final = (
    *ANTHROPIC_PROFILES,
    CacheProfile(
        models=r"claude-opus-4-7",
        minimum=4096,
        source="AWS prompt caching page; the model map of LiteLLM says 2048",
    ),
    CacheProfile(
        models=r"nova-",
        minimum=1000,
        source="AWS prompt caching page: Nova 1,000 tokens (older copy)",
    ),
)

_GEMINI_DOC: Final = "Gemini API context caching page of 2026-09: minimum; lifetime and step of implicit caching are unpublished"
_VERTEX_DOC: Final = "Vertex AI context cache overview, autumn 2026: minimum by generation"

GEMINI_PROFILES: Final = (
    CacheProfile(models="", minimum=2048, step=256, ttl="10m", bills=False, source=_GEMINI_DOC),
    CacheProfile(
        models=r"gemini-3", minimum=4096, step=256, ttl="10m", bills=False, source=_GEMINI_DOC
    ),
)

VERTEX_PROFILES: Final = (
    CacheProfile(models="", minimum=2048, step=256, ttl="10m", bills=False, source=_VERTEX_DOC),
    CacheProfile(
        models=r"gemini-3", minimum=4096, step=256, ttl="10m", bills=False, source=_VERTEX_DOC
    ),
    CacheProfile(
        models=r"gemini-3(\.[078])?-(flash|pro)",
        minimum=6144,
        step=256,
        ttl="10m",
        bills=False,
        source=_VERTEX_DOC,
    ),
    CacheProfile(
        models=r"gemini-3\.1-pro",
        minimum=6144,
        step=256,
        ttl="10m",
        bills=False,
        source=_VERTEX_DOC,
    ),
)

IMPLICIT_MODES: Final = ("none", "latest", "developer", "pinned")
"""`latest`: written and read at message ends only; `developer`: the initial developer block too, 20 message ends back;
`pinned`: the developer block alone is ever read (field report ax-llm/ax#573)."""


def select_profile(
    profiles: tuple[CacheProfile, ...], model: str, now: float, overrides: Mapping[str, Any]
) -> CacheProfile:
    """The row in force for `model` at epoch second `now`, with `parse_overrides` laid over it."""
    day = datetime.fromtimestamp(now, UTC).date().isoformat()
    rows = [row for row in profiles if re.match(row.models, model) and row.since <= day]
    return replace(rows[-1], **overrides)


_PARSERS: Final[Mapping[type, Callable[[str], Any]]] = {
    int: int,
    float: float,
    str: str,
    bool: "true".__eq__,
}


def parse_overrides(text: str) -> dict[str, Any]:
    """Reads `field=value,field=value`. Raises ValueError naming the fields that may be overridden."""
    kinds: dict[str, type] = {
        item.name: type(item.default)
        for item in fields(CacheProfile)
        if item.name not in {"models", "since", "source"}
    }
    found: dict[str, Any] = {}
    for pair in filter(None, text.replace(" ", "").split(",")):
        name, _, value = pair.partition("=")
        if name not in kinds or (name == "implicit" and value not in IMPLICIT_MODES):
            raise ValueError(
                f"{pair!r}: allowed are {', '.join(kinds)}; implicit is one of {', '.join(IMPLICIT_MODES)}"
            )
        found[name] = _PARSERS[kinds[name]](value)
    return found
