"""Properties of the cost of any price and usage (docs/specs/cost.md, sections 2 and 3)."""

from __future__ import annotations

from itertools import permutations
from math import isclose
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from promptcache.model import TTL_SECONDS, Request, ResponseFacts, Usage
from promptcache.prices import PriceBook, algebra, table
from promptcache.prices.breakeven import requests_until_write_pays
from promptcache.prices.rates import Rates

TTLS = tuple(TTL_SECONDS)
token_counts = st.integers(0, 2_000_000)
prices = st.floats(1e-9, 1e-3)


@st.composite
def any_rates(draw: st.DrawFn) -> Rates:
    audio = draw(
        st.fixed_dictionaries({f"audio.{name}": prices for name in ("input", "read", "output")})
    )
    writes = {ttl: draw(prices) for ttl in TTLS}
    return Rates(
        draw(prices),
        draw(prices),
        draw(prices),
        writes,
        draw(st.sampled_from([audio, {}])),
        {"web_search": draw(prices)},
    )


@st.composite
def any_usages(draw: st.DrawFn) -> Usage:
    split = draw(st.dictionaries(st.sampled_from(TTLS), token_counts))
    uncached, read, output = draw(token_counts), draw(token_counts), draw(token_counts)
    totals = {"audio.input": uncached, "audio.read": read, "audio.output": output}
    modal = {name: draw(st.integers(0, limit)) for name, limit in totals.items()}
    write = sum(split.values())
    return Usage(
        uncached + read + write,
        uncached,
        read,
        write,
        split,
        output,
        modality_tokens=draw(st.sampled_from([modal, {}])),
        server_tool_calls={"web_search": draw(st.integers(0, 9))},
    )


def without_cache(usage: Usage) -> Usage:
    """Return the same tokens as uncached input."""
    audio = dict(usage.modality_tokens)
    audio["audio.input"] = audio.get("audio.input", 0) + audio.pop("audio.read", 0)
    return usage._replace(
        uncached_tokens=usage.input_tokens,
        cache_read_tokens=0,
        cache_write_tokens=0,
        cache_write_by_ttl={},
        modality_tokens=audio,
    )


@given(any_rates(), any_usages())
def test_parts_sum_to_the_amount(prices: Rates, usage: Usage) -> None:
    cost = algebra.compute_cost_at_rates(prices, usage)
    assert cost.amount is not None
    assert isclose(sum(cost.parts.values()), cost.amount, rel_tol=1e-12, abs_tol=1e-15)
    assert set(cost.parts) >= {"input", "cache_read", "cache_write", "output"}
    assert all(part >= -1e-12 for part in cost.parts.values())


@given(any_rates(), any_usages())
def test_cost_without_cache_equals_the_cost_of_uncached_tokens(prices: Rates, usage: Usage) -> None:
    cost, uncached = (
        algebra.compute_cost_at_rates(prices, usage),
        algebra.compute_cost_at_rates(prices, without_cache(usage)),
    )
    assert cost.without_cache is not None
    assert uncached.amount is not None
    assert isclose(cost.without_cache, uncached.amount, rel_tol=1e-9, abs_tol=1e-12)
    assert uncached.without_cache == uncached.amount or isclose(
        uncached.without_cache or 0, uncached.amount
    )


@given(
    any_rates(),
    any_usages(),
    st.sampled_from(["uncached_tokens", "cache_read_tokens", "output_tokens", *TTLS, "web_search"]),
    st.integers(1, 1000),
)
def test_more_tokens_of_any_class_cost_more(
    prices: Rates, usage: Usage, kind: str, more: int
) -> None:
    if kind in ("uncached_tokens", "cache_read_tokens"):
        larger_usage = usage._replace(
            **{kind: getattr(usage, kind) + more, "input_tokens": usage.input_tokens + more}
        )
    elif kind == "output_tokens":
        larger_usage = usage._replace(output_tokens=(usage.output_tokens or 0) + more)
    elif kind == "web_search":
        larger_usage = usage._replace(
            server_tool_calls={kind: usage.server_tool_calls[kind] + more}
        )
    else:
        split = {**usage.cache_write_by_ttl, kind: usage.cache_write_by_ttl.get(kind, 0) + more}
        larger_usage = usage._replace(
            cache_write_by_ttl=split,
            cache_write_tokens=(usage.cache_write_tokens or 0) + more,
            input_tokens=usage.input_tokens + more,
        )
    assert (algebra.compute_cost_at_rates(prices, larger_usage).amount or 0) > (
        algebra.compute_cost_at_rates(prices, usage).amount or 0
    )


