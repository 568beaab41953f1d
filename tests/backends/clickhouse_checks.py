"""The engine of ClickHouse gives the figures, rows, reports and explanations of the local table.

It runs behind clickhouse_server.py, through each view of `promptcache engine clickhouse`: over the
exporter's map, over typed columns before and after the back-fill, and over the exporter's JSON.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from typer.testing import CliRunner

from promptcache.cli.commands import app
from promptcache_exporters.alerts.grafana import clickhouse_table_queries
from promptcache_exporters.database.clickhouse_view import AttributeStorage
from promptcache_exporters.database.columns import CALL_COLUMNS
from promptcache_exporters.database.query import fetch_rows_by_name
from promptcache_exporters.database.source import open_calls_source
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.figures import FIGURES
from tests.alerts_e2e.local_services import free_port, running_program, wait_until
from tests.backends.clickhouse_spans import create_table, create_view, insert_spans, post
from tests.backends.figures import compare, figures_of_source
from tests.support.seeded_day import NOON

SERVER: Final = Path(__file__).with_name("clickhouse_server.py")
_LISTS: Final = frozenset(
    {"prefix_breakpoints", "prefix_chain", "prefix_chain_sizes", "prefix_section_counts"}
)
"""Columns with a JSON list, which the exporter writes without spaces."""


def check_clickhouse(python: str, folder: Path, table: Path, spans: Sequence[ReadableSpan]) -> None:
    """Compare everything with the local table of the same spans; `python` has chDB."""
    port = free_port()
    with running_program(folder / "server.log", python, SERVER, str(port), folder):
        http, url = f"http://127.0.0.1:{port}/", f"clickhouse://127.0.0.1:{port}/otel"
        wait_until("ClickHouse answers", lambda: bool(post(http, "SELECT 1")), 60)
        for name in ("otel_traces", "otel_traces_json"):
            create_table(http, name)
            insert_spans(http, name, spans)
        check_view(http, url, table, "otel_traces", AttributeStorage.MAP)
        check_view(http, url, table, "otel_traces", AttributeStorage.TYPED)
        fill_typed_columns(http, url)
        check_view(http, url, table, "otel_traces", AttributeStorage.TYPED)
        check_dashboard(http, table)
        check_view(http, url, table, "otel_traces_json", AttributeStorage.JSON)
        check_duplicates(http, url, table, spans)


def check_view(
    http: str, url: str, table: Path, spans_table: str, storage: AttributeStorage
) -> None:
    """Make the view, twice with one result, and compare all that reads it."""
    create_view(http, spans_table, storage)
    columns = describe(http, spans_table)
    create_view(http, spans_table, storage)
    if describe(http, spans_table) != columns:
        sys.exit("The statements change something when they run again.")
    title = f"ClickHouse's engine, {storage.value}"
    compare(title, lambda: figures_of_source(url), figures_of_source(str(table)))
    for row, expected in zip(read_rows(url), read_rows(str(table)), strict=True):
        if row != expected:
            sys.exit(f"The rows differ:\n{row}\n{expected}")
    for arguments in (
        ["report", "--by", "model", "--json"],
        ["explain", "--worst", "25", "--json"],
        ["whatif", "--since", NOON, "--json"],
    ):
        answers = [run(*arguments, "--from", place) for place in (url, str(table))]
        if answers[0] != answers[1] or "{" not in answers[0][1]:
            sys.exit(f"promptcache {arguments[0]} differs:\n" + first_difference(*answers))
    print(f"{title}: every cell of every row, and report, explain and whatif are equal")


def describe(http: str, spans_table: str) -> bytes:
    view = json.loads(post(http, "DESCRIBE TABLE otel.promptcache_calls"))["data"]
    return json.dumps(
        [view, json.loads(post(http, f"DESCRIBE TABLE otel.{spans_table}"))["data"]]
    ).encode()


def fill_typed_columns(http: str, url: str) -> None:
    """Run the back-fill by the command, and wait until nothing is missing."""
    command = ("backfill", url)
    _, size = run(*command)
    print(size.strip())
    if (
        not re.search(r"[1-9][\d,]* rows in [1-9]\d* parts", size)
        or "Nothing was changed" not in size
    ):
        sys.exit("The back-fill does not say its size.")
    if size != run(*command)[1]:
        sys.exit("The back-fill began without --yes.")
    if "Started" not in run(*command, "--yes")[1]:
        sys.exit("The back-fill does not start.")
    wait_until(
        "the mutations are done",
        lambda: (
            not json.loads(post(http, "SELECT command FROM system.mutations WHERE NOT is_done"))[
                "data"
            ]
        ),
        60,
    )
    if "of all rows are computed" not in run(*command)[1]:
        sys.exit("Columns are missing after the back-fill.")


def check_dashboard(http: str, table: Path) -> None:
    """Run the tables of the Grafana dashboard over the whole day."""
    post(http, "USE otel")
    for by, (title, (_, sql)) in zip(
        (GroupBy.CALLSITE, GroupBy.PREFIX), clickhouse_table_queries().items(), strict=True
    ):
        values = {"$__from": "0", "$__to": "99999999999999", "${service:pipe}": ".*"}
        for variable, value in (values | {"${model:pipe}": ".*"}).items():
            sql = sql.replace(variable, value)
        rows = json.loads(post(http, sql))["data"]
        figures = figures_of_source(str(table))[by]
        for key, calls, hit_rate, missed, saved, wasted in rows:
            known = dict(zip(FIGURES, figures[key], strict=True))
            names = "total_calls", "total_missed_tokens", "saved_picodollars", "wasted_picodollars"
            expected = [known[name] or 0 for name in names]
            found = [int(calls), int(missed or 0), (saved or 0) * 1e12, (wasted or 0) * 1e12]
            rate = (known["rated_read_tokens"] or 0) / (known["rated_input_tokens"] or 1)
            pairs = zip([*found, hit_rate or 0], [*expected, rate], strict=True)
            if any(abs(one - other) > 1e-9 * abs(other) for one, other in pairs):
                sys.exit(f"{title}: {key!r} differs: {found} {expected}")
        if len(rows) != min(20, len(figures)):
            sys.exit(f"{title} has {len(rows)} rows, not {len(figures)}")
        print(f"Grafana's table {title!r}: {len(rows)} rows are equal")


def check_duplicates(http: str, url: str, table: Path, spans: Sequence[ReadableSpan]) -> None:
    """Insert every tenth span again: with `--deduplicate` nothing changes."""
    expected = figures_of_source(str(table))
    for name, storage in (
        ("otel_traces", AttributeStorage.MAP),
        ("otel_traces", AttributeStorage.TYPED),
        ("otel_traces_json", AttributeStorage.JSON),
    ):
        if storage is not AttributeStorage.TYPED:
            insert_spans(http, name, spans[::10])
        create_view(http, name, storage)
        if figures_of_source(url) == expected:
            sys.exit("Duplicates do not count, so this check proves nothing.")
        create_view(http, name, storage, is_deduplicated=True)
        title = f"ClickHouse's engine, {storage.value}, with duplicates and --deduplicate"
        compare(title, lambda: figures_of_source(url), expected)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments])
    return result.exit_code, (result.stdout or result.stderr).replace(arguments[-1], "PLACE")


def first_difference(found: tuple[int, str], expected: tuple[int, str]) -> str:
    pairs = zip(found[1].splitlines(), expected[1].splitlines(), strict=False)
    return "\n".join(next((pair for pair in pairs if pair[0] != pair[1]), map(str, found)))


def read_rows(place: str) -> list[list[Any]]:
    """Return all cells, without the ids of rows and the dimensions, which only the table has."""
    names = [column.name for column in CALL_COLUMNS if column.name != "dimensions"]
    with open_calls_source(place) as source, source.open() as connection:
        rows = fetch_rows_by_name(
            connection, f"SELECT {', '.join(names)} FROM calls ORDER BY time, span_id"
        )
    return [
        [json.loads(row[name] or "null") if name in _LISTS else row[name] for name in names]
        for row in rows
    ]
