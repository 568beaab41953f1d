"""Compare costs with amounts computed by hand from vendors' pages.

No expected amount comes from the compiled price list.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from promptcache.model import Cost, Request, ResponseFacts, Usage
from promptcache.prices import PriceBook, algebra
from promptcache.prices.billing import single_requested_ttl
from promptcache.prices.rates import Rates

BOOK = PriceBook()


def timestamp(moment: str) -> float:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()


def build_request(
    provider: str,
    model: str | None,
    moment: str = "2026-11-20T12:00",
    host: str | None = None,
    body: Mapping[str, Any] | None = None,
) -> Request:
    return Request(
        "chat", provider, "chat", model, host, 443, False, body or {}, b"", timestamp(moment)
    )


def build_usage(
    uncached: int = 0,
    read: int | None = 0,
    writes: Mapping[str, int] | None = None,
    output: int | None = 0,
    **more: Any,
) -> Usage:
    split = dict(writes or {})
    total = uncached + (read or 0) + sum(split.values())
    return Usage(total, uncached, read, sum(split.values()), split, output, **more)


def compute_cost(
    provider: str,
    model: str | None,
    usage: Usage | None,
    moment: str = "2026-11-20T12:00",
    /,
    *,
    book: PriceBook = BOOK,
    host: str | None = None,
    body: Mapping[str, Any] | None = None,
    **facts: Any,
) -> Cost:
    """Return the cost of a call. Its response has the model of the request unless `facts`
    differ."""
    return book.compute_cost(
        build_request(provider, model, moment, host, body),
        ResponseFacts(**dict[str, Any](model=model) | facts),
        usage,
    )


def format_usd(value: float | None) -> str:
    """Format an amount as the sources print it. Binary noise starts after the twelfth decimal."""
    assert value is not None
    return f"{value:.12f}".rstrip("0").rstrip(".")


def cost_of_worked_hour(
    model: str, provider: str, ttl: str | None, cached: int = 5000
) -> tuple[list[Cost], list[int]]:
    """Return the costs of a hit and a miss, and the number of each in an hour.

    The articles' example has 1,000 requests an hour with a prefix of 5,000 tokens and a query of
    300 tokens. 90 % are hits.
    """
    miss = build_usage(300, 0, {ttl: 5000}) if ttl else build_usage(5300)
    calls = [
        compute_cost(provider, model, build_usage(5300 - cached, cached)),
        compute_cost(provider, model, miss),
    ]
    return calls, [900, 100]


WORKED_HOURS = [
    # The source articles' examples, recomputed exactly (worked_examples.json of 2026-11-20: S0-*).
    ("S0-anthropic", "anthropic", "claude-sonnet-4-6", "5m", 5000, "15.9", "4.125"),
    ("S0-openai-exact", "openai", "gpt-4o", None, 5000, "13.25", "7.625"),
    ("S0-openai-128", "openai", "gpt-4o", None, 4992, "13.25", "7.634"),
    ("S0-opus-5-5", "anthropic", "claude-opus-5-5", "5m", 5000, "21.2", "4.6"),
    ("S0-gpt-6-sol", "openai", "gpt-6-sol", "30m", 5000, "10.6", "2.75"),
]


@pytest.mark.parametrize(
    ("name", "provider", "model", "ttl", "cached", "plain", "total"), WORKED_HOURS
)
def test_cost_of_worked_hours_with_and_without_cache(
    name: str, provider: str, model: str, ttl: str | None, cached: int, plain: str, total: str
) -> None:
    calls, times = cost_of_worked_hour(model, provider, ttl, cached)
    assert (
        format_usd(
            sum(n * (call_cost.amount or 0) for n, call_cost in zip(times, calls, strict=True))
        )
        == total
    ), name
    assert (
        format_usd(
            sum(
                n * (call_cost.without_cache or 0)
                for n, call_cost in zip(times, calls, strict=True)
            )
        )
        == plain
    ), name


def test_parts_of_the_worked_sonnet_hour() -> None:
    """S0-anthropic: reads 1.35, writes 1.875, uncached 0.9; saved 11.775, which is 74.06 %."""
    (hit, miss), _ = cost_of_worked_hour("claude-sonnet-4-6", "anthropic", "5m")
    assert format_usd(900 * hit.parts["cache_read"]) == "1.35"
    assert format_usd(100 * miss.parts["cache_write"]) == "1.875"
    assert format_usd(900 * hit.parts["input"] + 100 * miss.parts["input"]) == "0.9"
    saved = [(call_cost.without_cache or 0) - (call_cost.amount or 0) for call_cost in (hit, miss)]
    total = 900 * saved[0] + 100 * saved[1]
    assert (format_usd(total), f"{100 * total / 15.9:.2f}") == ("11.775", "74.06")
    assert saved[1] < 0, "an unread write costs more than no cache"


def test_cost_of_the_worked_hour_that_writes_and_never_reads() -> None:
    """S0-gpt-6-sol-implicit-trap: every request writes all 5,300 tokens and reads none."""
    assert (
        format_usd(
            1000
            * (compute_cost("openai", "gpt-6-sol", build_usage(0, 0, {"30m": 5300})).amount or 0)
        )
        == "13.25"
    )


@pytest.mark.parametrize(
    ("model", "moment", "total", "plain"),
    [
        ("gemini-3.1-pro-preview", "2026-11-20T00:00", "0.913", "2.063"),  # S1-gemini31pro
        (
            "gemini-3.8-flash",
            "2026-11-20T00:00",
            "0.219875",
            "0.769875",
        ),  # S1-gemini38flash, promotion until 2026-12-31
        (
            "gemini-3.8-flash",
            "2027-01-01T00:00",
            "0.43975",
            "1.53975",
        ),  # "all rates double on 2027-01-01"
    ],
)
def test_cost_of_a_gemini_cache_that_is_stored_for_an_hour(
    model: str, moment: str, total: str, plain: str
) -> None:
    """Cache 100,000 tokens for an hour and send 10 requests of 150 input and 500 output tokens.

    This is S1 of the worked examples.
    """
    creation = compute_cost("gcp.gemini", model, build_usage(100_000), moment).amount or 0
    call_cost = compute_cost("gcp.gemini", model, build_usage(150, 100_000, output=500), moment)
    storage_cost = BOOK.compute_storage_cost(model, 100_000, 3600, timestamp(moment)) or 0
    assert format_usd(creation + 10 * (call_cost.amount or 0) + storage_cost) == total
    assert format_usd(10 * (call_cost.without_cache or 0)) == plain


PUBLISHED_PRICES: list[tuple[str, str, Usage, str, dict[str, Any], str, str]] = [
    # provider, model, usage, moment, response facts, USD, source of the expectation
    (
        "anthropic",
        "claude-opus-4-5-20251101",
        build_usage(1000, 2000, {"5m": 3000, "1h": 4000}, 500),
        "2026-11-20T00:00",
        {},
        "0.07725",
        "platform.claude.com pricing, 2026-10-07: Opus 4.5 5/6.25/10/0.50/25",
    ),
    (
        "anthropic",
        "claude-opus-5-5",
        build_usage(1000, 100_000, output=100),
        "2026-11-20T00:00",
        {"speed": "fast"},
        "0.052",
        "platform.claude.com fast mode, 2026-10-07: 8 in, 40 out, reads 0.05x",
    ),
    (
        "anthropic",
        "claude-opus-4-8",
        build_usage(1000, 1000, {"1h": 1000}, 1000),
        "2026-11-20T00:00",
        {"inference_geo": "us"},
        "0.04455",
        "platform.claude.com pricing, 2026-10-07: inference_geo us 1.1x on 5/0.5/10/25",
    ),
    (
        "anthropic",
        "claude-opus-4-5",
        build_usage(1000),
        "2026-11-20T00:00",
        {"inference_geo": "not_available"},
        "0.005",
        "platform.claude.com pricing, 2026-10-07: worldwide, no factor",
    ),
    (
        "anthropic",
        "claude-haiku-5-5",
        build_usage(1000, 99_000, output=100),
        "2026-11-20T00:00",
        {},
        "0.00114",
        "platform.claude.com long context, 2026-10-07: up to 100,000 tokens 0.1/0.01/0.5",
    ),
    (
        "anthropic",
        "claude-haiku-5-5",
        build_usage(1001, 99_000, output=100),
        "2026-11-20T00:00",
        {},
        "0.0057005",
        "platform.claude.com long context, 2026-10-07: above 100,000 5x, the whole request",
    ),
    (
        "anthropic",
        "claude-3-5-sonnet-20241022",
        build_usage(1000, 1000, {"5m": 1000}, 1000),
        "2025-03-01T00:00",
        {"is_batch": True},
        "0.011025",
        "platform.claude.com batch processing, 2026-10-07: half of 3/0.30/3.75/15",
    ),
    (
        "anthropic",
        "claude-sonnet-4-6",
        build_usage(300_000),
        "2026-03-12T12:00",
        {},
        "1.8",
        "claude.com/blog/1m-context-ga: above 200,000 2x until 2026-03-13",
    ),
    (
        "anthropic",
        "claude-sonnet-4-6",
        build_usage(300_000),
        "2026-03-13T00:00",
        {},
        "0.9",
        "claude.com/blog/1m-context-ga: flat since 2026-03-13",
    ),
    (
        "anthropic",
        "claude-opus-4-8",
        build_usage(server_tool_calls={"web_search": 3}),
        "2026-11-20T00:00",
        {},
        "0.03",
        "platform.claude.com web search, 2026-10-07: 10 for 1,000 searches",
    ),
    (
        "openai",
        "gpt-6-sol",
        build_usage(1000, 4000, {"30m": 2000, "12h": 1000}, 100),
        "2026-11-20T00:00",
        {"service_tier": "default"},
        "0.0138",
        "developers.openai.com pricing, 2026-10-12: 2/0.2/2.5/10, 12h 2.5x input (2026-10-26)",
    ),
    (
        "openai",
        "gpt-6-sol",
        build_usage(273_000, output=1000),
        "2026-11-20T00:00",
        {},
        "1.107",
        "developers.openai.com pricing, 2026-07-15: above 272,000 2x input, 1.5x output",
    ),
    (
        "openai",
        "gpt-6-sol",
        build_usage(272_000, output=1000),
        "2026-11-20T00:00",
        {},
        "0.554",
        "developers.openai.com pricing, 2026-07-15: 272,000 still short",
    ),
    (
        "openai",
        "gpt-6-sol",
        build_usage(1000, 1000, output=1000),
        "2026-11-20T00:00",
        {"service_tier": "flex"},
        "0.0061",
        "developers.openai.com pricing, 2026-10-12: flex half",
    ),
    (
        "openai",
        "gpt-6-sol",
        build_usage(1000, 1000, output=1000),
        "2026-11-20T00:00",
        {"service_tier": "priority"},
        "0.0244",
        "developers.openai.com pricing, 2026-10-12: priority double",
    ),
    (
        "openai",
        "gpt-4.1",
        build_usage(1000, 1000, output=1000),
        "2026-11-20T00:00",
        {"service_tier": "priority"},
        "0.018375",
        "developers.openai.com pricing, 2026-07-15: 1.75x of 2/0.5/8",
    ),
    (
        "openai",
        "gpt-4.1",
        build_usage(1000, 1000, output=1000),
        "2026-11-20T00:00",
        {"is_batch": True},
        "0.006",
        "developers.openai.com pricing, batch table: 1 in, '-' cached, 4 out: no cached price",
    ),
    (
        "openai",
        "gpt-5",
        build_usage(1000, 1000, output=1000),
        "2026-11-20T00:00",
        {"is_batch": True},
        "0.0056875",
        "developers.openai.com pricing, batch table 2026-10-14: 0.625/0.0625/5",
    ),
    (
        "openai",
        "gpt-5",
        build_usage(1000, 1000, output=1000),
        "2026-01-01T00:00",
        {"is_batch": True},
        "0.0056875",
        "OpenAI Batch API, half price since 2024-04-15",
    ),
    (
        "openai",
        "gpt-6.1-sol",
        build_usage(1000, 10_000),
        "2026-11-20T00:00",
        {},
        "0.003",
        "providers page 2026-10: GPT-6.1 reads 0.05x of 2",
    ),
    (
        "openai",
        "gpt-5.6-luna",
        build_usage(1_000_000),
        "2026-07-29T23:59",
        {},
        "2",
        "OpenAI changelog: Luna 1.00 until 2026-07-30; above 272,000 2x",
    ),
    (
        "openai",
        "gpt-5.6-luna",
        build_usage(100_000),
        "2026-07-30T00:00",
        {},
        "0.02",
        "OpenAI changelog: Luna 0.20 from 2026-07-30",
    ),
    (
        "openai",
        "gpt-4o-audio-preview",
        build_usage(100, 0, {}, 200, modality_tokens={"audio.input": 60, "audio.output": 150}),
        "2026-11-20T00:00",
        {},
        "0.015",
        "developers.openai.com pricing, by LiteLLM 2026-11-20: text 2.5/10, audio 40/80",
    ),
    (
        "openai",
        "ft:gpt-4o-2024-08-06:acme::abc",
        build_usage(1000, 1000, output=1000),
        "2026-11-20T00:00",
        {},
        "0.020625",
        "developers.openai.com pricing: fine-tuned gpt-4o 3.75, cached 1.875, 15",
    ),
    (
        "gcp.gemini",
        "gemini-2.5-flash",
        build_usage(1000, 1000, {}, 100, modality_tokens={"audio.input": 400, "audio.read": 500}),
        "2026-11-20T00:00",
        {},
        "0.000895",
        "ai.google.dev pricing: text 0.30/0.03, audio 1.00/0.10, out 2.50",
    ),
    (
        "gcp.gemini",
        "gemini-3.1-pro-preview",
        build_usage(1000, 1000, output=1000),
        "2026-11-20T00:00",
        {"service_tier": "flex"},
        "0.0072",
        "ai.google.dev pricing: flex 1.00 in, 6 out, caching as standard 0.20",
    ),
    (
        "gcp.gemini",
        "gemini-3.1-pro-preview",
        build_usage(200_001),
        "2026-11-20T00:00",
        {"service_tier": "ON_DEMAND_PRIORITY"},
        "1.4400072",
        "ai.google.dev pricing: priority 1.8x, above 200,000 7.20",
    ),
    (
        "gcp.gemini",
        "gemini-2.5-pro",
        build_usage(1000, 1000, output=1000),
        "2026-11-20T00:00",
        {"is_batch": True},
        "0.00575",
        "ai.google.dev pricing: batch halves 1.25 and 10, cached stays 0.125",
    ),
    (
        "deepseek",
        "deepseek-v4-pro",
        build_usage(1_000_000),
        "2026-11-20T01:00",
        {},
        "1.32",
        "api-docs.deepseek.com 2026-10: peak 01-04 and 06-10 UTC, Friday",
    ),
    (
        "deepseek",
        "deepseek-v4-pro",
        build_usage(1_000_000),
        "2026-11-20T04:00",
        {},
        "0.66",
        "api-docs.deepseek.com 2026-10: off-peak from 04:00",
    ),
    (
        "deepseek",
        "deepseek-v4-pro",
        build_usage(1_000_000),
        "2026-11-21T01:00",
        {},
        "0.66",
        "api-docs.deepseek.com 2026-10: a Saturday has no peak",
    ),
    (
        "deepseek",
        "deepseek-v4-pro",
        build_usage(1_000_000),
        "2026-10-01T01:00",
        {},
        "0.66",
        "api-docs.deepseek.com 2026-10: a Chinese public holiday has no peak",
    ),
    (
        "deepseek",
        "deepseek-v4-pro",
        build_usage(1_000_000),
        "2026-08-01T01:00",
        {},
        "0.435",
        "api-docs.deepseek.com: one price before 2026-08-17",
    ),
    (
        "deepseek",
        "deepseek-flash",
        build_usage(0, 1_000_000),
        "2026-11-20T09:59",
        {},
        "0.006",
        "api-docs.deepseek.com 2026-10: cache hit 0.003, double at peak",
    ),
    (
        "deepseek",
        "deepseek-chat",
        build_usage(1_000_000),
        "2025-03-01T16:30",
        {},
        "0.135",
        "api-docs.deepseek.com, 2025-02-26: half price at night",
    ),
    (
        "deepseek",
        "deepseek-chat",
        build_usage(1_000_000),
        "2025-03-01T16:29",
        {},
        "0.27",
        "api-docs.deepseek.com, 2025-02-26: by day",
    ),
    (
        "deepseek",
        "deepseek-reasoner",
        build_usage(1_000_000),
        "2025-12-01T00:00",
        {},
        "0.28",
        "api-docs.deepseek.com, 2025-09-29: V3.2 0.28/0.028/0.42",
    ),
    (
        "x_ai",
        "grok-4.7",
        build_usage(200_000),
        "2026-11-20T00:00",
        {},
        "0.8",
        "docs.x.ai pricing: from 200,000 tokens on 2x of 2",
    ),
    (
        "x_ai",
        "grok-4.7",
        build_usage(199_999),
        "2026-11-20T00:00",
        {},
        "0.399998",
        "docs.x.ai pricing: below 200,000 2",
    ),
    (
        "groq",
        "openai/gpt-oss-120b",
        build_usage(1000, 1000),
        "2026-11-20T00:00",
        {},
        "0.000225",
        "console.groq.com prompt caching: 0.15, cached half",
    ),
    (
        "moonshot_ai",
        "kimi-k3",
        build_usage(0, 1000, {"1h": 1000}),
        "2026-11-20T00:00",
        {},
        "0.0063",
        "platform.kimi.ai chat-k3, 2026-10-15: 0.30 cached, 6 for one hour",
    ),
    (
        "aws.bedrock",
        "us.anthropic.claude-opus-5-5",
        build_usage(1000, 1000, {"5m": 1000}),
        "2026-11-20T00:00",
        {},
        "0.01012",
        "AWS price list: regional 10 % above 4/0.2/5",
    ),
    (
        "aws.bedrock",
        "global.anthropic.claude-opus-5-5",
        build_usage(1000, 1000, {"5m": 1000}),
        "2026-11-20T00:00",
        {},
        "0.0092",
        "AWS price list: global at Anthropic's price",
    ),
    (
        "aws.bedrock",
        "amazon.nova-pro-v1:0",
        build_usage(1000, 1000, {"5m": 1000}),
        "2026-11-20T00:00",
        {},
        "0.0018",
        "docs.aws.amazon.com: Nova 0.80, reads 0.25x, writes at the input price",
    ),
    (
        "azure.ai.openai",
        "gpt-4o-2024-08-06",
        build_usage(1000, 1000),
        "2026-11-20T00:00",
        {},
        "0.00375",
        "Azure Global Standard, as OpenAI: 2.50/1.25",
    ),
    (
        "gcp.vertex_ai",
        "claude-opus-4-8",
        build_usage(1000),
        "2026-11-20T00:00",
        {},
        "0.005",
        "cloud.google.com pricing: global endpoint 5",
    ),
]


@pytest.mark.parametrize(
    ("provider", "model", "usage", "moment", "facts", "usd", "source"), PUBLISHED_PRICES
)
def test_cost_equals_published_prices(
    provider: str,
    model: str,
    usage: Usage,
    moment: str,
    facts: dict[str, Any],
    usd: str,
    source: str,
) -> None:
    call_cost = compute_cost(provider, model, usage, moment, **facts)
    assert (format_usd(call_cost.amount), call_cost.unknown_reason) == (usd, None), source
    assert call_cost.source == "local"
    assert call_cost.price_date is not None


@pytest.mark.parametrize(
    ("provider", "model", "host", "usd"),
    [
        ("openai", "gpt-6-sol", "api.openai.com", "0.002"),
        (
            "openai",
            "gpt-6-sol",
            "eu.api.openai.com",
            "0.0022",
        ),  # developers.openai.com, 2026-07-15: +10 %
        ("openai", "gpt-4o", "eu.api.openai.com", "0.0025"),  # older than 2026-03-05: no uplift
        ("gcp.vertex_ai", "claude-opus-4-8", "aiplatform.googleapis.com", "0.005"),
        (
            "gcp.vertex_ai",
            "claude-opus-4-8",
            "us-east5-aiplatform.googleapis.com",
            "0.0055",
        ),  # +10 %
        ("gcp.vertex_ai", "claude-opus-4-8", "aiplatform.eu.rep.googleapis.com", "0.0055"),
        ("gcp.vertex_ai", "gemini-2.5-pro", "us-east5-aiplatform.googleapis.com", "0.00125"),
        (
            "openai",
            "gpt-6-sol",
            "us-east5-aiplatform.googleapis.com",
            "0.002",
        ),  # no host of OpenAI
        (
            "aws.bedrock",
            "amazon.nova-pro-v1:0",
            "bedrock-runtime.us-west-2.amazonaws.com",
            "0.0008",
        ),
        (
            "aws.bedrock",
            "eu.anthropic.claude-opus-5-5",
            "bedrock-runtime.eu-west-1.amazonaws.com",
            "0.0044",
        ),
        (
            "aws.bedrock",
            "global.anthropic.claude-opus-5-5",
            "bedrock-runtime.ap-southeast-2.amazonaws.com",
            "0.004",
        ),
    ],
)
def test_regional_hosts_change_the_price(provider: str, model: str, host: str, usd: str) -> None:
    assert format_usd(compute_cost(provider, model, build_usage(1000), host=host).amount) == usd


UNKNOWN_COSTS: list[tuple[str, str, str | None, Usage | None, dict[str, Any]]] = [
    ("model", "openai", "gpt-9", build_usage(1), {}),
    ("model", "openai", "gpt-6-sol-mini", build_usage(1), {}),
    ("model", "openai", None, build_usage(1), {}),
    (
        "model",
        "openai",
        "gpt-oss-120b",
        build_usage(1),
        {},
    ),  # OpenAI does not sell this model, and OpenRouter's price does not apply
    ("model", "nobody", "gpt-4o", build_usage(1), {}),
    ("model", "../openai", "gpt-4o", build_usage(1), {}),
    (
        "model",
        "azure.ai.openai",
        "gpt-4o",
        build_usage(1),
        {"model": None},
    ),  # the name of a deployment does not determine the model
    (
        "model",
        "azure.ai.openai",
        "deepseek-v4-pro",
        build_usage(1),
        {},
    ),  # Azure's price is not DeepSeek's
    ("tier", "openai", "gpt-4o", build_usage(1), {"service_tier": "flex"}),
    ("tier", "openai", "gpt-4o", build_usage(1), {"service_tier": "scale"}),
    ("tier", "openai", "gpt-6-sol", build_usage(1), {"service_tier": "flex", "is_batch": True}),
    (
        "tier",
        "anthropic",
        "claude-opus-4-8",
        build_usage(1),
        {"service_tier": "priority"},
    ),  # committed capacity
    ("tier", "anthropic", "claude-opus-4-8", build_usage(1), {"speed": "fast", "is_batch": True}),
    ("tier", "anthropic", "claude-opus-4-8", build_usage(1), {"speed": "ludicrous"}),
    (
        "tier",
        "anthropic",
        "claude-opus-4-5",
        build_usage(1),
        {"inference_geo": "us"},
    ),  # the parameter exists since Claude 4.6
    (
        "tier",
        "azure.ai.openai",
        "gpt-4o",
        build_usage(1),
        {"is_batch": True},
    ),  # OpenAI's batch price is not Azure's
    ("price", "openai", "whisper-1", build_usage(1), {}),  # billed by the hour
    (
        "price",
        "anthropic",
        "claude-2",
        build_usage(0, 1),
        {},
    ),  # the model has no cache and thus no read price
    (
        "price",
        "openai",
        "gpt-4o",
        build_usage(0, 0, {"12h": 1}),
        {},
    ),  # a longer TTL has a price of its own
    ("price", "anthropic", "claude-opus-4-8", build_usage(0, 0, {"12h": 1}), {}),
    ("price", "openai", "text-embedding-3-small", build_usage(1, output=1), {}),
    (
        "price",
        "openai",
        "gpt-4o-transcribe",
        build_usage(9, modality_tokens={"smell.nowhere": 1}),
        {},
    ),
    ("usage", "openai", "gpt-6-sol", None, {}),
    ("usage", "openai", "gpt-6-sol", build_usage(1, output=None), {}),
    ("usage", "openai", "gpt-6-sol", build_usage(1, inconsistencies=("negative",)), {}),
    ("usage", "openai", "gpt-4o", build_usage(1, None), {}),  # a discount is possible
    (
        "usage",
        "openai",
        "gpt-6-sol",
        Usage(1, 1, 0, None, {}, 0),
        {},
    ),  # a billed write is possible
    (
        "usage",
        "openai",
        "gpt-4o-audio-preview",
        build_usage(9, modality_tokens={"audio.input": 10}),
        {},
    ),
]


def test_a_tool_without_a_price_leaves_the_other_parts() -> None:
    usage = build_usage(1000, server_tool_calls={"code_execution": 1})
    found = compute_cost("anthropic", "claude-opus-4-8", usage)
    assert (found.amount, found.unknown_reason) == (None, "tool_fee")
    assert found.parts["input"] == pytest.approx(0.005)


@pytest.mark.parametrize(("reason", "provider", "model", "usage", "facts"), UNKNOWN_COSTS)
def test_an_unknown_cost_has_a_reason_and_no_amount(
    reason: str, provider: str, model: str | None, usage: Usage | None, facts: dict[str, Any]
) -> None:
    call_cost = compute_cost(provider, model, usage, **facts)
    assert (
        call_cost.amount,
        call_cost.unknown_reason,
        dict(call_cost.parts),
        call_cost.without_cache,
    ) == (
        None,
        reason,
        {},
        None,
    )


def test_the_inference_profile_determines_the_bedrock_price() -> None:
    """InvokeModel's response names the bare model, which does not determine the price."""
    call_cost = compute_cost(
        "aws.bedrock",
        "global.anthropic.claude-opus-5-5",
        build_usage(1000),
        model="claude-opus-5-5",
    )
    assert format_usd(call_cost.amount) == "0.004"
    opaque = "arn:aws:bedrock:us-east-1:1:application-inference-profile/a1"
    assert (
        compute_cost(
            "aws.bedrock", opaque, build_usage(1000), model="claude-opus-5-5"
        ).unknown_reason
        == "model"
    )


