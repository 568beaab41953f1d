"""The command `promptcache engine`: the SQL with which an engine computes the report."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer

from promptcache.cli.exit_codes import ExitCode, exit_code_help
from promptcache_exporters.database.clickhouse_view import (
    DEFAULT_TABLE,
    VIEW_NAME,
    AttributeStorage,
    clickhouse_statements,
)
from promptcache_exporters.database.dialect import DIALECTS
from promptcache_exporters.report.figures import FIGURES
from promptcache_exporters.report.model import GroupBy
from promptcache_exporters.report.sql import figures_by_group_sql

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache engine clickhouse | clickhouse client --database otel --multiquery",
        "promptcache engine clickhouse --attributes typed > promptcache.sql",
        "promptcache engine postgres --query report --by model",
        "The first two make a view over the spans that the OpenTelemetry Collector writes.",
        "The third one reads a table with the columns of promptcache export.",
        exit_code_help(ExitCode.OK, ExitCode.USAGE),
    )
)


class Engine(StrEnum):
    """The values of ENGINE: the names in `DIALECTS`."""

    SQLITE = "sqlite"
    DUCKDB = "duckdb"
    CLICKHOUSE = "clickhouse"
    POSTGRES = "postgres"
    SPARK = "spark"
    DATABRICKS = "databricks"
    TRINO = "trino"
    SNOWFLAKE = "snowflake"
    BIGQUERY = "bigquery"


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
) -> None:
    """Print the SQL with which ENGINE computes the report's figures."""
    dialect = DIALECTS[name.value]
    if query is not None:
        default = VIEW_NAME if dialect.name == "clickhouse" else "calls"
        if not dialect.is_executed:
            typer.echo("-- Only parsed in our tests, never run on this engine.")
        typer.echo(figures_by_group_sql(by, dialect, FIGURES, table or default, "") + ";")
    elif dialect.name == "clickhouse":
        statements = clickhouse_statements(
            table or DEFAULT_TABLE, attributes, is_deduplicated=deduplicate
        )
        typer.echo(statements, nl=False)
    else:
        raise typer.BadParameter(f"{name.value} needs --query report")
