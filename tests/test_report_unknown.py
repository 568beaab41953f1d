"""The report states unknown waste, failed calls, streams without usage, and its file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from promptcache.semconv import (
    COST_AMOUNT,
    COST_WITHOUT_CACHE,
    GEN_AI_OPERATION_NAME,
    GEN_AI_PROVIDER_NAME,
    GEN_AI_REQUEST_MODEL,
    GEN_AI_REQUEST_STREAM,
    INPUT_TOKENS,
    OUTCOME,
    OUTPUT_TOKENS,
    READ_TOKENS,
    STREAM_COMPLETED,
    UNCACHED_TOKENS,
    WASTED_USD,
    WRITE_TOKENS,
)
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.lines import summary_lines
from promptcache_exporters.report.query import collect_report
from tests.support.report_text import UNPRICED, render_report
from tests.support.span_builders import START, record_calls


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.db"


NO_USAGE: dict[str, Any] = dict.fromkeys(
    (
        INPUT_TOKENS,
        READ_TOKENS,
        WRITE_TOKENS,
        UNCACHED_TOKENS,
        OUTPUT_TOKENS,
        COST_AMOUNT,
        COST_WITHOUT_CACHE,
    )
)


@pytest.mark.parametrize("outcome", ["error", "unreported"])
def test_a_call_without_usage_does_not_make_the_waste_unknown(path: Path, outcome: str) -> None:
    record_calls(path, {}, {}, {OUTCOME: outcome, **NO_USAGE})
    report = collect_report(path, GroupBy.SERVICE)
    assert [
        report.totals.wasted_usd,
        report.groups[0].totals.wasted_usd,
        report.unknown_waste_calls,
    ] == [0.0, 0.0, 0]
    assert collect_report(path, GroupBy.OUTCOME).groups[1].totals.wasted_usd is None


def test_waste_beside_unpriced_misses_is_a_lower_bound(path: Path) -> None:
    record_calls(path, {OUTCOME: "miss", WASTED_USD: 0.02}, {OUTCOME: "miss", **UNPRICED})
    text = render_report(collect_report(path), width=200)
    assert "at least $0.0200 (200.0 % of the cost), unknown for 1 call" in text
    assert "$0.0200+" in text
    record_calls(path.with_name("b.db"), {}, {OUTCOME: "miss", **UNPRICED})
    assert collect_report(path.with_name("b.db")).totals.wasted_usd is None


def test_totals_are_equal_for_every_grouping(path: Path) -> None:
    record_calls(
        path,
        *({COST_AMOUNT: cent / 30, GEN_AI_PROVIDER_NAME: "abc"[cent % 3]} for cent in range(1, 40)),
    )
    assert len({collect_report(path, by).totals for by in GroupBy}) == 1


def test_failed_calls_and_streams_without_usage_are_reported(path: Path) -> None:
    without_usage = {
        OUTCOME: "unreported",
        GEN_AI_OPERATION_NAME: "chat",
        GEN_AI_REQUEST_STREAM: True,
        **NO_USAGE,
    }
    record_calls(
        path,
        {},
        {OUTCOME: "error", **NO_USAGE},
        without_usage,
        without_usage | {GEN_AI_REQUEST_STREAM: None},
    )
    record_calls(
        path,
        without_usage | {STREAM_COMPLETED: False},
        without_usage | {GEN_AI_PROVIDER_NAME: "anthropic"},
    )
    text = render_report(collect_report(path), width=200)
    assert "Failed    1 call" in text
    shown = " ".join(text.split())
    assert (
        "1 chat streams did not report tokens. Set stream_options={'include_usage': True}" in shown
    )
    assert "LangChain: stream_usage=True" in shown
    assert "dspy: dspy.configure(track_usage=True)" in shown
    record_calls(path.with_name("b.db"), {})
    lines_by_title = dict(summary_lines(collect_report(path.with_name("b.db"))))
    assert not {"Failed", "No usage"} & set(lines_by_title)


def test_the_report_names_its_file_and_time_zone(path: Path) -> None:
    record_calls(path, {})
    assert str(path) in render_report(collect_report(path), width=300)
    zone = time.strftime(" UTC%z", time.localtime(START)).removesuffix("+0000")
    assert f"{zone}\n" in render_report(collect_report(path))


def test_a_failed_call_without_usage_is_not_unpriced(path: Path) -> None:
    no_cost = dict.fromkeys((INPUT_TOKENS, READ_TOKENS, COST_AMOUNT, COST_WITHOUT_CACHE))
    record_calls(path, {OUTCOME: "error", **no_cost})
    assert collect_report(path).totals.unpriced_calls == 0


@pytest.mark.parametrize("width", [20, 40, 59, 60])
def test_a_narrow_terminal_still_shows_the_group_names(path: Path, width: int) -> None:
    record_calls(
        path,
        {GEN_AI_REQUEST_MODEL: "gpt-5.5-with-a-name-as-long-as-a-line"},
        {GEN_AI_REQUEST_MODEL: None},
    )
    lines = render_report(collect_report(path, GroupBy.MODEL), width=width).splitlines()
    assert max(map(len, lines)) <= width
    words = "".join("".join(lines).split())
    assert "gpt-5.5-with-a-name-as-long-as-a-line" in words if width < 60 else "gpt-5.5-" in words
    assert "80.0%" in words
