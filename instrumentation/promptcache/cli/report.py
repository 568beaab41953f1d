"""The command `promptcache report`: hit rate, cost, savings and waste of the recorded calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from promptcache.cli.close_names import suggest_names
from promptcache.cli.console import make_stderr_console, make_stdout_console
from promptcache.cli.exit_codes import ExitCode, exit_code_help
from promptcache.cli.json_option import JsonOption
from promptcache.cli.output_file import write_text_file
from promptcache.cli.report_watch import watch_report
from promptcache.cli.scan_progress import show_scan_progress
from promptcache.cli.share_option import FailBelowOption, parse_share
from promptcache.cli.table_errors import describe_table_error, exit_code_of_table_error
from promptcache.cli.table_options import (
    DatabaseArgument,
    FromOption,
    SinceOption,
    UnsampledOption,
    UntilOption,
    WhereOption,
    choose_calls_place,
    parse_length_option,
    parse_since_option,
    parse_until_option,
    parse_where_options,
)
from promptcache_exporters.database.errors import CallsFileReadError
from promptcache_exporters.database.row_ranges import OnProgress, ignore_progress
from promptcache_exporters.database.source import CallsSource, open_calls_source
from promptcache_exporters.report.call_field import (
    CallField,
    Dimension,
    GroupBy,
    parse_call_field,
)
from promptcache_exporters.report.call_filter import FieldCondition, select_calls
from promptcache_exporters.report.csv import render_report_csv
from promptcache_exporters.report.format import (
    format_local_time,
    format_local_utc_offset,
    format_percent_rounded_down,
)
from promptcache_exporters.report.json import render_report_json
from promptcache_exporters.report.lines import sampling_note
from promptcache_exporters.report.model import Report
from promptcache_exporters.report.query import TooManyPeriodsError, collect_report, empty_report
from promptcache_exporters.report.terminal import print_report

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache report --by model --since 2h",
        "promptcache report --by service,model --where model~sonnet --since 1d --until 1h",
        "promptcache report --every 1h --since 1d",
        "promptcache report --watch 2",
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
        "conversation, agent, prompt: their names, where the application tells them",
        "team: a key of your own that OTEL_PROMPTCACHE_TABLE_KEYS lists",
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

ByOption = Annotated[
    str,
    typer.Option(
        help=f"Group the calls by these, separated by commas: {', '.join(GroupBy)}, or a key of "
        "your own. One line for each group."
    ),
]
EveryOption = Annotated[
    str | None, typer.Option(help="Also sum the calls of each period of this length: 15m, 1h, 1d.")
]
HtmlOption = Annotated[
    Path | None, typer.Option(help="Also write the report to this file, as HTML.")
]
CsvOption = Annotated[
    bool, typer.Option("--csv", help="Print the groups as CSV; with --every those of each period.")
]
WatchOption = Annotated[
    float | None,
    typer.Option(min=0.5, help="Show the report again every so many seconds, until Ctrl-C."),
]
MinTokensOption = Annotated[
    int, typer.Option(min=0, help="Ignore --fail-below with fewer input tokens than this.")
]
LimitOption = Annotated[
    int, typer.Option(min=0, help="Print at most so many groups and periods. 0 prints all.")
]

_MAX_CAUSES: Final = 10

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class ReportQuestion:
    """What the options ask of the calls."""

    by: tuple[CallField, ...]
    since: str | None
    until: str | None
    where: tuple[FieldCondition, ...]
    period_seconds: float | None

    def collect(self, calls: CallsSource, on_progress: OnProgress = ignore_progress) -> Report:
        """Collect the report. A time such as `15m` ago moves on with each report.

        Raises `CallsFileReadError`, and BadParameter for too many periods and unknown fields.
        """
        try:
            found = collect_report(
                calls,
                self.by,
                parse_since_option(self.since),
                until=parse_until_option(self.until),
                where=self.where,
                period_seconds=self.period_seconds,
                on_progress=on_progress,
            )
        except TooManyPeriodsError as error:
            raise typer.BadParameter(f"{error}; take longer ones", param_hint="--every") from error
        reject_unknown_fields(found)
        return found


@app.command("report", epilog=EPILOG)
def report(
    db: DatabaseArgument = None,
    by: ByOption = GroupBy.SERVICE.value,
    since: SinceOption = None,
    until: UntilOption = None,
    where: WhereOption = None,
    every: EveryOption = None,
    as_data: JsonOption = False,
    as_csv: CsvOption = False,
    html: HtmlOption = None,
    watch: WatchOption = None,
    fail_below: FailBelowOption = None,
    min_tokens: MinTokensOption = 0,
    limit: LimitOption = 20,
    source: FromOption = None,
    unsampled: UnsampledOption = False,
) -> None:
    """Show hit rate, cost, savings and waste of the recorded calls."""
    if as_data and as_csv:
        raise typer.BadParameter("give --json or --csv, not both")
    target, fields = parse_share(fail_below), parse_by_option(by)
    question = ReportQuestion(
        fields, since, until, parse_where_options(where), parse_length_option(every)
    )
    place = choose_calls_place(db, source)
    try:
        with open_calls_source(place, 1.0 if unsampled else None) as calls:
            if watch is not None:
                watch_report(lambda: question.collect(calls), watch, limit)
                return
            with show_scan_progress(make_stderr_console()) as on_progress:
                found, notes = question.collect(calls, on_progress), [calls.note]
            if html is not None:
                write_html(html, question, calls, found)
    except (CallsFileReadError, OSError) as error:
        raise report_unreadable_place(error, place, fields, as_data=as_data) from None
    print_found_report(found, as_data=as_data, as_csv=as_csv, max_groups=limit)
    code, verdict = check_hit_rate_target(found, target, min_tokens)
    print_notes([*notes, *notes_on_calls(question, found, as_data), verdict])
    raise typer.Exit(code)


def write_html(path: Path, question: ReportQuestion, calls: CallsSource, found: Report) -> None:
    """Write the page of a report, with its causes, and with periods if it has none.

    Raises `CallsFileReadError`, and BadParameter if the file cannot be written.
    """
    from promptcache_exporters.page.causes import collect_causes
    from promptcache_exporters.page.html_file import render_html
    from promptcache_exporters.page.time_steps import choose_step

    first, last = found.first_call_time, found.last_call_time
    causes: list[Any] = []
    if first is not None and last is not None:
        if question.period_seconds is None:
            step = choose_step(last - first)
            found = replace(question, period_seconds=step).collect(calls)
        selected = select_calls(calls, question.where, parse_until_option(question.until))
        causes, _ = collect_causes(selected, _MAX_CAUSES, parse_since_option(question.since))
    write_text_file(path, render_html(found, causes), "--html")


def report_unreadable_place(
    error: Exception, place: str, fields: tuple[CallField, ...], *, as_data: bool
) -> typer.Exit:
    """Print what is wrong, and return the exception that ends the command."""
    code = exit_code_of_table_error(error)
    if as_data and code is ExitCode.NO_CALLS:
        typer.echo(render_report_json(empty_report(Path(place), fields)))
    print_notes([describe_table_error(error)])
    return typer.Exit(code)


def print_notes(notes: Sequence[str | None]) -> None:
    """Print each note on standard error, in one line."""
    for note in filter(None, notes):
        make_stderr_console().print(note)


def parse_by_option(text: str) -> tuple[CallField, ...]:
    """Return the fields of `service,model`. Raises BadParameter for what is no name of a field."""
    try:
        fields = tuple(dict.fromkeys(map(parse_call_field, text.split(","))))
    except ValueError as error:
        raise typer.BadParameter(f"{error}; {_name_fields()}", param_hint="--by") from error
    return fields


def reject_unknown_fields(found: Report) -> None:
    """Raise BadParameter if no call has a field that is not one of `GroupBy`."""
    for index, field in enumerate(found.by):
        is_known = any(group.values[index] is not None for group in found.groups)
        if isinstance(field, Dimension) and found.groups and not is_known:
            guess = suggest_names(field.name, [*GroupBy])
            raise typer.BadParameter(
                f"no call has the field {field.name!r}{guess or '; ' + _name_fields()}",
                param_hint="--by",
            )


def _name_fields() -> str:
    return f"allowed: {', '.join(GroupBy)}, and keys of OTEL_PROMPTCACHE_TABLE_KEYS"


def print_found_report(found: Report, *, as_data: bool, as_csv: bool, max_groups: int) -> None:
    """Print the report on standard output. Only JSON and CSV have one for no calls."""
    if as_data:
        typer.echo(render_report_json(found))
    elif as_csv:
        typer.echo(render_report_csv(found), nl=False)
    elif found.totals.calls:
        print_report(found, make_stdout_console(), max_groups)


def notes_on_calls(question: ReportQuestion, found: Report, as_data: bool) -> list[str | None]:
    """Return the notes on why there are no calls, and on what data alone would not tell."""
    notes: list[str | None] = []
    if not found.totals.calls:
        notes.append(_no_calls_message(question))
        if found.absent_rows.left_out:
            notes.append(f"{found.absent_rows.left_out:,} rows have values that no call can have.")
    return [*notes, sampling_note(found)] if as_data else notes


def _no_calls_message(question: ReportQuestion) -> str:
    if question.where:
        shown = " ".join(f"--where {condition}" for condition in question.where)
        return f"No call fulfils {shown}."
    if question.until is not None:
        return "There are no calls in this time range."
    if question.since is None:
        return "There are no calls to report."
    start = parse_since_option(question.since)
    day = f"{format_local_time(start)} {format_local_utc_offset(start)}"
    return f"There are no calls since {day}: all calls are older (--since {question.since})."


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
