"""The command `promptcache report`: options in, figures rendered, exit code out."""

from __future__ import annotations

import math
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from promptcache.cli.exit_codes import ExitCode, exit_code_help
from promptcache.cli.table_errors import table_error_exit_code, table_error_text
from promptcache_exporters.database.errors import UnreadableTableError
from promptcache_exporters.database.sqlite_file import database_path
from promptcache_exporters.report.format import format_percent, format_time, format_utc_offset
from promptcache_exporters.report.html import render_html
from promptcache_exporters.report.json import render_json
from promptcache_exporters.report.lines import sampling_note
from promptcache_exporters.report.model import GroupBy, Report
from promptcache_exporters.report.query import collect_report, empty_report
from promptcache_exporters.report.terminal import print_report

_SECONDS_BY_UNIT: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache report --by model --since 2h",
        "promptcache report --by reason",
        "promptcache report --json --by prefix > prefixes.json",
        "promptcache report --fail-below 0.5 --min-tokens 100000",
        "What --by can name:",
        "prefix: the hash of what stays the same at the start of a prompt; calls that share it can share a cache",
        "family: calls whose prompts were meant to begin alike, also after the prefix changed",
        "callsite: the line and function of your code that made the call",
        "reason: why a call missed what it could have read",
        exit_code_help(
            ExitCode.OK,
            ExitCode.BELOW_TARGET,
            ExitCode.USAGE,
            ExitCode.NO_FILE,
            ExitCode.NO_CALLS,
            ExitCode.NEWER_SCHEMA,
            ExitCode.NOT_A_TABLE,
            ExitCode.SAMPLED,
        ),
    )
)


def parse_since(text: str, now: float) -> float:
    """The instant that `15m`, `2h`, `3d`, `1w` ago or an ISO time (local unless it names a zone) means.

    Raises ValueError for anything else.
    """
    if text[-1:] in _SECONDS_BY_UNIT and text[:-1].replace(".", "", 1).isdecimal():
        return now - float(text[:-1]) * _SECONDS_BY_UNIT[text[-1]]
    return datetime.fromisoformat(text).timestamp()


def parse_since_option(text: str | None) -> float:
    """The same for an option, minus infinity where it was not given. Raises what typer shows as a usage error."""
    allowed = "allowed: 15m, 2h, 3d, 1w, or an ISO time such as 2026-11-21T14:00"
    try:
        return -math.inf if text is None else parse_since(text, time.time())
    except (ValueError, OverflowError, OSError) as error:
        raise typer.BadParameter(f"{text!r} is no time; {allowed}", param_hint="--since") from error


DatabaseArgument = Annotated[
    Path | None, typer.Argument(help="The table; else OTEL_PROMPTCACHE_DB, else promptcache.db.")
]
SinceOption = Annotated[
    str | None, typer.Option(help="Only calls since: 15m, 2h, 3d, 1w ago, or an ISO time.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON, a stable interface, and nothing else.")
]


app = typer.Typer(add_completion=False)


@app.command("report", epilog=EPILOG)
def report(
    db: DatabaseArgument = None,
    by: Annotated[GroupBy, typer.Option(help="What the lines of the table are.")] = GroupBy.SERVICE,
    since: SinceOption = None,
    as_data: JsonOption = False,
    html: Annotated[
        Path | None, typer.Option(help="Also write the report to this file, as HTML.")
    ] = None,
    fail_below: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Exit with 1 where the hit rate is below this share, say 0.5."
        ),
    ] = None,
    min_tokens: Annotated[
        int, typer.Option(min=0, help="Judge only where there are as many input tokens.")
    ] = 0,
    limit: Annotated[
        int, typer.Option(min=0, help="Lines of the table on the terminal; 0 is all.")
    ] = 20,
) -> None:
    """Show hit rate, cost, savings and waste of the recorded calls."""
    errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        found = collect_report(database_path(db), by, parse_since_option(since))
        if html:
            html.write_text(render_html(found), encoding="utf-8")
    except (UnreadableTableError, OSError) as trouble:
        code = table_error_exit_code(trouble)
        if as_data and code is ExitCode.NO_CALLS:
            typer.echo(render_json(empty_report(database_path(db), by)))
        errors.print(table_error_text(trouble))
        raise typer.Exit(code) from None
    notes = [] if found.totals.calls else [_no_calls_message(since)]
    if as_data:
        typer.echo(render_json(found))
        notes += filter(None, [sampling_note(found)])
    elif found.totals.calls:
        print_report(found, Console(highlight=False, markup=False, emoji=False), limit)
    code, verdict = check_target(found, fail_below, min_tokens)
    for note in filter(None, [*notes, verdict]):
        errors.print(note)
    raise typer.Exit(code)


def _no_calls_message(since: str | None) -> str:
    if since is None:
        return "There are no calls to report on."
    begin = parse_since_option(since)
    return f"There are no calls since {format_time(begin)} {format_utc_offset(begin)} to report on: all are older (--since {since})."


def check_target(found: Report, target: float | None, min_tokens: int = 0) -> tuple[ExitCode, str]:
    """The exit code of a report and, where a `target` (0..1) was set for its hit rate, why."""
    rate = found.totals.hit_rate
    if not found.totals.calls:
        return ExitCode.NO_CALLS, ""
    if target is None:
        return ExitCode.OK, ""
    if found.sampled_calls:
        return (
            ExitCode.SAMPLED,
            "Not judged: a hit rate of sampled spans is an estimate. Record with sampling off.",
        )
    if rate is None:
        return ExitCode.NO_CALLS, "Not judged: no call reported cached tokens."
    if found.rated_input_tokens < min_tokens:
        return (
            ExitCode.OK,
            f"Not judged: {found.rated_input_tokens:,} input tokens are fewer than --min-tokens {min_tokens:,}.",
        )
    if rate < target:
        return (
            ExitCode.BELOW_TARGET,
            f"Failed: the hit rate {format_percent(rate)} is below {format_percent(target)}.",
        )
    return (
        ExitCode.OK,
        f"Passed: the hit rate {format_percent(rate)} is at least {format_percent(target)}.",
    )
