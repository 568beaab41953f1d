"""Writes that nobody read, found in the table: what is told is certain, and its money is that of
the price book."""

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
from promptcache_exporters.report.json import render_report_json
from promptcache_exporters.report.lines import advice_lines, summary_lines
from promptcache_exporters.report.model import GroupBy
from promptcache_exporters.report.query import collect_report
from promptcache_exporters.report.unread_writes import UnreadWriteTotals
from tests.support.span_builders import START, record_calls

MODEL: Final = "claude-sonnet-4-5"
NOTHING: Final = UnreadWriteTotals()
WIDELY: Final = 100_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.db"


def call(at: float, read: int = 0, write: int = 0, **more: Any) -> tuple[float, Mapping[str, Any]]:
    """A Claude call with its true costs; `more` names columns' attributes in short."""
    ttl: str = more.pop("ttl", "5m")
    usage = Usage(read + write + 200, 200, read, write, {ttl: write} if write else {}, 50)
    request = Request("w", "anthropic", "chat", MODEL, None, None, False, {}, b"", START + at)
    cost = PriceBook.load(None).compute_cost(request, ResponseFacts(model=MODEL), usage)
    known = {
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
    return START + at, known | {_SHORT[name]: value for name, value in more.items()}


_SHORT: Final = {
    "tools": PREFIX_TOOLS_HASH,
    "system": PREFIX_SYSTEM_HASH,
    "family": PREFIX_FAMILY,
    "missed": MISSED_TOKENS,
    "batch": BATCH,
    "model": GEN_AI_RESPONSE_MODEL,
    "paid": COST_CACHE_WRITE,
    "split": WRITE_TOKENS_BY_TTL["5m"],
}


def unread(path: Path, *calls: tuple[float, Mapping[str, Any]]) -> UnreadWriteTotals:
    """What the report says of `calls` and of one long after them."""
    for at, known in (*calls, call(WIDELY, tools="p1:other")):
        record_calls(path, known, at=at)
    found = collect_report(path).unread_writes
    assert found is not None
    return found


SURCHARGE: Final = 3.75e-6 - 3e-6
"""USD a token that Claude Sonnet 4.5's writes cost more than its input (Anthropic's price page,
November 2026)."""


def test_an_unread_write_is_counted_with_its_surcharge(path: Path) -> None:
    found = unread(path, call(0, write=2000))
    assert (found.calls, found.tokens, found.unpriced) == (1, 2000, 0)
    assert found.wasted_usd == pytest.approx(2000 * SURCHARGE)


def test_an_unread_write_of_one_hour_costs_the_surcharge_of_its_ttl(path: Path) -> None:
    found = unread(path, call(0, read=5000, write=1000, ttl="1h"))
    assert found.wasted_usd == pytest.approx(1000 * (6e-6 - 3e-6))


@pytest.mark.parametrize(
    "reader",
    [
        call(60, read=2000),
        call(60, read=1),
        call(320, read=2000),  # late, but entries may live a little longer than they must
        call(60, read=2000, system="p1:another"),  # tools come first
        call(60, read=2000, tools=None, system=None),  # it says nothing of its beginning
        call(WIDELY / 2, read=2000, batch=True),  # whenever that was
    ],
)
def test_a_write_that_may_have_been_read_is_not_counted(
    path: Path, reader: tuple[float, Mapping[str, Any]]
) -> None:
    assert unread(path, call(0, write=2000), reader) == NOTHING


@pytest.mark.parametrize(
    "other",
    [
        call(60, read=0),
        call(400, read=2000),
        call(60, read=2000, tools="p1:another"),
        call(60, read=2000, model="claude-opus-4-1"),
        call(-60, read=2000),
    ],
)
def test_a_write_that_no_call_can_have_read_is_counted(
    path: Path, other: tuple[float, Mapping[str, Any]]
) -> None:
    assert unread(path, call(0, write=2000), other).tokens == 2000


def test_only_a_longer_read_can_have_read_the_write(path: Path) -> None:
    assert (
        unread(path, call(0, read=3000, write=500), call(60, read=3000), call(90, read=2000)).tokens
        == 500
    )
    assert (
        unread(
            path, call(WIDELY / 2, read=3000, write=700), call(WIDELY / 2 + 60, read=3100)
        ).tokens
        == 500
    )


def test_without_tools_a_reader_has_the_same_system_prompt_or_family(path: Path) -> None:
    plain: dict[str, Any] = {"tools": None}
    others: list[dict[str, Any]] = [{"system": "p1:z"}, {"family": "p1:y"}]
    assert unread(
        path, call(0, write=900, **plain), call(9, read=900, system="p1:z", family="p1:y", **plain)
    ).calls
    for number, same in enumerate(others, 1):
        at = 9000.0 * number
        found = unread(path, call(at, write=900, **plain), call(at + 9, read=900, **plain, **same))
        assert found.calls == 1


def test_a_write_of_one_hour_is_not_counted_before_it_expires(path: Path) -> None:
    assert unread(path, call(0, write=2000, ttl="1h"), call(3000, read=2000)) == NOTHING


def test_a_write_without_a_ttl_has_the_default_ttl_of_the_provider(path: Path) -> None:
    assert unread(path, call(0, write=2000, split=None), call(300, read=2000)) == NOTHING


def test_a_write_is_not_counted_before_it_expires(path: Path) -> None:
    for at, known in (call(0, write=2000), call(330)):
        record_calls(path, known, at=at)
    assert collect_report(path).unread_writes == NOTHING


def test_missed_tokens_are_not_counted_again_as_unread(path: Path) -> None:
    assert unread(path, call(0, write=2000, missed=500)).wasted_usd == pytest.approx(
        1500 * SURCHARGE
    )


def test_an_unread_write_without_a_price_has_unknown_cost(path: Path) -> None:
    assert unread(path, call(0, write=2000, paid=None)) == UnreadWriteTotals(1, 2000, None, 1)
    found = unread(path, call(WIDELY / 2, write=1000))
    assert (found.calls, found.unpriced) == (2, 1)
    assert found.wasted_usd == pytest.approx(1000 * SURCHARGE)
    assert (
        "at least $0.000750 more than plain input"
        in dict(summary_lines(collect_report(path)))["Unread writes"]
    )


def test_unread_writes_are_not_reported_for_sampled_calls(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    for at, known in (call(0, write=2000), call(WIDELY)):
        record_calls(path, known, at=at)
    assert collect_report(path).unread_writes is None


def test_unread_writes_are_reported_with_advice(path: Path) -> None:
    unread(path, call(0, write=2000))
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
    many = replace(report, totals=replace(report.totals, calls=100_001))
    assert "1 call of the last 100,000 wrote" in dict(summary_lines(many))["Unread writes"]
    record_calls(path, call(2 * WIDELY)[1], at=START + 2 * WIDELY)
    later = collect_report(path, since=START + 1.5 * WIDELY)
    assert "Unread writes" not in dict(summary_lines(later))
    assert not advice_lines(later)
