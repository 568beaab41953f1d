"""What we know and the imported list lacks: data rows, each with its source and that source's date.

Read by `promptcache prices build` only. A source is the vendor's page as copies of it in our reference notes have it;
"by LiteLLM" is that page as LiteLLM's map 1.109.1 quotes it, "well known" what we could not read again on any page. A
page's date is that of the copy, or the day that the page names itself.
`since` is the first day for which the source vouches; before it a call in that tier has no price rather than a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

OPENAI_PRICING: Final = "developers.openai.com/api/docs/pricing"
ANTHROPIC_PRICING: Final = "platform.claude.com/docs/en/about-claude/pricing"
GEMINI_PRICING: Final = "ai.google.dev/gemini-api/docs/pricing"
GEMINI_TIERS: Final = GEMINI_PRICING + ", by LiteLLM"
OPENAI_BY_LITELLM: Final = OPENAI_PRICING + ", by LiteLLM"
_NOTHING: Final[Mapping[str, float]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Multiply:
    """In `tier`, from `since` on, each class costs its standard price times a factor; `read` may be of another class.

    Holds for the models that `models` (glob patterns) name, until a price of that tier begins in the imported list.
    """

    vendor: str
    models: tuple[str, ...]
    tier: str
    since: str
    factors: Mapping[str, float]
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class Backdate:
    """The imported prices of `tier` begin on the day on which somebody checked them; they held since `since`."""

    vendor: str
    tier: str
    since: str
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class Uplift:
    """In `place`, token prices of `models` are multiplied by `factor`; the first rule that names a model holds."""

    vendor: str
    models: tuple[str, ...]
    factors: Mapping[str, float]
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class Add:
    """A price that the list has no word for: `key` = `factor` x `of`, or plainly `value`, in every entry.

    `since` begins it on a day, `tiers` limits it.
    """

    vendor: str
    models: tuple[str, ...]
    key: str
    source: str
    date: str
    of: str | None = None
    factor: float = 1.0
    value: float | None = None
    since: str | None = None
    tiers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Replace:
    """A whole row, in place of an imported one of the same first name."""

    vendor: str
    names: tuple[str, ...]
    prices: tuple[Mapping[str, Any], ...]
    source: str
    date: str
    uplift: Mapping[str, float] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class Drop:
    """A model that the list names under a vendor who does not sell it at that price."""

    vendor: str
    models: tuple[str, ...]
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Names (glob patterns) that the list gives a price which other sources deny: better unknown than wrong."""

    vendor: str
    names: tuple[str, ...]
    source: str
    date: str


Rule = Multiply | Backdate | Uplift | Add | Replace | Drop | Forget

WRITE_TTL: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "openai",
        "*",
        "30m",
    ),  # developers.openai.com prompt caching guide, Sep-Oct 2026: 30 minutes at least
    ("aws", "*openai.*", "30m"),  # AWS model cards: "Cache writes use the 30-minute TTL"
    ("aws", "*moonshotai.*", "30m"),
    ("aws", "*zai.*", "30m"),
    ("openrouter", "openai/*", "30m"),
    ("*", "*gpt-*", "30m"),
    ("*", "*", "5m"),  # Anthropic's default, which its resellers and imitators keep
)
"""Vendor and model patterns -> the TTL that the list's plain cache-write price is for; the first that matches."""

OWN_READ: Final = frozenset({("openai", "batch")})
"""Vendor and tier whose table prints `-` for cached input instead of leaving it at the standard price."""

