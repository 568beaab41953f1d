"""Prices that genai-prices lacks or has wrong: data rows, each with its source and its date.

Only `promptcache prices build` reads this. A source is a copy of the vendor's page. "by LiteLLM"
means that LiteLLM's price map 1.109.1 quotes the page, "well known" that we found no page with it.
A date is the day of the copy, or the day that the page itself names.
`since` is the first day that the source confirms. Before it a call in that tier has no price,
because a guess could be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

OPENAI_PRICING: Final = "developers.openai.com/api/docs/pricing"
ANTHROPIC_PRICING: Final = "platform.claude.com/docs/en/about-claude/pricing"
GEMINI_PRICING: Final = "ai.google.dev/gemini-api/docs/pricing"
GEMINI_PRICING_BY_LITELLM: Final = GEMINI_PRICING + ", by LiteLLM"
OPENAI_PRICING_BY_LITELLM: Final = OPENAI_PRICING + ", by LiteLLM"
_NO_UPLIFT: Final[Mapping[str, float]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class TierAsMultipleOfStandard:
    """In `tier`, from `since` on, each price is the standard price times a factor.

    `factors` is by price key, `*` for all other keys. The rule is for the models that match
    `models` (glob patterns), until the imported list has a price of that tier.
    """

    vendor: str
    models: tuple[str, ...]
    tier: str
    since: str
    factors: Mapping[str, float]
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class BackdateTier:
    """The imported prices of `tier` held since `since`; the list has only the day of a check."""

    vendor: str
    tier: str
    since: str
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class RegionUplift:
    """In a region, the token prices of `models` are multiplied by a factor.

    `factors` is by region. The first rule that names a model applies.
    """

    vendor: str
    models: tuple[str, ...]
    factors: Mapping[str, float]
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class AddPrice:
    """Add a price that genai-prices has no key for, to every entry of `models`.

    The price `key` is `value`, or `factor` times the price `base_key`. With `since` it is added
    only to entries that begin on that day or later, with `tiers` only to those tiers.
    """

    vendor: str
    models: tuple[str, ...]
    key: str
    source: str
    date: str
    base_key: str | None = None
    factor: float = 1.0
    value: float | None = None
    since: str | None = None
    tiers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplacePriceRow:
    """Replace the imported row with the same first name by this one."""

    vendor: str
    names: tuple[str, ...]
    prices: tuple[Mapping[str, Any], ...]
    source: str
    date: str
    uplift: Mapping[str, float] = field(default_factory=lambda: _NO_UPLIFT)


@dataclass(frozen=True, slots=True)
class DropModels:
    """Drop models that the vendor does not sell at the price of the list."""

    vendor: str
    models: tuple[str, ...]
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class DropModelNames:
    """Drop names (glob patterns) for which other sources have another price.

    An unknown cost is better than a wrong one.
    """

    vendor: str
    names: tuple[str, ...]
    source: str
    date: str


OverrideRule = (
    TierAsMultipleOfStandard
    | BackdateTier
    | RegionUplift
    | AddPrice
    | ReplacePriceRow
    | DropModels
    | DropModelNames
)

DEFAULT_WRITE_TTLS: Final[tuple[tuple[str, str, str], ...]] = (
    # developers.openai.com, prompt caching guide, September and October 2026: at least 30 minutes
    ("openai", "*", "30m"),
    ("aws", "*openai.*", "30m"),  # AWS model cards: "Cache writes use the 30-minute TTL"
    ("aws", "*moonshotai.*", "30m"),
    ("aws", "*zai.*", "30m"),
    ("openrouter", "openai/*", "30m"),
    ("*", "*gpt-*", "30m"),
    ("*", "*", "5m"),  # Anthropic's default, which others with its API keep
)
"""Vendor pattern, model pattern, and the TTL of the list's cache-write price. The first match
counts."""

TIERS_WITHOUT_CACHE_READ_PRICE: Final = frozenset({("openai", "batch")})
"""Vendor and tier without a cache-read price: the vendor's page prints `-` for cached input."""

