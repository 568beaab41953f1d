"""The figures of the report equal a recomputation, and JSON, terminal and HTML show them safely."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from promptcache.model import OUTCOMES
from promptcache.semconv import (
    BATCH,
    CODE_FILE_PATH,
    CODE_FUNCTION_NAME,
    CODE_LINE_NUMBER,
    COST_AMOUNT,
    COST_UNKNOWN,
    COST_WITHOUT_CACHE,
    GEN_AI_PROVIDER_NAME,
    GEN_AI_REQUEST_MODEL,
    GEN_AI_RESPONSE_MODEL,
    INPUT_TOKENS,
    MISS_REASON,
    OUTCOME,
    OUTPUT_TOKENS,
    PREFIX_FAMILY,
    PREFIX_HASH,
    READ_TOKENS,
    UNCACHED_TOKENS,
    WASTED_USD,
    WRITE_TOKENS,
    WRITE_TOKENS_BY_TTL,
)
from promptcache_exporters.database import row_ranges
from promptcache_exporters.database.query import Query
from promptcache_exporters.database.sqlite_file import open_sqlite_read_only
from promptcache_exporters.page.html_file import render_html
from promptcache_exporters.report import format as wording
from promptcache_exporters.report import sql
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.json import render_report_json
from promptcache_exporters.report.model import PrefixChange, UnpricedModel
from promptcache_exporters.report.query import collect_report
from promptcache_exporters.report.storage_costs import STORAGE_COSTS_QUERY
from promptcache_exporters.report.unread_writes import UNREAD_WRITES_QUERY, CacheReadOrWriteCall
from tests.support.report_text import UNPRICED, render_report
from tests.support.span_builders import START, record_calls

COLD: dict[str, Any] = {OUTCOME: "cold", READ_TOKENS: 0, UNCACHED_TOKENS: 1000}
HOSTILE = "<script>alert('x')</script>[red]{boo}\x1b[31m\u202e\nend"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.db"


TOKEN_COUNTS = st.none() | st.integers(0, 10_000)
USD_AMOUNTS = st.none() | st.floats(0, 10)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            OUTCOME: st.sampled_from(OUTCOMES),
            BATCH: st.sampled_from([None, True]),
            INPUT_TOKENS: TOKEN_COUNTS,
            READ_TOKENS: TOKEN_COUNTS,
            WRITE_TOKENS: TOKEN_COUNTS,
            UNCACHED_TOKENS: TOKEN_COUNTS,
            OUTPUT_TOKENS: TOKEN_COUNTS,
            COST_AMOUNT: USD_AMOUNTS,
            COST_WITHOUT_CACHE: USD_AMOUNTS,
            WASTED_USD: USD_AMOUNTS,
            COST_UNKNOWN: st.none() | st.just("model"),
            GEN_AI_PROVIDER_NAME: st.none() | st.sampled_from("ab"),
        }
    ),
    min_size=1,
    max_size=12,
)


OUTCOMES_WITHOUT_WASTE = ("hit", "cold", "prewarm")


def sum_or_none(values: Iterable[Any]) -> Any:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def recompute(calls: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the totals that follow from the definitions of docs/telemetry.md."""
    rated = [call for call in calls if call[OUTCOME] != "unreported" and not call[BATCH]]
    read, input_tokens = (
        sum_or_none(call[name] for call in rated) for name in (READ_TOKENS, INPUT_TOKENS)
    )
    priced = [call for call in calls if call[COST_AMOUNT] is not None]
    known = [
        call
        for call in calls
        if call[WASTED_USD] is not None
        or (call in priced and call[OUTCOME] in OUTCOMES_WITHOUT_WASTE)
    ]
    without_usage = [
        call
        for call in calls
        if call[OUTCOME] in ("error", "unreported") and not call[INPUT_TOKENS]
    ]
    complete = bool(known) and all(call in known or call in without_usage for call in calls)
    names = {
        "input": INPUT_TOKENS,
        "read": READ_TOKENS,
        "write": WRITE_TOKENS,
        "uncached": UNCACHED_TOKENS,
    }
    pairs = [
        (call[COST_AMOUNT], call[COST_WITHOUT_CACHE])
        for call in priced
        if call[COST_WITHOUT_CACHE] is not None
    ]
    wasted = sum_or_none(call[WASTED_USD] for call in calls)
    unpriced = [
        call
        for call in calls
        if call[COST_AMOUNT] is None and (call[COST_UNKNOWN] or call[INPUT_TOKENS])
    ]
    return {
        "calls": len(calls),
        **{
            f"{name}_tokens": sum_or_none(call[attribute] for call in calls)
            for name, attribute in names.items()
        },
        "output_tokens": sum_or_none(call[OUTPUT_TOKENS] for call in calls),
        "hit_rate": (read or 0) / input_tokens if input_tokens else None,
        "cost_usd": sum_or_none(call[COST_AMOUNT] for call in calls),
        "without_cache_usd": sum_or_none(without for _, without in pairs),
        "saved_usd": sum_or_none(without - amount for amount, without in pairs),
        "wasted_usd": 0.0 if wasted is None and complete else wasted,
        "unpriced_calls": len(unpriced),
    }


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CALLS, st.sampled_from([1, 5, 200_000]))
def test_figures_equal_a_simple_recomputation(
    calls: list[dict[str, Any]], rows_per_range: int
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_ranges, "ROWS_PER_RANGE", rows_per_range)
        path = Path(folder) / "calls.db"
        record_calls(path, *calls)
        report = json.loads(render_report_json(collect_report(path, GroupBy.PROVIDER)))
    groups = {group.pop("key"): group for group in report["groups"]}
    assert all(group.pop("values") == [key] for key, group in groups.items())
    assert set(groups) == {call[GEN_AI_PROVIDER_NAME] for call in calls}
    assert report["totals"] == pytest.approx(recompute(calls), nan_ok=False)
    for key, group in groups.items():
        assert group == pytest.approx(
            recompute([call for call in calls if call[GEN_AI_PROVIDER_NAME] == key])
        )


