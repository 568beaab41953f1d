"""The command `promptcache engine`: the SQL or PromQL with which an engine computes the report."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Final

import typer

from promptcache.cli.exit_codes import ExitCode, exit_code_help
from promptcache_exporters.alerts.counter_figures import report_promql
from promptcache_exporters.alerts.definition import parse_duration_seconds
from promptcache_exporters.database.clickhouse_view import (
    DEFAULT_TABLE,
    AttributeStorage,
    clickhouse_statements,
)
from promptcache_exporters.database.dialect import DIALECTS, SQLDialect
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.figures import FIGURES
from promptcache_exporters.report.sql import figures_by_group_sql

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache engine clickhouse | clickhouse client --database otel --multiquery",
        "promptcache engine clickhouse --attributes typed > promptcache.sql",
        "promptcache engine postgres --query report --by model",
        "promptcache engine prometheus --query report --by model --window 1d",
        "The first two make a view over the spans that the OpenTelemetry Collector writes.",
        "The third one reads a table with the columns of promptcache export.",
        "The last one reads the counters. It is exact as long as no series was reset.",
        exit_code_help(ExitCode.OK, ExitCode.USAGE),
    )
)


class Engine(StrEnum):
    """The values of ENGINE: the names in `DIALECTS`, and Prometheus, which takes no SQL."""

    SQLITE = "sqlite"
    DUCKDB = "duckdb"
    CLICKHOUSE = "clickhouse"
    POSTGRES = "postgres"
    SPARK = "spark"
    DATABRICKS = "databricks"
    TRINO = "trino"
    SNOWFLAKE = "snowflake"
    BIGQUERY = "bigquery"
    PROMETHEUS = "prometheus"


class EngineQuery(StrEnum):
    """The values of `--query`."""

    REPORT = "report"


app = typer.Typer(add_completion=False)


@app.command("engine", epilog=EPILOG)
def engine(
    name: Annotated[Engine, typer.Argument(help="The engine.", metavar="ENGINE")],
    query: Annotated[
        EngineQuery | None, typer.Option(help="Print this query instead of the view.")
    ] = None,
    by: Annotated[GroupBy, typer.Option(help="Group the calls by this.")] = GroupBy.SERVICE,
    table: Annotated[
        str | None, typer.Option(help="The table of the spans, or of the calls for --query.")
    ] = None,
    attributes: Annotated[
        AttributeStorage,
        typer.Option(
            help="Where ClickHouse's view reads attributes: the map, typed columns that it adds "
            "beside the map (this needs ALTER), or the JSON of the exporter's option json."
        ),
    ] = AttributeStorage.MAP,
    deduplicate: Annotated[
        bool,
        typer.Option("--deduplicate", help="Let a span that ClickHouse has twice count once."),
    ] = False,
    window: Annotated[
        str, typer.Option(help="For Prometheus: the time before the query, such as 1d.")
    ] = "1d",
    service_label: Annotated[
        str, typer.Option(help="For Prometheus: the label with the name of the service.")
    ] = "job",
) -> None:
    """Print the SQL, or PromQL, with which ENGINE computes the report's figures."""
    if query is None and name is Engine.CLICKHOUSE:
        statements = clickhouse_statements(
            table or DEFAULT_TABLE, attributes, is_deduplicated=deduplicate
        )
        typer.echo(statements, nl=False)
    elif query is None:
        raise typer.BadParameter(f"{name.value} needs --query report")
    elif name is Engine.PROMETHEUS:
        typer.echo(_promql(by, window, service_label))
    else:
        typer.echo(_sql(DIALECTS[name.value], by, table))


def _sql(dialect: SQLDialect, by: GroupBy, table: str | None) -> str:
    table = table or ("calls" if dialect.has_calls_view else dialect.calls_view)
    warning = (
        "" if dialect.is_executed else "-- Only parsed in our tests, never run on this engine.\n"
    )
    return f"{warning}{figures_by_group_sql(by, dialect, FIGURES, table, '')};"


def _promql(by: GroupBy, window: str, service_label: str) -> str:
    try:
        parse_duration_seconds(window)
        if not re.fullmatch(r"[a-zA-Z_]\w*", service_label):
            raise ValueError(f"{service_label!r} is no label")
        return report_promql(by, window, service_label)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
