"""The command `promptcache report`: hit rate, cost, savings and waste of the recorded calls."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from promptcache.cli.console import make_stderr_console, make_stdout_console
from promptcache.cli.exit_codes import ExitCode, exit_code_help
from promptcache.cli.table_errors import describe_table_error, exit_code_of_table_error
from promptcache.cli.table_options import (
    DatabaseArgument,
    FromOption,
    JsonOption,
    SinceOption,
    UnsampledOption,
    choose_calls_place,
    parse_since_option,
)
from promptcache_exporters.database.errors import CallsFileReadError
from promptcache_exporters.database.source import open_calls_source
from promptcache_exporters.report.format import (
    format_local_time,
    format_local_utc_offset,
    format_percent_rounded_down,
)
from promptcache_exporters.report.html import render_html
from promptcache_exporters.report.json import render_report_json
from promptcache_exporters.report.lines import sampling_note
from promptcache_exporters.report.model import GroupBy, Report
from promptcache_exporters.report.query import collect_report, empty_report
from promptcache_exporters.report.terminal import print_report

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache report --by model --since 2h",
        "promptcache report --by reason",
        "promptcache report --json --by prefix > prefixes.json",
        "promptcache report --from spans.jsonl --unsampled",
        "promptcache report --from 'calls/*.parquet' --by model",
        "promptcache report --from clickhouse://reader@localhost:8123/otel --since 1d",
        "promptcache report --fail-below 0.5 --min-tokens 100000",
        "Some groups of --by:",
        "prefix: the hash of model, tools and system prompt; calls that have it can share a cache",
        "family: calls that descend from one first related call, also after the prefix changed",
        "callsite: the line and function of your code that made the call",
        "reason: why a call did not read tokens that the cache could have had",
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

ByOption = Annotated[GroupBy, typer.Option(help="Group the calls by this. One line for each.")]
HtmlOption = Annotated[
    Path | None, typer.Option(help="Also write the report to this file, as HTML.")
]
FailBelowOption = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Exit with 1 if the hit rate is below this share, such as 0.5."
    ),
]
MinTokensOption = Annotated[
    int, typer.Option(min=0, help="Ignore --fail-below with fewer input tokens than this.")
]
LimitOption = Annotated[
    int, typer.Option(min=0, help="Print at most so many groups. 0 prints all.")
]

app = typer.Typer(add_completion=False)


@app.command("report", epilog=EPILOG)
def report(
    db: DatabaseArgument = None,
    by: ByOption = GroupBy.SERVICE,
    since: SinceOption = None,
    as_data: JsonOption = False,
    html: HtmlOption = None,
    fail_below: FailBelowOption = None,
    min_tokens: MinTokensOption = 0,
    limit: LimitOption = 20,
    source: FromOption = None,
    unsampled: UnsampledOption = False,
) -> None:
    """Show hit rate, cost, savings and waste of the recorded calls."""
    errors = make_stderr_console()
    place = choose_calls_place(db, source)
    try:
        with open_calls_source(place, 1.0 if unsampled else None) as calls:
            found = collect_report(calls, by, parse_since_option(since))
            notes = [calls.note]
        if html:
            html.write_text(render_html(found), encoding="utf-8")
    except (CallsFileReadError, OSError) as error:
        code = exit_code_of_table_error(error)
        if as_data and code is ExitCode.NO_CALLS:
            typer.echo(render_report_json(empty_report(Path(place), by)))
        errors.print(describe_table_error(error))
        raise typer.Exit(code) from None
    notes += [] if found.totals.calls else [_no_calls_message(since)]
    if found.absent_rows.left_out and not found.totals.calls:
        notes.append(f"{found.absent_rows.left_out:,} rows have values that no call can have.")
    if as_data:
        typer.echo(render_report_json(found))
        notes += filter(None, [sampling_note(found)])
    elif found.totals.calls:
        print_report(found, make_stdout_console(), limit)
    code, verdict = check_hit_rate_target(found, fail_below, min_tokens)
    for note in filter(None, [*notes, verdict]):
        errors.print(note)
    raise typer.Exit(code)


def _no_calls_message(since: str | None) -> str:
    if since is None:
        return "There are no calls to report."
    start = parse_since_option(since)
    day = f"{format_local_time(start)} {format_local_utc_offset(start)}"
    return f"There are no calls since {day}: all calls are older (--since {since})."


def check_hit_rate_target(
    found: Report, target: float | None, min_tokens: int = 0
) -> tuple[ExitCode, str]:
    """Return the exit code of a report and, if a `target` (0..1) is set, the reason for it."""
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
        minimum = f"--min-tokens {min_tokens:,}"
        tokens = f"{found.rated_input_tokens:,} input tokens"
        return ExitCode.OK, f"Not judged: {tokens} are fewer than {minimum}."
    if rate < target:
        return (
            ExitCode.BELOW_TARGET,
            (
                f"Failed: the hit rate {format_percent_rounded_down(rate)}"
                f" is below {format_percent_rounded_down(target)}."
            ),
        )
    return (
        ExitCode.OK,
        (
            f"Passed: the hit rate {format_percent_rounded_down(rate)}"
            f" is at least {format_percent_rounded_down(target)}."
        ),
    )