def test_json_has_the_documented_keys(path: Path) -> None:
    record_calls(path, {}, COLD, service="shop")
    record_calls(path, {OUTCOME: "unreported", READ_TOKENS: None, **UNPRICED}, service="desk")
    shop = {
        "calls": 2,
        "input_tokens": 2000,
        "read_tokens": 800,
        "write_tokens": 0,
        "uncached_tokens": 1200,
        "output_tokens": 100,
        "hit_rate": 0.4,
        "cost_usd": 0.02,
        "without_cache_usd": 0.06,
        "saved_usd": pytest.approx(0.04),
        "wasted_usd": 0.0,
        "unpriced_calls": 0,
    }
    desk = dict.fromkeys(shop) | {
        "calls": 1,
        "input_tokens": 1000,
        "write_tokens": 0,
        "uncached_tokens": 200,
        "output_tokens": 50,
        "unpriced_calls": 1,
    }
    totals = shop | {
        "calls": 3,
        "input_tokens": 3000,
        "uncached_tokens": 1400,
        "output_tokens": 150,
        "wasted_usd": None,
        "unpriced_calls": 1,
    }
    report = json.loads(render_report_json(collect_report(path)))
    unread = {"calls": 0, "tokens": 0, "wasted_usd": 0.0, "unpriced": 0}
    groups = [
        {"key": name, "values": [name]} | sums for name, sums in (("shop", shop), ("desk", desk))
    ]
    assert report == {
        "schema": 1,
        "file": str(path),
        "window": {
            "since": None,
            "until": None,
            "first_call": START,
            "last_call": START + 60,
            "where": [],
        },
        "sampling": {"sampled_calls": 0, "smallest_ratio": None},
        "totals": totals,
        "by": "service",
        "groups": groups,
        "every_seconds": None,
        "periods": [],
        "unread": unread,
        "absent": {"left_out": 0, "lost": 0, "pruned": 0},
        "rent": None,
    }
    assert list(report["totals"]) == list(shop)


def test_the_hit_rate_is_the_ratio_of_sums(path: Path) -> None:
    record_calls(path, {INPUT_TOKENS: 100, READ_TOKENS: 100}, {INPUT_TOKENS: 9900, READ_TOKENS: 0})
    assert collect_report(path).totals.hit_rate == 0.01