@pytest.mark.parametrize(
    ("model", "host"),
    [
        (
            "amazon.nova-pro-v1:0",
            "bedrock-runtime.eu-west-1.amazonaws.com",
        ),  # a higher price there, which the list lacks
        ("anthropic.claude-opus-5-5", "bedrock-runtime.us-gov-west-1.amazonaws.com"),
    ],
)
def test_a_region_without_a_price_has_an_unknown_cost(model: str, host: str) -> None:
    assert compute_cost("aws.bedrock", model, build_usage(1), host=host).unknown_reason == "tier"


def test_a_price_does_not_apply_before_its_date() -> None:
    assert (
        compute_cost(
            "x_ai", "grok-4.3", build_usage(1), "2026-10-13T23:59", is_batch=True
        ).unknown_reason
        == "tier"
    )
    assert (
        compute_cost("deepseek", "deepseek-chat", build_usage(1), "2024-12-31T00:00").unknown_reason
        == "price"
    )
    assert (
        compute_cost("deepseek", "deepseek-chat", build_usage(1), "2026-05-01T00:00").unknown_reason
        == "price"
    )


def test_a_model_without_cache_price_needs_no_cache_counts() -> None:
    assert compute_cost(
        "groq", "llama-3.3-70b-versatile", build_usage(1000, None)
    ).amount == pytest.approx(0.00059)
    assert compute_cost(
        "openai", "text-embedding-3-small", Usage(1000, 1000, None, None)
    ).amount == pytest.approx(0.00002)


