"""Every figure of the report has one definition, and engines compute the same digits from it."""

from __future__ import annotations

import random
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptcache.semconv import COST_AMOUNT, COST_WITHOUT_CACHE, OUTCOME, WASTED_USD
from promptcache_exporters.database.columns import CALL_COLUMNS
from promptcache_exporters.database.dialect import (
    DUCKDB,
    MAX_AMOUNT_USD,
    PICODOLLARS_PER_USD,
    SQLITE,
)
from promptcache_exporters.database.parquet import export_calls_to_parquet
from promptcache_exporters.database.query import fetch_rows_by_name
from promptcache_exporters.database.source import open_calls_source
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.figures import FIGURES, CallSums, figure_expression
from promptcache_exporters.report.query import collect_report
from promptcache_exporters.report.sql import figures_by_group_sql
from tests.support.otlp_json import encode_otlp_json_line
from tests.support.seeded_day import seeded_day
from tests.support.span_builders import read_rows, record_calls


def test_a_report_consists_of_the_defined_figures() -> None:
    assert set(CallSums._fields) <= set(FIGURES)
    assert len(FIGURES) == 20


def test_no_figure_has_the_name_of_a_column() -> None:
    assert not {"group_key", *FIGURES} & {"id", *(column.name for column in CALL_COLUMNS)}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_uses_no_filter_clause_and_no_number_with_a_fraction(name: str) -> None:
    expression = figure_expression(name, SQLITE)
    assert "FILTER" not in expression
    if "cost_amount" in expression and name.endswith("picodollars"):
        assert "AS INTEGER" in expression
    assert not re.search(r"avg\(|/", expression)


@given(st.floats(0, MAX_AMOUNT_USD) | st.integers(0, 10**9).map(lambda number: number / 2e12))
def test_engines_round_an_amount_to_the_same_picodollars(usd: float) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        (by_sqlite,) = connection.execute(
            f"SELECT {SQLITE.to_picodollars('?1')}", (usd,)
        ).fetchone()
    row = duckdb.execute(f"SELECT {DUCKDB.to_picodollars('$1')}", [usd]).fetchone()
    assert row == (by_sqlite,)
    assert abs(by_sqlite - usd * PICODOLLARS_PER_USD) <= max(1, usd * PICODOLLARS_PER_USD / 2**52)


def test_sums_are_equal_for_any_order_of_rows_and_number_of_threads(tmp_path: Path) -> None:
    path, exported = tmp_path / "calls.db", tmp_path / "calls.parquet"
    amounts = random.Random(23)
    calls = [
        {
            COST_AMOUNT: amounts.random(),
            COST_WITHOUT_CACHE: amounts.random() * 1e4,
            WASTED_USD: amounts.random() * 1e-6,
        }
        for _ in range(300)
    ]
    record_calls(path, *calls)
    export_calls_to_parquet(path, exported)
    statement = figures_by_group_sql(GroupBy.OUTCOME, DUCKDB, FIGURES, "calls", "")
    answers = set[tuple[Any, ...]]()
    with closing(duckdb.connect()) as connection:
        for threads in (1, 2, 8):
            connection.execute(f"SET threads = {threads}")
            for seed in range(5):
                connection.execute(
                    "CREATE OR REPLACE VIEW calls AS SELECT calls.* FROM"
                    f" read_parquet('{exported}') AS calls, range(50)"
                    f" ORDER BY hash(span_id || '{seed}')"
                )
                answers.update(connection.execute(statement).fetchall())
    ((_, *sums),) = answers
    costs = [int(row["cost_amount"] * 1e12 + 0.5) for row in read_rows(path)]
    assert sums[FIGURES.index("cost_picodollars")] == 50 * sum(costs)


def test_an_amount_that_no_call_can_cost_is_not_recorded(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    record_calls(path, {COST_AMOUNT: 2e6}, {COST_AMOUNT: -0.5}, {OUTCOME: "error"})
    assert [row["cost_amount"] for row in read_rows(path)] == [None, None, 0.01]
    assert collect_report(path).totals.cost_usd == 0.01


@pytest.mark.parametrize("by", GroupBy)
def test_a_seeded_day_has_the_same_figures_in_a_table_a_file_and_an_export(
    tmp_path: Path, by: GroupBy
) -> None:
    table, lines, exported = (tmp_path / f"calls.{end}" for end in ("db", "jsonl", "parquet"))
    spans = list(seeded_day(300))
    SQLiteSpanExporter(table).export(spans)
    lines.write_text(encode_otlp_json_line(spans))
    export_calls_to_parquet(table, exported)
    found: list[dict[str | None, dict[str, Any]]] = []
    for place in (table, lines, exported):
        with open_calls_source(str(place)) as source, source.open() as connection:
            statement = figures_by_group_sql(by, source.dialect, FIGURES, "calls", "")
            rows = fetch_rows_by_name(connection, statement)
            found.append({row.pop("group_key"): row for row in rows})
    assert found[0] == found[1] == found[2]
    totals = [sum(row[name] or 0 for row in found[0].values()) for name in FIGURES]
    assert [name for name, total in zip(FIGURES, totals, strict=True) if not total] == [
        "invalid_amounts"
    ]