@pytest.mark.parametrize(
    ("by", "attributes", "key"),
    [
        (GroupBy.SERVICE, {}, "shop"),
        (GroupBy.MODEL, {GEN_AI_RESPONSE_MODEL: "gpt-5.5-2026-01-01"}, "gpt-5.5"),
        (
            GroupBy.MODEL,
            {GEN_AI_REQUEST_MODEL: None, GEN_AI_RESPONSE_MODEL: "gpt-5.5-2026-01-01"},
            "gpt-5.5-2026-01-01",
        ),
        (GroupBy.PREFIX, {PREFIX_HASH: "p1:00"}, "p1:00"),
        (GroupBy.FAMILY, {PREFIX_FAMILY: "p1:11"}, "p1:11"),
        (
            GroupBy.CALLSITE,
            {CODE_FILE_PATH: "app.py", CODE_LINE_NUMBER: 3, CODE_FUNCTION_NAME: "ask"},
            "app.py:3 ask",
        ),
        (GroupBy.CALLSITE, {CODE_FILE_PATH: "app.py"}, "app.py"),
        (GroupBy.OUTCOME, {}, "hit"),
        (GroupBy.REASON, {MISS_REASON: "expired"}, "expired"),
        (GroupBy.REASON, {}, None),
        (GroupBy.PROVIDER, {}, "openai"),
    ],
)
def test_each_grouping_has_its_key(
    path: Path, by: GroupBy, attributes: dict[str, Any], key: str | None
) -> None:
    record_calls(path, attributes)
    assert [group.key for group in collect_report(path, by).groups] == [key]


def test_groups_are_sorted_by_input_tokens_then_by_key(path: Path) -> None:
    record_calls(path, *({MISS_REASON: reason} for reason in (None, "b", "a", "c", "c")))
    assert [group.key for group in collect_report(path, GroupBy.REASON).groups] == [
        "c",
        "a",
        "b",
        None,
    ]


def test_since_excludes_earlier_calls(path: Path) -> None:
    record_calls(path, {}, {}, COLD)
    report = collect_report(path, since=START + 60)
    assert (report.totals.calls, report.first_call_time, report.last_call_time) == (
        2,
        START + 60,
        START + 120,
    )
    assert collect_report(path, since=START + 121).totals.calls == 0


def test_models_of_unpriced_calls_are_listed(path: Path) -> None:
    usage = UNPRICED | {COST_UNKNOWN: "price", GEN_AI_REQUEST_MODEL: "gpt-9"}
    record_calls(
        path,
        {},
        UNPRICED,
        usage,
        usage,
        {COST_AMOUNT: None, COST_WITHOUT_CACHE: None, GEN_AI_REQUEST_MODEL: "gpt-8"},
    )
    report = collect_report(path)
    assert report.unpriced_models == (
        UnpricedModel("gpt-9", "price", 2),
        UnpricedModel("gpt-5.5", "model", 1),
        UnpricedModel("gpt-8", None, 1),
    )
    assert sum(model.calls for model in report.unpriced_models) == report.totals.unpriced_calls == 4
    assert "4 calls not in the cost: 2 gpt-9 (price), 1 gpt-5.5 (model)" in " ".join(
        render_report(report).split()
    )


def test_a_replaced_prefix_is_reported(path: Path) -> None:
    old, new = ({PREFIX_FAMILY: "p1:f", PREFIX_HASH: f"p1:{name}"} for name in ("old", "new"))
    record_calls(path, old, old, new | COLD, new | COLD)
    report = collect_report(path)
    assert report.prefix_changes == (
        PrefixChange("shop", "p1:old", "p1:new", START + 120, 0.8, 0.0),
    )
    assert "prefix p1:new replaced p1:old, hit rate 80.0 % -> 0.0 %" in " ".join(
        render_report(report).split()
    )
    assert "replaced p1:old" in render_html(report)


def test_alternating_prefixes_are_not_reported_as_replaced(path: Path) -> None:
    one, two = ({PREFIX_FAMILY: "p1:f", PREFIX_HASH: f"p1:{name}"} for name in ("one", "two"))
    record_calls(path, one, two, one, two)
    assert collect_report(path).prefix_changes == ()


def test_sampled_calls_are_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record_calls(path, {})
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    record_calls(path, {})
    report = collect_report(path)
    assert (report.sampled_calls, report.smallest_sample_ratio) == (1, 0.25)
    assert "Sampled: 1 of these 2 calls" in render_report(report)
    assert "25 %" in render_html(report)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "a-custom-sampler")
    record_calls(path, {})
    assert (collect_report(path).sampled_calls, collect_report(path).smallest_sample_ratio) == (
        2,
        None,
    )
    assert "an unknown share" in render_report(collect_report(path), width=200)