def test_the_response_tier_overrides_the_requested_tier() -> None:
    request_body = {"service_tier": "flex"}
    assert (
        compute_cost("openai", "gpt-6-sol", build_usage(1), body=request_body).unknown_reason
        == "tier"
    )
    assert (
        format_usd(
            compute_cost(
                "openai", "gpt-6-sol", build_usage(1000), body=request_body, service_tier="default"
            ).amount
        )
        == "0.002"
    )
    assert (
        format_usd(
            compute_cost(
                "openai", "gpt-6-sol", build_usage(1000), body={"service_tier": "auto"}
            ).amount
        )
        == "0.002"
    )
    assert (
        format_usd(
            compute_cost("openai", "gpt-6-sol", build_usage(1000), body={"service_tier": 7}).amount
        )
        == "0.002"
    )


HOUR_BREAKPOINT = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


@pytest.mark.parametrize(
    ("body", "usd"),
    [
        ({}, "0.00625"),
        ({"system": [{"cache_control": {"type": "ephemeral"}}]}, "0.00625"),
        ({"system": ({"text": "x", **HOUR_BREAKPOINT},), "tools": [HOUR_BREAKPOINT]}, "0.01"),
        ({"system": [HOUR_BREAKPOINT], "tools": [{"cache_control": {"type": "ephemeral"}}]}, None),
        ({"tools": [{"input_schema": {"ttl": "1h", "cache_control": None}}]}, "0.00625"),
    ],
)
def test_writes_of_unknown_ttl_get_the_requested_ttl(body: dict[str, Any], usd: str | None) -> None:
    """A write lives five minutes unless a breakpoint requests one hour.

    platform.claude.com, prompt caching: USD 6.25 and 10 per million on Opus 4.8.
    """
    call_cost = compute_cost(
        "anthropic", "claude-opus-4-8", build_usage(0, 0, {"unknown": 1000}), body=body
    )
    assert (format_usd(call_cost.amount) if usd else call_cost.amount) == usd
    unsplit = compute_cost(
        "anthropic", "claude-opus-4-8", Usage(1000, 0, 0, 1000, {}, 0), body=body
    )
    assert unsplit == call_cost
    assert call_cost.unknown_reason == (None if usd else "usage")