NEW_OPENAI: Final = ("gpt-5.4*", "gpt-5.5*", "gpt-5.6*", "gpt-6*", "gpt-chat-latest")
NEW_CLAUDE: Final = (
    "claude-opus-4-[6-9]*",
    "claude-sonnet-4-[6-9]*",
    "claude-opus-5*",
    "claude-sonnet-5*",
    "claude-haiku-5*",
    "claude-fable-5*",
    "claude-mythos-5*",
)
VERTEX_CLAUDE: Final = (
    *NEW_CLAUDE,
    "claude-opus-4-5*",
    "claude-sonnet-4-5*",
    "claude-haiku-4-5*",
)
GEMINI_TIERED: Final = (
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
HALF: Final = MappingProxyType({"*": 0.5})
NO_PEAK: Final = (
    "2026-09-25",
    "2026-10-01",
    "2026-10-02",
    "2026-10-05",
    "2026-10-06",
    "2026-10-07",
    "2027-01-01",
)
"""Working days of the week that are public holidays in China since 2026-08-17 (State Council notice on 2026: Mid-Autumn
25-27 September, National Day 1-7 October; New Year's Day 2027). Later holidays: until they are listed, peak prices."""
PEAK: Final = MappingProxyType(
    {"hours": [[60, 240], [360, 600]], "days": [1, 2, 3, 4, 5], "except": list(NO_PEAK)}
)


def _peak(
    since: str, read: float, fresh: float, output: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Off-peak prices from `since` on, and twice those in the peak hours."""
    plain = {"from": since, "input": fresh, "read": read, "output": output}
    return plain, {
        "from": since,
        "input": 2 * fresh,
        "read": 2 * read,
        "output": 2 * output,
        **PEAK,
    }


def _chat(fresh: float, read: float, output: float) -> tuple[dict[str, Any], ...]:
    """DeepSeek's first two names: cheap nights in 2025, then one price for both, then aliases of V4 Flash."""
    night = {"from": "2025-02-26T16:30", "input": 0.135, "read": 0.035, "output": 0.55}
    return (
        {"from": "2025-02-08", "input": fresh, "read": read, "output": output},
        night,
        {
            "from": "2025-02-26T16:30",
            "hours": [[30, 990]],
            "input": fresh,
            "read": read,
            "output": output,
        },
        {"from": "2025-09-05T16:00", "input": 0.56, "read": 0.07, "output": 1.68},
        {"from": "2025-09-29", "input": 0.28, "read": 0.028, "output": 0.42},
        {"from": "2026-04-24"},
    )


_DEEPSEEK: Final = "api-docs.deepseek.com/quick_start/pricing"
_CHAT: Final = _DEEPSEEK + ", history well known"
_V4_FLASH: Final = (
    *_peak("2026-08-17", 0.007, 0.22, 0.66),
    *_peak("2026-09-10", 0.003, 0.15, 0.6),
)

_SNAPSHOT: Final = OPENAI_PRICING + ", snapshot"
_RESIDENCY: Final = OPENAI_PRICING + ": regional processing +10 % for models since 2026-03-05"
_VERTEX: Final = (
    "cloud.google.com/vertex-ai/generative-ai/pricing: regional endpoints +10 % for Claude"
)

RULES: Final[tuple[Rule, ...]] = (
    # OpenAI
    Drop(
        "openai",
        ("gpt-oss-*", "gpt-5-image*", "gpt-5.4-image-2"),
        "sold by others; OpenRouter's list",
        "2026-11-20",
    ),
    Add(
        "openai",
        ("*",),
        "write.12h",
        OPENAI_PRICING + "; gpt-6.1-terra: 12-hour retention 2.50 at 1.00 input",
        "2026-10-26",
        of="input",
        factor=2.5,
    ),
    Add(
        "openai",
        ("*",),
        "read",
        OPENAI_PRICING + ": no cached rate in the batch table; that it means no discount is "
        "well known",
        "2026-10-14",
        of="input",
        tiers=("batch",),
    ),
    Backdate(
        "openai",
        "batch",
        "2024-04-15",
        "half price since the launch on 2024-04-15, well known",
        "2026-10-14",
    ),
    Backdate("openai", "flex", "2026-07-15", _SNAPSHOT, "2026-07-15"),
    Backdate("openai", "priority", "2026-07-15", _SNAPSHOT, "2026-07-15"),
    Uplift("openai", NEW_OPENAI, {"regional": 1.1}, _RESIDENCY, "2026-07-15"),
    Uplift("openai", ("*",), {"regional": 1.0}, _RESIDENCY, "2026-07-15"),
    Replace(
        "openai",
        ("gpt-4o-audio-preview*",),
        ({"input": 2.5, "output": 10, "audio.input": 40, "audio.output": 80},),
        OPENAI_BY_LITELLM,
        "2026-11-20",
    ),
    Replace(
        "openai",
        ("gpt-4o-mini-audio-preview*", "gpt-4o-mini-audio*"),
        ({"input": 0.15, "output": 0.6, "audio.input": 10, "audio.output": 20},),
        OPENAI_BY_LITELLM,
        "2026-11-20",
    ),
    *(
        Replace(
            "openai",
            (f"ft:{model}",),
            (
                {"input": fresh, "read": fresh / 4, "output": 4 * fresh},
                {"tier": "batch", "input": fresh / 2, "read": fresh / 2, "output": 2 * fresh},
            ),
            OPENAI_BY_LITELLM,
            "2026-11-20",
        )
        for model, fresh in (
            ("gpt-4.1", 3),
            ("gpt-4.1-mini", 0.8),
            ("gpt-4.1-nano", 0.2),
            ("o4-mini", 4),
        )
    ),
    Add(
        "openai",
        ("ft:gpt-4o", "ft:gpt-4o-mini"),
        "read",
        OPENAI_BY_LITELLM,
        "2026-11-20",
        of="input",
        factor=0.5,
        tiers=("standard",),
    ),
    # Anthropic
    Backdate(
        "anthropic",
        "batch",
        "2024-10-08",
        "Message Batches: half price since then, well known",
        "2026-10-14",
    ),
    Multiply(
        "anthropic",
        ("claude-*",),
        "batch",
        "2024-10-08",
        HALF,
        ANTHROPIC_PRICING + ": batch",
        "2026-10-07",
    ),
    Uplift(
        "anthropic",
        NEW_CLAUDE,
        {"us": 1.1},
        ANTHROPIC_PRICING + ": inference_geo us, 1.1x",
        "2026-10-07",
    ),
    # Google
    Uplift("google", VERTEX_CLAUDE, {"regional": 1.1}, _VERTEX, "2026-09-23"),
    Uplift("google", ("*",), {"regional": 1.0}, _VERTEX, "2026-09-23"),
    Backdate(
        "google",
        "batch",
        "2025-07-07",
        "Batch Mode: half price since 2025-07-07, well known",
        "2026-10-14",
    ),
    Multiply(
        "google", ("gemini-3.5-flash",), "batch", "2026-09-23", HALF, GEMINI_TIERS, "2026-11-20"
    ),
    Multiply(
        "google", GEMINI_TIERED, "priority", "2026-09-23", {"*": 1.8}, GEMINI_TIERS, "2026-11-20"
    ),
    Multiply(
        "google",
        ("gemini-2.5-*", "gemini-3.1-pro-preview"),
        "flex",
        "2026-09-23",
        {"*": 0.5, "read": 1.0, "audio.read": 1.0},
        GEMINI_TIERS + ": caching as standard",
        "2026-11-20",
    ),
    Multiply(
        "google",
        ("gemini-3.1-flash-lite", "gemini-3.7-flash", "gemini-3.8-flash", "gemini-4-argon"),
        "flex",
        "2026-09-23",
        HALF,
        GEMINI_TIERS,
        "2026-11-20",
    ),
    Add(
        "google",
        ("gemini-2.5-pro", "gemini-3.1-pro-preview"),
        "storage",
        GEMINI_PRICING,
        "2026-09-23",
        value=4.5,
    ),
    Add("google", ("gemini-2.5-flash",), "storage", GEMINI_PRICING, "2026-09-23", value=1.0),
    Add(
        "google",
        ("gemini-3.6-flash", "gemini-3.7-flash", "gemini-3.8-flash"),
        "storage",
        GEMINI_PRICING,
        "2026-09-23",
        value=0.5,
    ),
    Add(
        "google",
        ("gemini-3.8-flash",),
        "storage",
        GEMINI_PRICING,
        "2026-09-23",
        value=1.0,
        since="2027-01-01",
    ),
    # DeepSeek: peak prices on working days only, which the list cannot say
    Replace(
        "deepseek",
        ("deepseek-flash",),
        _peak("2026-09-10", 0.003, 0.15, 0.6),
        _DEEPSEEK,
        "2026-10-01",
    ),
    Replace(
        "deepseek",
        ("deepseek-v4-flash",),
        ({"input": 0.14, "read": 0.0028, "output": 0.28}, *_V4_FLASH),
        _DEEPSEEK,
        "2026-10-01",
    ),
    Replace(
        "deepseek",
        ("deepseek-v4-pro",),
        (
            {"input": 0.435, "read": 0.003625, "output": 0.87},
            *_peak("2026-08-17", 0.022, 0.66, 1.98),
        ),
        _DEEPSEEK,
        "2026-10-01",
    ),
    Replace("deepseek", ("deepseek-chat",), _chat(0.27, 0.07, 1.1), _CHAT, "2026-06-22"),
    Replace("deepseek", ("deepseek-reasoner",), _chat(0.55, 0.14, 2.19), _CHAT, "2026-06-22"),
    Drop(
        "deepseek",
        ("deepseek-v3*",),
        "names of other sellers; DeepSeek's own API has none of them",
        "2026-11-20",
    ),
    # Others
    Forget(
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
    Forget(
        "x-ai",
        ("grok-code-fast*",),
        "served by grok-build-0.1 now, by LiteLLM's map at its price",
        "2026-11-20",
    ),
    # Amazon
    Forget(
        "aws",
        ("us-gov.*", "eu.amazon.*", "jp.amazon.*"),
        "AWS price list: prices of their own",
        "2026-11-20",
    ),
    Uplift(
        "aws",
        ("*claude*", "*openai.gpt-[56]*", "global.*"),
        {"abroad": 1.0},
        "aws.amazon.com/bedrock/pricing: one price for all commercial regions",
        "2026-11-20",
    ),
    Add(
        "aws",
        ("*amazon.nova*",),
        "write.5m",
        "docs.aws.amazon.com/bedrock: Nova writes cost the input price",
        "2026-09-23",
        of="input",
    ),
)