OPENAI_WITH_REGIONAL_UPLIFT: Final = (
    "gpt-5.4*",
    "gpt-5.5*",
    "gpt-5.6*",
    "gpt-6*",
    "gpt-chat-latest",
)
CLAUDE_WITH_US_UPLIFT: Final = (
    "claude-opus-4-[6-9]*",
    "claude-sonnet-4-[6-9]*",
    "claude-opus-5*",
    "claude-sonnet-5*",
    "claude-haiku-5*",
    "claude-fable-5*",
    "claude-mythos-5*",
)
CLAUDE_WITH_VERTEX_UPLIFT: Final = (
    *CLAUDE_WITH_US_UPLIFT,
    "claude-opus-4-5*",
    "claude-sonnet-4-5*",
    "claude-haiku-4-5*",
)
GEMINI_WITH_REGIONAL_UPLIFT: Final = (
    "gemini-3.1-flash-image",
    "gemini-3.1-flash-lite",
    "gemini-3.[5-8]-flash",
    "gemini-3.[5-8]-flash-lite",
    "gemini-4-*",
)
MODELS_WITH_DEAR_SEARCH_PREVIEW: Final = (
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4o-2024-05-13",
    "gpt-4.1",
    "gpt-4.1-mini",
)
"""Models without reasoning: a search by the preview tool costs more, and its content is free."""
GEMINI_WITH_PRIORITY_TIER: Final = (
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-3.1-pro-preview",
    "gemini-3.1-flash-lite",
    "gemini-3.5-flash",
    "gemini-3.5-flash-lite",
    "gemini-3.7-flash",
    "gemini-3.8-flash",
    "gemini-4-argon",
)
HALF_PRICE: Final = MappingProxyType({"*": 0.5})
HOLIDAYS_WITHOUT_PEAK: Final = (
    "2026-09-25",
    "2026-10-01",
    "2026-10-02",
    "2026-10-05",
    "2026-10-06",
    "2026-10-07",
    "2027-01-01",
)
"""Working days of the week that are public holidays in China since 2026-08-17 (State Council notice
on 2026: Mid-Autumn 25-27 September, National Day 1-7 October; New Year's Day 2027). Later holidays:
until they are listed, peak prices."""
PEAK_HOURS: Final = MappingProxyType(
    {
        "hours": [[60, 240], [360, 600]],
        "days": [1, 2, 3, 4, 5],
        "except": list(HOLIDAYS_WITHOUT_PEAK),
    }
)