def test_a_model_with_one_write_price_needs_no_ttl() -> None:
    assert (
        format_usd(
            compute_cost(
                "aws.bedrock", "amazon.nova-pro-v1:0", build_usage(0, 0, {"unknown": 1000})
            ).amount
        )
        == "0.0008"
    )


def test_the_requested_ttl_is_found_in_cyclic_and_malformed_bodies() -> None:
    endless: dict[str, Any] = {"messages": []}
    endless["messages"].append(endless)
    assert single_requested_ttl(endless, "5m") == "5m"
    assert single_requested_ttl({"a": [{"cachePoint": {"ttl": ["odd"]}}]}, "5m") == "['odd']"


def test_the_billed_amount_of_the_provider_takes_precedence() -> None:
    """OpenRouter reports the billed USD in `usage.cost`. The parts need an equal listed amount."""
    usage = build_usage(300, 5000)
    equal_amount = compute_cost(
        "openrouter", "anthropic/claude-sonnet-4.6", usage, billed_usd=0.0024
    )
    assert (equal_amount.amount, equal_amount.source, format_usd(equal_amount.without_cache)) == (
        0.0024,
        "provider",
        "0.0159",
    )
    assert set(equal_amount.parts) == {"input", "cache_read", "cache_write", "output"}
    different_amount = compute_cost(
        "openrouter", "anthropic/claude-sonnet-4.6", usage, billed_usd=0.0025
    )
    assert (
        different_amount.amount,
        different_amount.source,
        dict(different_amount.parts),
        different_amount.without_cache,
        different_amount.input_price,
    ) == (
        0.0025,
        "provider",
        {},
        None,
        None,
    )
    unlisted = compute_cost("openrouter", "someone/something", usage, billed_usd=0.0)
    assert (unlisted.amount, unlisted.source, unlisted.unknown_reason) == (0.0, "provider", None)


