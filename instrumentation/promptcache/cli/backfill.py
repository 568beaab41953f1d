"""The command `promptcache backfill`: compute the typed columns of spans that are there already."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from promptcache.cli.exit_codes import ExitCode, exit_code_help
from promptcache.cli.table_errors import exit_on_table_error
from promptcache_exporters.database.clickhouse import ClickHouseServer
from promptcache_exporters.database.clickhouse_view import (
    DEFAULT_TABLE,
    TYPED_NAMES,
    backfill_size_query,
    backfill_statement,
)
from promptcache_exporters.database.errors import EngineError

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache backfill clickhouse://admin@localhost:8123/otel",
        "promptcache backfill clickhouse://admin@localhost:8123/otel --yes",
        "The first one only says the size of the work.",
        "promptcache engine clickhouse --attributes typed adds the columns.",
        exit_code_help(ExitCode.OK, ExitCode.USAGE),
    )
)

app = typer.Typer(add_completion=False)


@app.command("backfill", epilog=EPILOG)
def backfill(
    url: Annotated[
        str,
        typer.Argument(
            help="clickhouse://user@host:8123/otel, clickhouses:// with TLS (the password is read "
            "from CLICKHOUSE_PASSWORD). The user needs ALTER MATERIALIZE COLUMN.",
        ),
    ],
    table: Annotated[str, typer.Option(help="The table of the spans.")] = DEFAULT_TABLE,
    is_confirmed: Annotated[
        bool, typer.Option("--yes", help="Start it. Without this, only say its size.")
    ] = False,
) -> None:
    """Compute the typed columns of ClickHouse for spans that are older than the columns."""
    with exit_on_table_error():
        server = ClickHouseServer.from_url(url)
        size = read_size(server, table)
        typer.echo(size or f"{table}: the typed columns of all rows are computed.")
        if size and is_confirmed:
            server.change(backfill_statement(table))
            typer.echo("Started. system.mutations shows how far it is (is_done, parts_to_do).")
        elif size:
            typer.echo("Nothing was changed. Start it with --yes.")


def read_size(server: ClickHouseServer, table: str) -> str:
    """Return what a back-fill reads, in words; '' if nothing is missing. Raises `EngineError`."""
    ((columns, parts, rows, compressed_bytes),) = server.select(backfill_size_query(table)).rows
    if columns < len(TYPED_NAMES):
        raise EngineError(
            f"{table} has {columns} of {len(TYPED_NAMES)} typed columns. Add them: promptcache"
            f" engine clickhouse --attributes typed --table {table} | clickhouse client"
            " --multiquery"
        )
    if not parts:
        return ""
    megabytes = compressed_bytes / 1e6
    return (
        f"{table}: {rows:,} rows in {parts:,} parts are without typed columns. ClickHouse reads"
        f" their attributes, {megabytes:,.1f} MB compressed, and writes {columns} columns."
    )