def _off_peak_and_peak_prices(
    since: str, read: float, uncached: float, output: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Off-peak prices from `since` on, and twice those in the peak hours."""
    plain = {"from": since, "input": uncached, "read": read, "output": output}
    return plain, {
        "from": since,
        "input": 2 * uncached,
        "read": 2 * read,
        "output": 2 * output,
        **PEAK_HOURS,
    }


def _deepseek_price_history(
    uncached: float, read: float, output: float
) -> tuple[dict[str, Any], ...]:
    """DeepSeek's first two names: cheap nights in 2025, then one price for both, then aliases of V4
    Flash."""
    night = {"from": "2025-02-26T16:30", "input": 0.135, "read": 0.035, "output": 0.55}
    return (
        {"from": "2025-02-08", "input": uncached, "read": read, "output": output},
        night,
        {
            "from": "2025-02-26T16:30",
            "hours": [[30, 990]],
            "input": uncached,
            "read": read,
            "output": output,
        },
        {"from": "2025-09-05T16:00", "input": 0.56, "read": 0.07, "output": 1.68},
        {"from": "2025-09-29", "input": 0.28, "read": 0.028, "output": 0.42},
        {"from": "2026-04-24"},
    )


_DEEPSEEK_PRICING: Final = "api-docs.deepseek.com/quick_start/pricing"
_DEEPSEEK_HISTORY: Final = _DEEPSEEK_PRICING + ", history well known"
_V4_FLASH_PRICES: Final = (
    *_off_peak_and_peak_prices("2026-08-17", 0.007, 0.22, 0.66),
    *_off_peak_and_peak_prices("2026-09-10", 0.003, 0.15, 0.6),
)

_OPENAI_SNAPSHOT: Final = OPENAI_PRICING + ", snapshot"
_OPENAI_RESIDENCY: Final = (
    OPENAI_PRICING + ": regional processing +10 % for models since 2026-03-05"
)
_VERTEX_REGIONAL: Final = (
    "cloud.google.com/vertex-ai/generative-ai/pricing: regional endpoints +10 % for Claude"
)
_VERTEX_REGIONAL_GEMINI: Final = (
    "cloud.google.com/gemini-enterprise-agent-platform/generative-ai/pricing: endpoints other than "
    "global 1.1x since July 2026, by LiteLLM 1.110.2 (regional_endpoint_uplift_multiplier)"
)
_SEARCH_PREVIEW: Final = OPENAI_PRICING + ", built-in tools: web search preview"

OVERRIDE_RULES: Final[tuple[OverrideRule, ...]] = (
    # OpenAI
    DropModels(
        "openai",
        ("gpt-oss-*", "gpt-5-image*", "gpt-5.4-image-2"),
        "sold by others; OpenRouter's list",
        "2026-11-20",
    ),
    AddPrice(
        "openai",
        ("*",),
        "write.12h",
        OPENAI_PRICING + "; gpt-6.1-terra: 12-hour retention 2.50 at 1.00 input",
        "2026-10-26",
        base_key="input",
        factor=2.5,
    ),
    AddPrice(
        "openai",
        ("*",),
        "read",
        OPENAI_PRICING + ": no cached rate in the batch table; that it means no discount is "
        "well known",
        "2026-10-14",
        base_key="input",
        tiers=("batch",),
    ),
    AddPrice(
        "openai",
        MODELS_WITH_DEAR_SEARCH_PREVIEW,
        "tools.web_search_preview",
        _SEARCH_PREVIEW + " (non-reasoning models) USD 25 per 1,000 calls, content tokens free",
        "2026-03-12",
        base_key="tools.web_search",
        factor=2.5,
    ),
    AddPrice(
        "openai",
        ("gpt-4o-search-preview",),
        "tools.web_search_preview",
        _SEARCH_PREVIEW + " (non-reasoning models) USD 25 per 1,000 calls, content tokens free",
        "2026-03-12",
        value=25,
    ),
    AddPrice(
        "openai",
        ("*",),
        "tools.web_search_preview",
        _SEARCH_PREVIEW + " (reasoning models) costs what web search costs",
        "2026-03-12",
        base_key="tools.web_search",
    ),
    BackdateTier(
        "openai",
        "batch",
        "2024-04-15",
        "half price since the launch on 2024-04-15, well known",
        "2026-10-14",
    ),
    BackdateTier("openai", "flex", "2026-07-15", _OPENAI_SNAPSHOT, "2026-07-15"),
    BackdateTier("openai", "priority", "2026-07-15", _OPENAI_SNAPSHOT, "2026-07-15"),
    RegionUplift(
        "openai", OPENAI_WITH_REGIONAL_UPLIFT, {"regional": 1.1}, _OPENAI_RESIDENCY, "2026-07-15"
    ),
    RegionUplift("openai", ("*",), {"regional": 1.0}, _OPENAI_RESIDENCY, "2026-07-15"),
    ReplacePriceRow(
        "openai",
        ("gpt-4o-audio-preview*",),
        ({"input": 2.5, "output": 10, "audio.input": 40, "audio.output": 80},),
        OPENAI_PRICING_BY_LITELLM,
        "2026-11-20",
    ),
    ReplacePriceRow(
        "openai",
        ("gpt-4o-mini-audio-preview*", "gpt-4o-mini-audio*"),
        ({"input": 0.15, "output": 0.6, "audio.input": 10, "audio.output": 20},),
        OPENAI_PRICING_BY_LITELLM,
        "2026-11-20",
    ),
    *(
        ReplacePriceRow(
            "openai",
            (f"ft:{model}",),
            (
                {"input": fresh, "read": fresh / 4, "output": 4 * fresh},
                {"tier": "batch", "input": fresh / 2, "read": fresh / 2, "output": 2 * fresh},
            ),
            OPENAI_PRICING_BY_LITELLM,
            "2026-11-20",
        )
        for model, fresh in (
            ("gpt-4.1", 3),
            ("gpt-4.1-mini", 0.8),
            ("gpt-4.1-nano", 0.2),
            ("o4-mini", 4),
        )
    ),
    AddPrice(
        "openai",
        ("ft:gpt-4o", "ft:gpt-4o-mini"),
        "read",
        OPENAI_PRICING_BY_LITELLM,
        "2026-11-20",
        base_key="input",
        factor=0.5,
        tiers=("standard",),
    ),
    # Anthropic
    BackdateTier(
        "anthropic",
        "batch",
        "2024-10-08",
        "Message Batches: half price since then, well known",
        "2026-10-14",
    ),
    TierAsMultipleOfStandard(
        "anthropic",
        ("claude-*",),
        "batch",
        "2024-10-08",
        HALF_PRICE,
        ANTHROPIC_PRICING + ": batch",
        "2026-10-07",
    ),
    RegionUplift(
        "anthropic",
        CLAUDE_WITH_US_UPLIFT,
        {"us": 1.1},
        ANTHROPIC_PRICING + ": inference_geo us, 1.1x",
        "2026-10-07",
    ),
    # Google
    RegionUplift(
        "google", CLAUDE_WITH_VERTEX_UPLIFT, {"regional": 1.1}, _VERTEX_REGIONAL, "2026-09-23"
    ),
    RegionUplift(
        "google",
        GEMINI_WITH_REGIONAL_UPLIFT,
        {"regional": 1.1},
        _VERTEX_REGIONAL_GEMINI,
        "2026-11-27",
    ),
    RegionUplift("google", ("*",), {"regional": 1.0}, _VERTEX_REGIONAL, "2026-09-23"),
    AddPrice(
        "google",
        ("claude-*",),
        "tools.web_search",
        ANTHROPIC_PRICING + ": web search on Vertex AI too, by LiteLLM 1.110.2",
        "2026-11-27",
        value=10,
    ),
    BackdateTier(
        "google",
        "batch",
        "2025-07-07",
        "Batch Mode: half price since 2025-07-07, well known",
        "2026-10-14",
    ),
    TierAsMultipleOfStandard(
        "google",
        ("gemini-3.5-flash",),
        "batch",
        "2026-09-23",
        HALF_PRICE,
        GEMINI_PRICING_BY_LITELLM,
        "2026-11-20",
    ),
    TierAsMultipleOfStandard(
        "google",
        GEMINI_WITH_PRIORITY_TIER,
        "priority",
        "2026-09-23",
        {"*": 1.8},
        GEMINI_PRICING_BY_LITELLM,
        "2026-11-20",
    ),
    TierAsMultipleOfStandard(
        "google",
        ("gemini-2.5-*", "gemini-3.1-pro-preview"),
        "flex",
        "2026-09-23",
        {"*": 0.5, "read": 1.0, "audio.read": 1.0},
        GEMINI_PRICING_BY_LITELLM + ": caching as standard",
        "2026-11-20",
    ),
    TierAsMultipleOfStandard(
        "google",
        ("gemini-3.1-flash-lite", "gemini-3.7-flash", "gemini-3.8-flash", "gemini-4-argon"),
        "flex",
        "2026-09-23",
        HALF_PRICE,
        GEMINI_PRICING_BY_LITELLM,
        "2026-11-20",
    ),
    AddPrice(
        "google",
        ("gemini-2.5-pro", "gemini-3.1-pro-preview"),
        "storage",
        GEMINI_PRICING,
        "2026-09-23",
        value=4.5,
    ),
    AddPrice("google", ("gemini-2.5-flash",), "storage", GEMINI_PRICING, "2026-09-23", value=1.0),
    AddPrice(
        "google",
        ("gemini-3.6-flash", "gemini-3.7-flash", "gemini-3.8-flash"),
        "storage",
        GEMINI_PRICING,
        "2026-09-23",
        value=0.5,
    ),
    AddPrice(
        "google",
        ("gemini-3.8-flash",),
        "storage",
        GEMINI_PRICING,
        "2026-09-23",
        value=1.0,
        since="2027-01-01",
    ),
    # xAI
    AddPrice(
        "x-ai",
        ("*",),
        "tools.web_search",
        "docs.x.ai/developers/pricing: tools, by LiteLLM 1.110.2",
        "2026-11-27",
        value=5,
    ),
    # DeepSeek: peak prices on working days only, which the list cannot say
    ReplacePriceRow(
        "deepseek",
        ("deepseek-flash",),
        _off_peak_and_peak_prices("2026-09-10", 0.003, 0.15, 0.6),
        _DEEPSEEK_PRICING,
        "2026-10-01",
    ),
    ReplacePriceRow(
        "deepseek",
        ("deepseek-v4-flash",),
        ({"input": 0.14, "read": 0.0028, "output": 0.28}, *_V4_FLASH_PRICES),
        _DEEPSEEK_PRICING,
        "2026-10-01",
    ),
    ReplacePriceRow(
        "deepseek",
        ("deepseek-v4-pro",),
        (
            {"input": 0.435, "read": 0.003625, "output": 0.87},
            *_off_peak_and_peak_prices("2026-08-17", 0.022, 0.66, 1.98),
        ),
        _DEEPSEEK_PRICING,
        "2026-10-01",
    ),
    ReplacePriceRow(
        "deepseek",
        ("deepseek-chat",),
        _deepseek_price_history(0.27, 0.07, 1.1),
        _DEEPSEEK_HISTORY,
        "2026-06-22",
    ),
    ReplacePriceRow(
        "deepseek",
        ("deepseek-reasoner",),
        _deepseek_price_history(0.55, 0.14, 2.19),
        _DEEPSEEK_HISTORY,
        "2026-06-22",
    ),
    DropModels(
        "deepseek",
        ("deepseek-v3*",),
        "names of other sellers; DeepSeek's own API has none of them",
        "2026-11-20",
    ),
    # Others
    DropModelNames(
        "mistral",
        (
            "mistral-large",
            "mistral-large-latest",
            "mistral-medium",
            "magistral-*-latest",
            "ministral-3b-latest",
            "open-mistral-nemo",
        ),
        "moving aliases at the price of an older model; docs.mistral.ai/models says otherwise",
        "2026-11-20",
    ),
    DropModelNames(
        "x-ai",
        ("grok-code-fast*",),
        "served by grok-build-0.1 now, by LiteLLM's map at its price",
        "2026-11-20",
    ),
    ReplacePriceRow(
        "azure",
        ("model-router",),
        ({"input": 0.14},),
        "azure.microsoft.com/pricing/details/ai-foundry-models/aoai: the router's own fee, "
        "by LiteLLM 1.110.2",
        "2026-11-27",
    ),
    ReplacePriceRow(
        "azure",
        ("built-in-tools",),
        ({"tools.web_search": 14, "tools.web_search_preview": 14},),
        "azure.microsoft.com/pricing/details/ai-foundry-models/aoai: web search by Bing, "
        "by LiteLLM 1.110.2",
        "2026-11-27",
    ),
    # Amazon
    AddPrice(
        "aws",
        ("*openai.gpt-*",),
        "tools.web_search",
        "aws.amazon.com/bedrock/pricing: web search of OpenAI's models, by LiteLLM 1.110.2",
        "2026-11-27",
        value=12,
    ),
    DropModelNames(
        "aws",
        ("us-gov.*", "eu.amazon.*", "jp.amazon.*"),
        "AWS price list: prices of their own",
        "2026-11-20",
    ),
    RegionUplift(
        "aws",
        ("*claude*", "*openai.gpt-[56]*", "global.*"),
        {"abroad": 1.0},
        "aws.amazon.com/bedrock/pricing: one price for all commercial regions",
        "2026-11-20",
    ),
    AddPrice(
        "aws",
        ("*amazon.nova*",),
        "write.5m",
        "docs.aws.amazon.com/bedrock: Nova writes cost the input price",
        "2026-09-23",
        base_key="input",
    ),
)
