"""A real Prometheus gives the figures of the local table from the counters of the same calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner

from promptcache.cli.commands import app
from promptcache_exporters.alerts.counter_figures import COUNTER_GROUPS, figures_of_counters
from promptcache_exporters.database.dialect import PICODOLLARS_PER_USD
from promptcache_exporters.database.query import fetch_rows_by_name
from promptcache_exporters.database.source import find_calls_source
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.figures import FIGURES
from promptcache_exporters.report.sql import figures_by_group_sql
from tests.alerts_e2e.counted_service import CACHED, Service, render_openmetrics
from tests.alerts_e2e.recorded_prometheus import query_at, running_prometheus

START: Final = 1_790_000_000
DAY: Final = 86_400


@pytest.fixture(scope="module")
def table_and_prometheus(
    tmp_path_factory: pytest.TempPathFactory, served: str
) -> Iterator[tuple[Path, str]]:
    """The calls of one day in a table, and their counters in a Prometheus.

    `shop` worked before the day too, `desk` began and ended during the day.
    """
    folder = tmp_path_factory.mktemp("counters")
    table = folder / "calls.db"
    with Service("shop", table, served) as shop:
        shop.work()
        before = shop.begin_window()
        shop.call("gpt-5.4", CACHED)
        shop.work()
        after = shop.end_window()
    with Service("desk", table, served) as desk:
        desk.work()
        ended = desk.end_window()
    samples = render_openmetrics([(START, before), (START + 7000, ended), (START + DAY, after)])
    with running_prometheus(samples, folder) as url:
        yield table, url


def figures_of_table(path: Path, by: GroupBy) -> dict[str, dict[str, float]]:
    """Return the figures that counters have by group. A counter has 0 for "not reported"."""
    source = find_calls_source(path)
    with source.open() as connection:
        statement = figures_by_group_sql(by, source.dialect, FIGURES, "calls", "")
        rows = fetch_rows_by_name(connection, statement)
    return {
        row["group_key"] or "": {
            name: (
                (row[name.replace("_usd", "_picodollars")] or 0) / PICODOLLARS_PER_USD
                if name.endswith("_usd")
                else row[name] or 0
            )
            for name in figures_of_counters(by)
        }
        for row in rows
    }


def figures_of_prometheus(url: str, by: GroupBy) -> dict[str, dict[str, float]]:
    query = (
        CliRunner().invoke(app, ["engine", "prometheus", "--query", "report", "--by", by]).stdout
    )
    found: dict[str, dict[str, float]] = {}
    for labels, value in query_at(url, query, START + DAY):
        group = found.setdefault(
            labels.get("group_key", ""), dict.fromkeys(figures_of_counters(by), 0)
        )
        group[labels["figure"]] = value
    return found


@pytest.mark.parametrize("by", COUNTER_GROUPS)
def test_counters_give_the_figures_of_the_table(
    table_and_prometheus: tuple[Path, str], by: GroupBy
) -> None:
    table, url = table_and_prometheus
    expected, found = figures_of_table(table, by), figures_of_prometheus(url, by)
    if by is GroupBy.REASON:  # calls that missed nothing have no counter by reason
        expected.pop("")
    for key in {*expected, *found}:  # counters begin at 0, also for outcomes that did not occur
        for name in figures_of_counters(by):
            pair = [figures.get(key, {}).get(name, 0) for figures in (found, expected)]
            tolerance = 1e-9 if name.endswith("_usd") else 0
            assert abs(pair[0] - pair[1]) <= tolerance, (key, name, pair)


def test_the_day_has_something_to_add_up(table_and_prometheus: tuple[Path, str]) -> None:
    totals: dict[str, float] = dict.fromkeys(figures_of_counters(GroupBy.MODEL), 0)
    for figures in figures_of_table(table_and_prometheus[0], GroupBy.MODEL).values():
        for name, value in figures.items():
            totals[name] += value
    assert all(totals.values()), totals
