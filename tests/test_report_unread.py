"""The report counts cache writes that certainly no call read, at the prices of the price book."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from promptcache.model import Request, ResponseFacts, Usage
from promptcache.prices import PriceBook
from promptcache.semconv import (
    BATCH,
    COST_AMOUNT,
    COST_CACHE_READ,
    COST_CACHE_WRITE,
    COST_INPUT,
    COST_OUTPUT,
    COST_WITHOUT_CACHE,
    GEN_AI_PROVIDER_NAME,
    GEN_AI_REQUEST_MODEL,
    GEN_AI_RESPONSE_MODEL,
    INPUT_TOKENS,
    MISSED_TOKENS,
    OUTCOME,
    PREFIX_FAMILY,
    PREFIX_SYSTEM_HASH,
    PREFIX_TOOLS_HASH,
    READ_TOKENS,
    UNCACHED_TOKENS,
    WRITE_TOKENS,
    WRITE_TOKENS_BY_TTL,
)
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.json import render_report_json
from promptcache_exporters.report.lines import advice_lines, summary_lines
from promptcache_exporters.report.query import collect_report
from promptcache_exporters.report.unread_writes import UnreadWriteTotals
from tests.support.span_builders import START, record_calls

MODEL: Final = "claude-sonnet-4-6"
NO_UNREAD_WRITES: Final = UnreadWriteTotals()
MUCH_LATER: Final = 100_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.db"


def make_call(
    at: float, read: int = 0, write: int = 0, **more: Any
) -> tuple[float, Mapping[str, Any]]:
    """Return time and attributes of a Claude call with its costs; `more` uses the short names."""
    ttl: str = more.pop("ttl", "5m")
    usage = Usage(read + write + 200, 200, read, write, {ttl: write} if write else {}, 50)
    request = Request("w", "anthropic", "chat", MODEL, None, None, False, {}, b"", START + at)
    cost = PriceBook.load_with_user_prices(None).compute_cost(
        request, ResponseFacts(model=MODEL), usage
    )
    attributes = {
        OUTCOME: "hit" if read else "cold",
        GEN_AI_PROVIDER_NAME: "anthropic",
        GEN_AI_REQUEST_MODEL: MODEL,
        GEN_AI_RESPONSE_MODEL: MODEL,
        INPUT_TOKENS: usage.input_tokens,
        READ_TOKENS: read,
        WRITE_TOKENS: write,
        UNCACHED_TOKENS: 200,
        WRITE_TOKENS_BY_TTL[ttl]: write,
        COST_AMOUNT: cost.amount,
        COST_WITHOUT_CACHE: cost.without_cache,
        COST_INPUT: cost.parts.get("input"),
        COST_CACHE_READ: cost.parts.get("cache_read"),
        COST_CACHE_WRITE: cost.parts.get("cache_write"),
        COST_OUTPUT: cost.parts.get("output"),
        PREFIX_TOOLS_HASH: "p1:t",
        PREFIX_SYSTEM_HASH: "p1:s",
        PREFIX_FAMILY: "p1:f",
    }
    return START + at, attributes | {
        ATTRIBUTE_BY_SHORT_NAME[name]: value for name, value in more.items()
    }


ATTRIBUTE_BY_SHORT_NAME: Final = {
    "tools": PREFIX_TOOLS_HASH,
    "system": PREFIX_SYSTEM_HASH,
    "family": PREFIX_FAMILY,
    "missed": MISSED_TOKENS,
    "batch": BATCH,
    "model": GEN_AI_RESPONSE_MODEL,
    "paid": COST_CACHE_WRITE,
    "split": WRITE_TOKENS_BY_TTL["5m"],
}


def count_unread_writes(path: Path, *calls: tuple[float, Mapping[str, Any]]) -> UnreadWriteTotals:
    """Record `calls` and a much later call, and return the unread writes of the report."""
    for at, attributes in (*calls, make_call(MUCH_LATER, tools="p1:other")):
        record_calls(path, attributes, at=at)
    totals = collect_report(path).unread_writes
    assert totals is not None
    return totals


SURCHARGE: Final = 3.75e-6 - 3e-6
"""USD per token that a write of Claude Sonnet 4.6 costs more than input (price page of Anthropic,
November 2026)."""


def test_an_unread_write_is_counted_with_its_surcharge(path: Path) -> None:
    totals = count_unread_writes(path, make_call(0, write=2000))
    assert (totals.calls, totals.tokens, totals.unpriced) == (1, 2000, 0)
    assert totals.wasted_usd == pytest.approx(2000 * SURCHARGE)


def test_an_unread_write_of_one_hour_costs_the_surcharge_of_its_ttl(path: Path) -> None:
    totals = count_unread_writes(path, make_call(0, read=5000, write=1000, ttl="1h"))
    assert totals.wasted_usd == pytest.approx(1000 * (6e-6 - 3e-6))


@pytest.mark.parametrize(
    "reader",
    [
        make_call(60, read=2000),
        make_call(60, read=1),
        make_call(320, read=2000),  # late, but an entry may outlive its TTL a little
        make_call(60, read=2000, system="p1:another"),  # the tools come before the system prompt
        make_call(60, read=2000, tools=None, system=None),  # its prefix is unknown
        make_call(MUCH_LATER / 2, read=2000, batch=True),  # the time of a batch request is unknown
    ],
)
def test_a_write_that_may_have_been_read_is_not_counted(
    path: Path, reader: tuple[float, Mapping[str, Any]]
) -> None:
    assert count_unread_writes(path, make_call(0, write=2000), reader) == NO_UNREAD_WRITES


@pytest.mark.parametrize(
    "other",
    [
        make_call(60, read=0),
        make_call(400, read=2000),
        make_call(60, read=2000, tools="p1:another"),
        make_call(60, read=2000, model="claude-opus-4-1"),
        make_call(-60, read=2000),
    ],
)
def test_a_write_that_no_call_can_have_read_is_counted(
    path: Path, other: tuple[float, Mapping[str, Any]]
) -> None:
    assert count_unread_writes(path, make_call(0, write=2000), other).tokens == 2000


def test_only_a_longer_read_can_have_read_the_write(path: Path) -> None:
    assert (
        count_unread_writes(
            path,
            make_call(0, read=3000, write=500),
            make_call(60, read=3000),
            make_call(90, read=2000),
        ).tokens
        == 500
    )
    assert (
        count_unread_writes(
            path,
            make_call(MUCH_LATER / 2, read=3000, write=700),
            make_call(MUCH_LATER / 2 + 60, read=3100),
        ).tokens
        == 500
    )


def test_without_tools_a_reader_has_the_same_system_prompt_or_family(path: Path) -> None:
    without_tools: dict[str, Any] = {"tools": None}
    variants: list[dict[str, Any]] = [{"system": "p1:z"}, {"family": "p1:y"}]
    assert count_unread_writes(
        path,
        make_call(0, write=900, **without_tools),
        make_call(9, read=900, system="p1:z", family="p1:y", **without_tools),
    ).calls
    for number, same_prefix in enumerate(variants, 1):
        at = 9000.0 * number
        totals = count_unread_writes(
            path,
            make_call(at, write=900, **without_tools),
            make_call(at + 9, read=900, **without_tools, **same_prefix),
        )
        assert totals.calls == 1


def test_a_write_of_one_hour_is_not_counted_before_it_expires(path: Path) -> None:
    assert (
        count_unread_writes(path, make_call(0, write=2000, ttl="1h"), make_call(3000, read=2000))
        == NO_UNREAD_WRITES
    )


def test_a_write_without_a_ttl_has_the_default_ttl_of_the_provider(path: Path) -> None:
    assert (
        count_unread_writes(path, make_call(0, write=2000, split=None), make_call(300, read=2000))
        == NO_UNREAD_WRITES
    )


def test_a_write_is_not_counted_before_it_expires(path: Path) -> None:
    for at, attributes in (make_call(0, write=2000), make_call(330)):
        record_calls(path, attributes, at=at)
    assert collect_report(path).unread_writes == NO_UNREAD_WRITES


def test_missed_tokens_are_not_counted_again_as_unread(path: Path) -> None:
    assert count_unread_writes(
        path, make_call(0, write=2000, missed=500)
    ).wasted_usd == pytest.approx(1500 * SURCHARGE)


def test_an_unread_write_without_a_price_has_unknown_cost(path: Path) -> None:
    assert count_unread_writes(path, make_call(0, write=2000, paid=None)) == UnreadWriteTotals(
        1, 2000, None, 1
    )
    totals = count_unread_writes(path, make_call(MUCH_LATER / 2, write=1000))
    assert (totals.calls, totals.unpriced) == (2, 1)
    assert totals.wasted_usd == pytest.approx(1000 * SURCHARGE)
    assert (
        "at least $0.000750 more than plain input"
        in dict(summary_lines(collect_report(path)))["Unread writes"]
    )


def test_unread_writes_are_not_reported_for_sampled_calls(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    for at, attributes in (make_call(0, write=2000), make_call(MUCH_LATER)):
        record_calls(path, attributes, at=at)
    assert collect_report(path).unread_writes is None


def test_unread_writes_are_reported_with_advice(path: Path) -> None:
    count_unread_writes(path, make_call(0, write=2000))
    report = collect_report(path, GroupBy.REASON)
    text = "1 call wrote 2,000 tokens that no call read: $0.001500 more than plain input"
    assert dict(summary_lines(report))["Unread writes"] == text
    advice = dict(advice_lines(report))["write_never_read"]
    assert advice.startswith("The cache write was never read")
    assert json.loads(render_report_json(report))["unread"] == {
        "calls": 1,
        "tokens": 2000,
        "wasted_usd": pytest.approx(0.0015),
        "unpriced": 0,
    }
    many_calls = replace(report, totals=replace(report.totals, calls=100_001))
    assert "1 call of the last 100,000 wrote" in dict(summary_lines(many_calls))["Unread writes"]
    record_calls(path, make_call(2 * MUCH_LATER)[1], at=START + 2 * MUCH_LATER)
    later = collect_report(path, since=START + 1.5 * MUCH_LATER)
    assert "Unread writes" not in dict(summary_lines(later))
    assert not advice_lines(later)
