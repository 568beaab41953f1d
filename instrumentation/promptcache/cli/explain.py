"""The command `promptcache explain`: why these calls missed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from promptcache.cli.exit_codes import ExitCode, exit_code_help
from promptcache.cli.report import JsonOption, SinceOption, parse_since_option
from promptcache.cli.table_errors import table_error_exit_code, table_error_text
from promptcache_exporters.database.errors import UnreadableTableError
from promptcache_exporters.database.sqlite_file import database_path
from promptcache_exporters.explain import query as explaining
from promptcache_exporters.explain.render import print_comparisons, render_json

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache explain 4bf92f3577b34da6a3ce929d0e0e4736",
        "promptcache explain --worst 5 --since 1d",
        "promptcache explain --worst 1 --json /srv/app/promptcache.db",
        "messages[3] is the fourth block of the messages, tools[0] the first tool: each part of a message is a block.",
        exit_code_help(
            ExitCode.OK,
            ExitCode.USAGE,
            ExitCode.NO_FILE,
            ExitCode.NO_CALLS,
            ExitCode.NEWER_SCHEMA,
            ExitCode.NOT_A_TABLE,
        ),
    )
)

_TRACE_ID_PATTERN: Final = re.compile(r"[0-9a-f]{32}")


app = typer.Typer(add_completion=False)


@app.command("explain", epilog=EPILOG)
def explain(
    trace: Annotated[
        str | None, typer.Argument(metavar="[TRACE_ID]", help="32 hex digits.")
    ] = None,
    db: Annotated[
        Path | None,
        typer.Argument(help="The table; else OTEL_PROMPTCACHE_DB, else promptcache.db."),
    ] = None,
    worst: Annotated[
        int | None, typer.Option(min=1, help="Instead of a trace, the calls that wasted most.")
    ] = None,
    since: SinceOption = None,
    as_data: JsonOption = False,
) -> None:
    """Show a call beside its relative: where the prefix broke, what that cost, what to do."""
    if worst is not None and trace is not None:
        if db is not None:
            raise typer.BadParameter("give a trace id or --worst, not both")
        db = Path(trace)  # with --worst the only argument is the table
    errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        path = database_path(db)
        if worst is None:
            found = explaining.explain_trace(path, _parse_trace_id(trace))
        else:
            start = parse_since_option(since)
            found = explaining.explain_worst_misses(path, worst, start)
    except UnreadableTableError as trouble:
        errors.print(table_error_text(trouble))
        raise typer.Exit(table_error_exit_code(trouble)) from None
    if as_data:
        typer.echo(render_json(found))
    elif found:
        print_comparisons(found, Console(highlight=False, markup=False, emoji=False))
    if not found:
        errors.print(
            f"{path} has no such call."
            if worst is None
            else f"{path} has no call whose miss has a reason."
        )
        raise typer.Exit(ExitCode.NO_CALLS)


def _parse_trace_id(text: str | None) -> str:
    digits = (text or "").strip().lower().removeprefix("0x").replace("-", "")
    if not _TRACE_ID_PATTERN.fullmatch(digits):
        raise typer.BadParameter("give a trace id of 32 hex digits, or --worst N")
    return digits
