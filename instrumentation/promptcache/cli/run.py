"""The command `promptcache run`: record the LLM calls of a program, and report on them."""

from __future__ import annotations

import os
import shlex
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from promptcache.cli.child_process import ProgramStartError, end_like, run_program
from promptcache.cli.console import make_stderr_console, make_stderr_table_console
from promptcache.cli.exit_codes import ExitCode, exit_code_help
from promptcache.cli.live_calls import LiveCalls
from promptcache.cli.program_name import CommandArgument, name_program
from promptcache.cli.table_errors import describe_table_error
from promptcache.settings import OTEL_PROMPTCACHE_KEEP
from promptcache_exporters.database.errors import CallsFileReadError, MissingSQLiteFileError
from promptcache_exporters.database.file_path import resolve_database_path
from promptcache_exporters.recording.key_file import (
    KEY_WARNING_VARIABLE,
    KeyFileError,
    describe_missing_key,
    load_or_create_key,
)
from promptcache_exporters.recording.program import make_environment
from promptcache_exporters.report.query import collect_report
from promptcache_exporters.report.terminal import print_report

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache run -- python app.py",
        "promptcache run --live -- uvicorn served:app --workers 2",
        "promptcache run --db tests.db -- pytest tests/e2e",
        (
            "Exporters of your own keep working: OTEL_TRACES_EXPORTER and the other variables of "
            "OpenTelemetry are respected."
        ),
        "Exit codes: those of the program.",
        exit_code_help(ExitCode.USAGE),
    )
)

DatabaseOption = Annotated[
    Path | None,
    typer.Option(
        help="The file of the table. Default: the path in OTEL_PROMPTCACHE_DB, else promptcache.db."
    ),
]
ServiceOption = Annotated[
    str | None, typer.Option(help="The name of the service. Default: the name of the program.")
]
LiveOption = Annotated[
    bool, typer.Option("--live", help="Show each call on standard error when it has ended.")
]
ReportOption = Annotated[
    bool, typer.Option("--report/--no-report", help="Print a report on standard error at the end.")
]
DEFAULT_KEEP: Final = "30d,2GB"
"""What `run` keeps. Whoever chooses the exporter himself keeps everything by default."""
_MAX_GROUPS: Final = 10

app = typer.Typer(add_completion=False)


@app.command("run", epilog=EPILOG, context_settings={"allow_interspersed_args": False})
def run(
    command: CommandArgument,
    db: DatabaseOption = None,
    service: ServiceOption = None,
    live: LiveOption = False,
    report: ReportOption = True,
) -> None:
    """Run a program and record its LLM calls into the local table. Nothing else is needed.

    The program keeps its standard streams, receives the signals and decides the exit code.
    """
    errors = make_stderr_console()
    if find_spec("opentelemetry.sdk") is None:
        errors.print('promptcache run needs an extra: pip install "promptcache[run]"')
        raise typer.Exit(ExitCode.USAGE)
    path = resolve_database_path(db)
    name = service or os.environ.get("OTEL_SERVICE_NAME") or name_program(command)
    calls = LiveCalls(path, errors) if live else None
    started, is_new = time.time(), not path.exists()
    environ = {OTEL_PROMPTCACHE_KEEP: DEFAULT_KEEP} | make_environment(os.environ, path, name)
    environ |= _prepare_key(errors)
    try:
        status = run_program(command, environ, calls.print_new if calls else None)
    except ProgramStartError as error:
        errors.print(f"promptcache run: {error}")
        raise typer.Exit(error.exit_code) from None
    if calls:
        calls.print_new()
    if is_new and path.exists():
        keep = environ[OTEL_PROMPTCACHE_KEEP]
        errors.print(f"{path} is new. It keeps {keep} of calls ({OTEL_PROMPTCACHE_KEEP}).")
    if report:
        print_report_of_run(path, started, command)
    end_like(status)


def _prepare_key(errors: Console) -> dict[str, str]:
    """Make the user's key file. If there is none to use, say so, and tell the processes that."""
    try:
        load_or_create_key(os.environ)
    except KeyFileError as error:
        errors.print(describe_missing_key(error), soft_wrap=True)
        return {KEY_WARNING_VARIABLE: "1"}
    return {}


def print_report_of_run(path: Path, started: float, command: list[str]) -> None:
    """Print the report on the calls since `started` (epoch seconds) on standard error."""
    errors = make_stderr_console()
    try:
        found = collect_report(path, since=started)
    except MissingSQLiteFileError:
        found = None
    except CallsFileReadError as error:
        errors.print(describe_table_error(error))
        return
    if found is None or not found.totals.calls:
        again = f"promptcache doctor -- {shlex.join(command)}"
        errors.print(f"promptcache recorded no LLM call of this program. Why: {again}")
    else:
        print_report(found, make_stderr_table_console(), _MAX_GROUPS)
