"""What holds for every price and every usage (docs/specs/cost.md, sections 2 and 3)."""

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
counts = st.integers(0, 2_000_000)
prices = st.floats(1e-9, 1e-3)


@st.composite
def rates(draw: st.DrawFn) -> Rates:
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
def usages(draw: st.DrawFn) -> Usage:
    split = draw(st.dictionaries(st.sampled_from(TTLS), counts))
    uncached, read, output = draw(counts), draw(counts), draw(counts)
    whole = {"audio.input": uncached, "audio.read": read, "audio.output": output}
    modal = {name: draw(st.integers(0, limit)) for name, limit in whole.items()}
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


def plain(usage: Usage) -> Usage:
    """The same tokens, none of them cached."""
    audio = dict(usage.modality_tokens)
    audio["audio.input"] = audio.get("audio.input", 0) + audio.pop("audio.read", 0)
    return usage._replace(
        uncached_tokens=usage.input_tokens,
        cache_read_tokens=0,
        cache_write_tokens=0,
        cache_write_by_ttl={},
        modality_tokens=audio,
    )


@given(rates(), usages())
def test_parts_sum_to_the_amount(prices: Rates, usage: Usage) -> None:
    found = algebra.price_usage(prices, usage)
    assert found.amount is not None
    assert isclose(sum(found.parts.values()), found.amount, rel_tol=1e-12, abs_tol=1e-15)
    assert set(found.parts) >= {"input", "cache_read", "cache_write", "output"}
    assert all(part >= -1e-12 for part in found.parts.values())


@given(rates(), usages())
def test_without_cache_is_what_the_same_tokens_cost_uncached(prices: Rates, usage: Usage) -> None:
    found, uncached = algebra.price_usage(prices, usage), algebra.price_usage(prices, plain(usage))
    assert found.without_cache is not None
    assert uncached.amount is not None
    assert isclose(found.without_cache, uncached.amount, rel_tol=1e-9, abs_tol=1e-12)
    assert uncached.without_cache == uncached.amount or isclose(
        uncached.without_cache or 0, uncached.amount
    )


@given(
    rates(),
    usages(),
    st.sampled_from(["uncached_tokens", "cache_read_tokens", "output_tokens", *TTLS, "web_search"]),
    st.integers(1, 1000),
)
def test_no_class_is_free_and_more_costs_more(
    prices: Rates, usage: Usage, kind: str, more: int
) -> None:
    if kind in ("uncached_tokens", "cache_read_tokens"):
        grown = usage._replace(
            **{kind: getattr(usage, kind) + more, "input_tokens": usage.input_tokens + more}
        )
    elif kind == "output_tokens":
        grown = usage._replace(output_tokens=(usage.output_tokens or 0) + more)
    elif kind == "web_search":
        grown = usage._replace(server_tool_calls={kind: usage.server_tool_calls[kind] + more})
    else:
        split = {**usage.cache_write_by_ttl, kind: usage.cache_write_by_ttl.get(kind, 0) + more}
        grown = usage._replace(
            cache_write_by_ttl=split,
            cache_write_tokens=(usage.cache_write_tokens or 0) + more,
            input_tokens=usage.input_tokens + more,
        )
    assert (algebra.price_usage(prices, grown).amount or 0) > (
        algebra.price_usage(prices, usage).amount or 0
    )


@given(rates(), usages())
def test_marginal_prices_are_the_derivative(prices: Rates, usage: Usage) -> None:
    usage = usage._replace(modality_tokens={})
    found = algebra.price_usage(prices, usage)
    fresh = usage._replace(
        uncached_tokens=usage.uncached_tokens + 1000, input_tokens=usage.input_tokens + 1000
    )
    read = usage._replace(
        cache_read_tokens=(usage.cache_read_tokens or 0) + 1000,
        input_tokens=usage.input_tokens + 1000,
    )
    for grown, marginal in ((fresh, found.input_price), (read, found.cache_read_price)):
        step = (algebra.price_usage(prices, grown).amount or 0) - (found.amount or 0)
        assert isclose(
            step, 1000 * (marginal or 0), rel_tol=1e-6, abs_tol=1e-9 * (1 + (found.amount or 0))
        )


BOOK = PriceBook()
MODELS = ("claude-opus-4-8", "claude-opus-5-5", "claude-sonnet-4-6", "claude-haiku-5-5")


def claude(model: str, usage: Usage, **facts: Any) -> float:
    request = Request(
        "messages", "anthropic", "chat", model, None, None, False, {}, b"", 1_795_000_000.0
    )
    found = BOOK.compute_cost(request, ResponseFacts(model=model, **facts), usage).amount
    assert found is not None
    return found


@settings(max_examples=50)
@given(st.sampled_from(MODELS), usages())
def test_place_and_batch_commute(model: str, usage: Usage) -> None:
    """Anthropic's 1.1x for inference in the US and half price for a batch: both, in either order, are 0.55x."""
    tokens = usage._replace(
        modality_tokens={},
        server_tool_calls={},
        cache_write_tokens=0,
        cache_write_by_ttl={},
        input_tokens=usage.uncached_tokens + (usage.cache_read_tokens or 0),
    )
    whole = claude(model, tokens)
    both = claude(model, tokens, inference_geo="us", is_batch=True)
    modifiers: tuple[dict[str, Any], ...] = ({"inference_geo": "us"}, {"is_batch": True})
    for first, second in permutations(modifiers):
        share = claude(model, tokens, **first) / whole if whole else 0
        assert isclose(both, share * claude(model, tokens, **second), rel_tol=1e-9, abs_tol=1e-15)
    assert isclose(both, 0.55 * whole, rel_tol=1e-9, abs_tol=1e-15)


@given(st.floats(1e-7, 1e-3), st.floats(0, 0.99), st.floats(0.1, 4))
def test_a_write_pays_exactly_from_the_break_even_on(
    p_in: float, read: float, write: float
) -> None:
    p_read, p_write = read * p_in, write * p_in
    number = requests_until_write_pays(p_in, p_read, p_write)
    assert number is not None
    slack = 1e-6 * p_in * (number + 1)
    assert p_write + (number - 1) * p_read < number * p_in + slack
    assert number == 1 or p_write + (number - 2) * p_read >= (number - 1) * p_in - slack


@given(st.integers(0, 2_000_000_000), st.lists(st.integers(0, 2_000_000_000), max_size=6))
def test_the_last_period_that_began_holds(moment: int, begins: list[int]) -> None:
    periods = tuple(table.PricePeriod(start, {}, (), (Rates(1, 1, 1),)) for start in sorted(begins))
    found = table.period_in_force(periods, moment)
    begun = [start for start in sorted(begins) if start <= moment]
    assert (found.since if found else None) == (begun[-1] if begun else None)