def test_marginal_prices_of_input_reads_and_writes() -> None:
    call_cost = compute_cost("openai", "gpt-6-sol", build_usage(1), service_tier="flex")
    assert (
        call_cost.input_price,
        call_cost.cache_read_price,
        dict(call_cost.cache_write_prices),
    ) == (
        1e-6,
        1e-7,
        {"30m": 1.25e-6, "12h": 2.5e-6},
    )
    assert dict(
        compute_cost("anthropic", "claude-opus-4-5", build_usage(1)).cache_write_prices
    ) == {
        "5m": 6.25e-6,
        "1h": 1e-5,
    }


def test_reasoning_tokens_have_a_price_of_their_own() -> None:
    rates = Rates(1e-6, None, 2e-6, modality_prices={"reasoning.output": 3e-6})
    assert (
        format_usd(
            algebra.compute_cost_at_rates(
                rates, build_usage(10, None, {}, 100, reasoning_tokens=40)
            ).amount
        )
        == "0.00025"
    )
    assert (
        algebra.compute_cost_at_rates(
            rates, build_usage(10, None, {}, 100, reasoning_tokens=400)
        ).unknown_reason
        == "usage"
    )


def test_cached_audio_without_its_own_price_is_unknown() -> None:
    rates = Rates(1e-6, 1e-7, 2e-6, modality_prices={"audio.input": 5e-6})
    assert (
        algebra.compute_cost_at_rates(
            rates, build_usage(10, 10, modality_tokens={"audio.read": 3})
        ).unknown_reason
        == "price"
    )
    assert (
        algebra.compute_cost_at_rates(
            rates, build_usage(10, 10, modality_tokens={"audio.read": 0, "image.read": 3})
        ).amount
        is not None
    )