@given(any_rates(), any_usages())
def test_marginal_prices_equal_the_cost_of_more_tokens(prices: Rates, usage: Usage) -> None:
    usage = usage._replace(modality_tokens={})
    cost = algebra.compute_cost_at_rates(prices, usage)
    more_uncached = usage._replace(
        uncached_tokens=usage.uncached_tokens + 1000, input_tokens=usage.input_tokens + 1000
    )
    more_read = usage._replace(
        cache_read_tokens=(usage.cache_read_tokens or 0) + 1000,
        input_tokens=usage.input_tokens + 1000,
    )
    for larger_usage, marginal in (
        (more_uncached, cost.input_price),
        (more_read, cost.cache_read_price),
    ):
        step = (algebra.compute_cost_at_rates(prices, larger_usage).amount or 0) - (
            cost.amount or 0
        )
        assert isclose(
            step, 1000 * (marginal or 0), rel_tol=1e-6, abs_tol=1e-9 * (1 + (cost.amount or 0))
        )


BOOK = PriceBook()
MODELS = ("claude-opus-4-8", "claude-opus-5-5", "claude-sonnet-4-6", "claude-haiku-5-5")


def claude_cost_usd(model: str, usage: Usage, **facts: Any) -> float:
    request = Request(
        "messages", "anthropic", "chat", model, None, None, False, {}, b"", 1_795_000_000.0
    )
    amount = BOOK.compute_cost(request, ResponseFacts(model=model, **facts), usage).amount
    assert amount is not None
    return amount


@settings(max_examples=50)
@given(st.sampled_from(MODELS), any_usages())
def test_regional_and_batch_factors_commute(model: str, usage: Usage) -> None:
    """Inference in the US costs 1.1x and a batch half. Both together cost 0.55x in either order."""
    tokens = usage._replace(
        modality_tokens={},
        server_tool_calls={},
        cache_write_tokens=0,
        cache_write_by_ttl={},
        input_tokens=usage.uncached_tokens + (usage.cache_read_tokens or 0),
    )
    whole = claude_cost_usd(model, tokens)
    both = claude_cost_usd(model, tokens, inference_geo="us", is_batch=True)
    modifiers: tuple[dict[str, Any], ...] = ({"inference_geo": "us"}, {"is_batch": True})
    for first, second in permutations(modifiers):
        share = claude_cost_usd(model, tokens, **first) / whole if whole else 0
        assert isclose(
            both, share * claude_cost_usd(model, tokens, **second), rel_tol=1e-9, abs_tol=1e-15
        )
    assert isclose(both, 0.55 * whole, rel_tol=1e-9, abs_tol=1e-15)


@given(st.floats(1e-7, 1e-3), st.floats(0, 0.99), st.floats(0.1, 4))
def test_a_write_pays_from_the_break_even_request_on(
    input_price: float, read_factor: float, write_factor: float
) -> None:
    read_price, write_price = read_factor * input_price, write_factor * input_price
    number = requests_until_write_pays(input_price, read_price, write_price)
    assert number is not None
    slack = 1e-6 * input_price * (number + 1)
    assert write_price + (number - 1) * read_price < number * input_price + slack
    assert (
        number == 1 or write_price + (number - 2) * read_price >= (number - 1) * input_price - slack
    )


@given(st.integers(0, 2_000_000_000), st.lists(st.integers(0, 2_000_000_000), max_size=6))
def test_the_latest_started_price_period_is_in_force(moment: int, starts: list[int]) -> None:
    periods = tuple(table.PricePeriod(start, {}, (), (Rates(1, 1, 1),)) for start in sorted(starts))
    period = table.latest_period_in_force(periods, moment)
    past_starts = [start for start in sorted(starts) if start <= moment]
    assert (period.since if period else None) == (past_starts[-1] if past_starts else None)
