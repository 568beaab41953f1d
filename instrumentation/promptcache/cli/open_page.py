"""The command `promptcache open`: the page of the table, in the browser."""

from __future__ import annotations

import webbrowser
from contextlib import suppress
from typing import Annotated, Final

import typer

from promptcache.cli.exit_codes import ExitCode, exit_code_help
from promptcache.cli.table_errors import exit_on_table_error
from promptcache.cli.table_options import DatabaseArgument
from promptcache.cli.table_risk import warn_of_unsafe_table_file
from promptcache_exporters.database.errors import EmptyDatabaseError
from promptcache_exporters.database.file_path import resolve_database_path
from promptcache_exporters.database.sqlite_file import open_sqlite_read_only

_MISSING_EXTRA: Final = 'the page needs its extra: pip install "promptcache[open]"'
EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache open",
        "promptcache open calls.db --port 8090 --no-browser",
        (
            "The page is served to this machine only. The address that is printed works once: your "
            "browser gets a cookie for it. To show the page to others, send them the file of "
            "promptcache report --html."
        ),
        "OTEL_PROMPTCACHE_TRACE_URL=https://backend/trace/{trace_id} links calls to their traces.",
        exit_code_help(
            ExitCode.OK,
            ExitCode.USAGE,
            ExitCode.NO_FILE,
            ExitCode.NEWER_SCHEMA,
            ExitCode.NOT_A_TABLE,
        ),
    )
)

PortOption = Annotated[
    int, typer.Option(min=0, max=65535, help="The port to listen on. 0 takes a free one.")
]
BrowserOption = Annotated[
    bool, typer.Option("--browser/--no-browser", help="Open the address in the browser.")
]

app = typer.Typer(add_completion=False)


@app.command("open", epilog=EPILOG)
def open_page(
    db: DatabaseArgument = None, port: PortOption = 0, browser: BrowserOption = True
) -> None:
    """Show the table as a page in the browser: hit rate and money over time, causes, calls."""
    path = resolve_database_path(db)
    warn_of_unsafe_table_file(path)
    # The page waits for the first call of an empty table.
    with exit_on_table_error(), suppress(EmptyDatabaseError), open_sqlite_read_only(path):
        pass
    try:
        from promptcache_exporters.page.server import PageServer
    except ModuleNotFoundError as error:
        raise typer.BadParameter(f"{_MISSING_EXTRA} (no module named {error.name})") from error
    try:
        server = PageServer(path, port)
    except OSError as error:
        message = f"cannot listen on {port}: {error.strerror}"
        raise typer.BadParameter(message, param_hint="--port") from error
    typer.echo(server.address)
    if browser:
        webbrowser.open(server.address)
    server.run()
