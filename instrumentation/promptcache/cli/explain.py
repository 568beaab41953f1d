"""The command `promptcache explain`: why a call missed the cache."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from promptcache.cli.console import make_stderr_console, make_stdout_console
from promptcache.cli.exit_codes import CALLS_READER_CODES, ExitCode, exit_code_help
from promptcache.cli.json_option import JsonOption
from promptcache.cli.scan_progress import show_scan_progress
from promptcache.cli.table_errors import exit_on_table_error
from promptcache.cli.table_options import (
    DatabaseArgument,
    FromOption,
    SinceOption,
    UntilOption,
    WhereOption,
    choose_calls_place,
    parse_since_option,
    parse_until_option,
    parse_where_options,
)
from promptcache_exporters.database.source import open_calls_source
from promptcache_exporters.explain.query import compare_costliest_misses, compare_trace_calls
from promptcache_exporters.explain.render import print_comparisons, render_comparisons_json

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache explain 4bf92f3577b34da6a3ce929d0e0e4736",
        "promptcache explain --worst 5 --since 1d",
        "promptcache explain --worst 1 --json /srv/app/promptcache.db",
        "promptcache explain --worst 5 --where service=shop calls.parquet",
        "messages[3] is the fourth block of the messages: each part of a message is a block.",
        exit_code_help(*CALLS_READER_CODES),
    )
)

TraceArgument = Annotated[
    str | None,
    typer.Argument(metavar="[TRACE_ID]", help="The trace id of the call, 32 hex digits."),
]
WorstOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Explain the N problems that wasted most, each by one call, instead of one trace.",
    ),
]
_TRACE_ID_PATTERN: Final = re.compile(r"[0-9a-f]{32}")

app = typer.Typer(add_completion=False)


@app.command("explain", epilog=EPILOG)
def explain(
    trace: TraceArgument = None,
    db: DatabaseArgument = None,
    worst: WorstOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    where: WhereOption = None,
    as_data: JsonOption = False,
    source: FromOption = None,
) -> None:
    """Compare a call with its related call: where the prefix broke, its cost, how to fix it."""
    if worst is not None and trace is not None:
        if db is not None:
            raise typer.BadParameter("give a trace id or --worst, not both")
        db = Path(trace)  # with --worst the only argument is the file of the table
    trace_id = _parse_trace_id(trace) if worst is None else ""
    place = choose_calls_place(db, source)
    first, last = parse_since_option(since), parse_until_option(until)
    conditions = parse_where_options(where)
    errors = make_stderr_console()
    with (
        exit_on_table_error(),
        open_calls_source(place) as calls,
        show_scan_progress(errors) as on_progress,
    ):
        found = (
            compare_trace_calls(calls, trace_id)
            if worst is None
            else compare_costliest_misses(
                calls, worst, first, until=last, where=conditions, on_progress=on_progress
            )
        )
    if as_data:
        typer.echo(render_comparisons_json(found, place))
    elif found:
        print_comparisons(found, make_stdout_console())
    if not found:
        lack = "call with this trace id" if worst is None else "miss that wasted anything"
        errors.print(f"{place} has no {lack}.")
        raise typer.Exit(ExitCode.NO_CALLS)


def _parse_trace_id(text: str | None) -> str:
    digits = (text or "").strip().lower().removeprefix("0x").replace("-", "")
    if not _TRACE_ID_PATTERN.fullmatch(digits):
        if text and Path(text).exists():
            raise typer.BadParameter(
                f"{text} is a file, and no trace id; to explain the costliest misses of a table: "
                f"promptcache explain --worst 3 {text}"
            )
        raise typer.BadParameter("give a trace id of 32 hex digits, or --worst N")
    return digits