def test_the_cache_of_price_plans_is_bounded() -> None:
    book = PriceBook()
    for number in range(1200):
        compute_cost("openai", f"model-{number}", build_usage(1), book=book)
    plans = getattr(book, "_plans")  # noqa: B009  # a private field, read only for its size
    assert len(plans) <= 512


@pytest.mark.parametrize(
    ("model", "seconds", "moment", "usd"),
    [
        (
            "gemini-2.5-pro",
            3600,
            "2026-11-20T00:00",
            "4.5",
        ),  # ai.google.dev pricing: USD 4.50 per million tokens and hour
        ("models/gemini-2.5-flash", 1800, "2026-11-20T00:00", "0.5"),  # ai.google.dev pricing: 1.00
        (
            "gemini-3.8-flash",
            3600,
            "2026-12-31T23:30",
            "0.75",
        ),  # half at 0.50, half at 1.00 from 2027-01-01
        ("gemini-3.8-flash", 0, "2026-12-31T23:30", "0"),
        ("gemini-3.8-flash", 1, "2026-11-20T00:00", "0.000138888889"),
    ],
)
def test_storage_cost_of_a_million_tokens(
    model: str, seconds: float, moment: str, usd: str
) -> None:
    assert (
        format_usd(BOOK.compute_storage_cost(model, 1_000_000, seconds, timestamp(moment))) == usd
    )


@pytest.mark.parametrize(
    ("model", "seconds"),
    [("gemini-9", 1), ("gemini-3.5-flash", 1), ("gemini-2.5-pro", -1), ("deepseek-chat", 1)],
)
def test_storage_of_an_unknown_price_has_no_cost(model: str, seconds: float) -> None:
    assert BOOK.compute_storage_cost(model, 1, seconds, timestamp("2026-11-20T00:00")) is None
