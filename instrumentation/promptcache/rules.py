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

DAY: Final = 86_400.0
LIFETIMES: Final[Mapping[str, float]] = MappingProxyType(
    {
        "5m": 300.0,
        "30m": 1800.0,
        "1h": 3600.0,
        "12h": 43_200.0,
        "in_memory": 300.0,
        "in-memory": 300.0,
    }
)
"""TTLs that a request can ask for, in seconds; `24h` is missing: its prefixes go earlier (OpenAI: typically 30 min)."""


@final
class Rule(NamedTuple):
    """How one family of models caches, as documented at `date`.

    `minimum` and `step` are in tokens (`step`: reads are rounded down to its multiples, 1 where they are exact). `ttl`
    is the time in seconds for which a prefix is safe; later it may be gone, with `lapse` as the confidence that it is.
    `writes` says that written tokens are reported and billed, so that an entry stands only where it was written;
    `lookback` counts the blocks that a breakpoint looks back (None: it must stand at the same place again), `endings`
    the message ends that an implicit one does. `marks` is how many breakpoints may be written; `busy` the
    requests a minute above which a key overflows.
    """

    provider: str
    models: str
    date: str
    source: str
    minimum: int = 1024
    step: int = 1
    ttl: float = 300.0
    lapse: float = 0.6
    writes: bool = False
    lookback: int | None = None
    endings: int = 20
    marks: int = 4
    busy: int | None = None


_GUIDE: Final = "OpenAI prompt caching guide, copies of July to October 2026"
_CLAUDE: Final = "Anthropic prompt caching page, copies of April to September 2026"
_CLAUDES: Final = r"anthropic|.*bedrock|.*vertex_ai|.*vertex|.*foundry"

RULES: Final = (
    Rule(
        r".*",
        r".*",
        "2026-11-20",
        "no rule known: an automatic prefix cache as most have it",
        step=128,
        lapse=0.3,
    ),
    Rule(r"openai|azure.*", r".*", "2026-10-01", _GUIDE, step=128, busy=15),
    Rule(
        r"openai|azure.*",
        r".*gpt-5\.5",
        "2026-10-01",
        _GUIDE + "; implicit points every 2,048 tokens",
        step=2048,
        ttl=1800.0,
        lapse=0.5,
        busy=15,
    ),
    Rule(
        r"openai|azure.*|.*bedrock",
        r".*gpt-(5\.[6-9]|[6-9]|\d\d)",
        "2026-10-01",
        _GUIDE,
        ttl=1800.0,
        writes=True,
    ),
    Rule(_CLAUDES, r".*claude", "2026-09-01", _CLAUDE, lapse=0.9, writes=True, lookback=20),
    Rule(
        _CLAUDES,
        r".*claude-(opus-5|sonnet-5-5|haiku-5-5|fable-5|mythos-5)",
        "2026-10-07",
        _CLAUDE,
        minimum=512,
        lapse=0.9,
        writes=True,
        lookback=20,
    ),
    Rule(
        _CLAUDES,
        r".*claude-(opus-4-7|(3-5-haiku|haiku-3-5)|3-haiku)",
        "2026-09-01",
        _CLAUDE,
        minimum=2048,
        lapse=0.9,
        writes=True,
        lookback=20,
    ),
    Rule(
        _CLAUDES,
        r".*claude-(opus-4-[56]|haiku-4-5)",
        "2026-09-01",
        _CLAUDE,
        minimum=4096,
        lapse=0.9,
        writes=True,
        lookback=20,
    ),
    Rule(
        r".*bedrock",
        r".*nova",
        "2026-06-01",
        "AWS prompt caching page (older copy)",
        minimum=1000,
        lapse=0.8,
        writes=True,
        lookback=20,
    ),
    Rule(
        r"gcp.*|google.*|gemini.*|vertex.*",
        r".*gemini",
        "2026-09-01",
        "Gemini caching page; no implicit TTL",
        minimum=2048,
        step=256,
        lapse=0.3,
    ),
    Rule(
        r"gcp.*|google.*|gemini.*|vertex.*",
        r".*gemini-3",
        "2026-09-01",
        "Gemini caching page, September 2026",
        minimum=4096,
        step=256,
        lapse=0.3,
    ),
    Rule(
        r"deepseek",
        r".*",
        "2026-10-01",
        "api-docs.deepseek.com: whole prefix units, hours to days",
        minimum=64,
        step=64,
        ttl=7200.0,
        lapse=0.3,
    ),
    Rule(
        r"x_ai|xai", r".*", "2026-08-19", "docs.x.ai; field test of 2026-08-19", step=128, lapse=0.3
    ),
    Rule(
        r"groq",
        r".*",
        "2026-10-01",
        "console.groq.com: 2 h idle",
        minimum=128,
        step=128,
        ttl=7200.0,
        lapse=0.6,
    ),
    Rule(
        r"mistral.*",
        r".*",
        "2026-10-01",
        "docs.mistral.ai: blocks of 64 tokens",
        minimum=64,
        step=64,
        lapse=0.3,
    ),
    Rule(
        r"alibaba.*|qwen.*",
        r".*",
        "2026-10-11",
        "Model Studio context cache, implicit",
        step=128,
        lapse=0.3,
    ),
    Rule(
        r"vllm",
        r".*",
        "2026-09-01",
        "vLLM design: full blocks of 16 tokens",
        minimum=16,
        step=16,
        lapse=0.3,
    ),
)
"""From general to special."""


@lru_cache(maxsize=512)
def rule(provider: str, model: str | None) -> Rule:
    """The rule in force; there is always one."""
    return next(
        row
        for row in reversed(RULES)
        if re.fullmatch(row.provider, provider) and re.match(row.models, model or "", re.IGNORECASE)
    )


def lifetime(known: Rule, asked: str | None) -> float:
    """Seconds for which a prefix is safe when the request asked for the TTL `asked`."""
    return LIFETIMES.get(asked or "", known.ttl)