def test_terminal_output_fits_80_columns_and_limit_zero_shows_all_rows(path: Path) -> None:
    record_calls(
        path, *({GEN_AI_REQUEST_MODEL: f"{'long-name-' * 8}{number}"} for number in range(25))
    )
    text = render_report(collect_report(path, GroupBy.MODEL))
    assert max(map(len, text.splitlines())) <= 80
    assert "and 5 more" in text
    all_rows = "".join(render_report(collect_report(path, GroupBy.MODEL), limit=0).split())
    assert "more" not in all_rows
    assert all_rows.count("long-name-") >= 25


def test_names_cannot_send_escape_sequences_to_the_terminal(path: Path) -> None:
    record_calls(path, UNPRICED | {GEN_AI_REQUEST_MODEL: HOSTILE})
    text = render_report(collect_report(path, GroupBy.MODEL), width=200)
    assert "[red]{boo}\\x1b[31m\\u202e\\x0aend" in text
    assert not {"\x1b", "\u202e"} & set(text)


def test_names_are_escaped_in_html(path: Path) -> None:
    family = {PREFIX_FAMILY: "p1:f", **UNPRICED, GEN_AI_REQUEST_MODEL: HOSTILE}
    calls = [family | {PREFIX_HASH: HOSTILE + str(number // 2)} for number in range(4)]
    record_calls(path, *calls, service=HOSTILE)
    for by in GroupBy:
        page = render_html(collect_report(path, by))
        assert "<script" not in page
        assert page.count("&lt;script&gt;") >= 3
        assert "default-src 'none'" in page


def test_sql_in_a_name_is_not_executed(path: Path) -> None:
    name = "x'; DROP TABLE llm_calls; --"
    record_calls(path, {GEN_AI_REQUEST_MODEL: name})
    assert [group.key for group in collect_report(path, GroupBy.MODEL).groups] == [name]
    assert collect_report(path).totals.calls == 1


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "\u2013"),
        (0, "$0.00"),
        (0.000_012, "$0.000012"),
        (0.0123, "$0.0123"),
        (-0.5, "-$0.5000"),
        (1234.5, "$1,234.50"),
    ],
)
def test_usd_amounts_are_formatted(amount: float | None, text: str) -> None:
    assert wording.format_usd(amount) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "\u2013"),
        (9_999, "9,999"),
        (51_234, "51.2 k"),
        (999_960, "1.0 M"),
        (5_000_237_914, "5.0 G"),
        (3e14, "300 T"),
    ],
)
def test_large_counts_are_abbreviated(number: int | None, text: str) -> None:
    assert wording.format_abbreviated_count(number) == text


@pytest.mark.parametrize(
    ("share", "text"), [(None, "\u2013"), (1.0, "100.0 %"), (0.9999, "99.9 %"), (0.29, "29.0 %")]
)
def test_percentages_are_rounded_down(share: float | None, text: str) -> None:
    assert wording.format_percent_rounded_down(share) == text


def test_since_minus_infinity_includes_all_calls(path: Path) -> None:
    record_calls(path, {}, at=0)
    assert collect_report(path, since=-math.inf).totals.calls == 1


@pytest.mark.parametrize(
    "query",
    [*sql.QUERIES, STORAGE_COSTS_QUERY, UNREAD_WRITES_QUERY],
    ids=lambda query: query.row_type.__name__,
)
def test_columns_of_a_query_equal_the_fields_of_its_row_type(path: Path, query: Query[Any]) -> None:
    record_calls(path, {})
    with open_sqlite_read_only(path) as connection:
        cursor = connection.execute(query.sql, (0,) * query.sql.count("?"))
    assert tuple(column[0] for column in cursor.description) == query.row_type._fields


def test_cache_call_rows_have_a_field_for_every_ttl() -> None:
    names = {f"write_{ttl}_tokens" for ttl in WRITE_TOKENS_BY_TTL}
    assert names == {
        name for name in CacheReadOrWriteCall._fields if re.fullmatch(r"write_\d+\w_tokens", name)
    }
