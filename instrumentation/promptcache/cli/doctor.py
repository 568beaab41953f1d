"""The command `promptcache doctor`: why calls are missing, and what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import typer

from promptcache.cli.child_process import ProgramStartError, run_program
from promptcache.cli.exit_codes import ExitCode, exit_code_help
from promptcache.cli.json_option import JsonOption
from promptcache.settings import OTEL_PROMPTCACHE_KEY_FILE
from promptcache_exporters.database.file_path import resolve_database_path
from promptcache_exporters.doctor.environment import (
    EXPORTER_GROUPS,
    check_opentelemetry,
    check_settings,
)
from promptcache_exporters.doctor.finding import Finding, fault, has_fault, ok, warning
from promptcache_exporters.doctor.key_file import check_key_file
from promptcache_exporters.doctor.packages import check_packages
from promptcache_exporters.doctor.program import check_program
from promptcache_exporters.doctor.table import check_table
from promptcache_exporters.recording.process_facts import FACTS_VARIABLE, read_process_facts
from promptcache_exporters.recording.program import make_environment

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache doctor",
        "promptcache doctor -- python app.py",
        "promptcache doctor --json > findings.json",
        "The program runs with its own settings, but its calls go into a table of the doctor's.",
        exit_code_help(ExitCode.OK, ExitCode.USAGE, ExitCode.FAULT_FOUND),
    )
)
_TRIAL_SDKS: Final = ("openai", "anthropic")
_TRIAL_PACKAGES: Final = ("starlette", "uvicorn", "typer", "rich", "opentelemetry.sdk")

CommandArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[-- COMMAND [ARGUMENTS]]", help="A program to run and to examine."),
]
DatabaseOption = Annotated[
    str | None, typer.Option("--db", help="The file of the table. Default: as in report.")
]

app = typer.Typer(add_completion=False)


@app.command("doctor", epilog=EPILOG, context_settings={"allow_interspersed_args": False})
def doctor(
    command: CommandArgument = None, db: DatabaseOption = None, as_json: JsonOption = False
) -> None:
    """Check the installation, the settings and the table, and make one call against the emulator.

    With a command, also run it and check whether its calls reach the table.
    """
    words = list(command or ())
    if words[:1] == ["--"]:
        words = words[1:]
    findings = list(examine(resolve_database_path(db), words, is_quiet=as_json))
    if as_json:
        typer.echo(json.dumps({"findings": [describe(finding) for finding in findings]}))
    else:
        for finding in findings:
            typer.echo(f"{finding.level:<8} {finding.name}: {finding.text}")
            if finding.advice:
                typer.echo(f"{'':<8} To do: {finding.advice}")
    raise typer.Exit(ExitCode.FAULT_FOUND if has_fault(findings) else ExitCode.OK)


def describe(finding: Finding) -> dict[str, str]:
    """Return a finding for the JSON output."""
    return {
        "level": finding.level.value,
        "name": finding.name,
        "text": finding.text,
        "advice": finding.advice,
    }


def examine(path: Path, command: Sequence[str], *, is_quiet: bool) -> Iterator[Finding]:
    """Yield all findings about this environment, the table at `path`, and a program.

    With `is_quiet` the program's standard output goes to standard error.
    """
    installed = {group: entry_points(group=group).names for group in EXPORTER_GROUPS}
    yield from check_packages()
    yield from check_settings(os.environ)
    yield from check_opentelemetry(os.environ, installed)
    yield from check_table(path)
    yield from check_key_file(os.environ)
    yield from try_call()
    if command:
        yield from examine_program(command, is_quiet=is_quiet)


def examine_program(command: Sequence[str], *, is_quiet: bool) -> Iterator[Finding]:
    """Run a program as `promptcache run` does, and yield the findings about it."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "calls.db"
        environ = _make_recording_environment(os.environ, Path(folder), database)
        try:
            status = run_program(command, environ, stdout=sys.stderr if is_quiet else None)
        except ProgramStartError as error:
            yield fault("not-started", str(error), "give a command as your shell finds it")
            return
        if status:
            yield warning("program-failed", f"the program ended with {status}", "see its output")
        yield from check_program(read_process_facts(Path(folder)), database)


def try_call() -> Iterator[Finding]:
    """Record one call against the emulator in a process of its own, with the settings in force."""
    sdk = next((name for name in _TRIAL_SDKS if _is_installed(name)), None)
    missing = [name for name in _TRIAL_PACKAGES if not _is_installed(name)]
    if missing or sdk is None:
        lack = f"{', '.join(missing)} is missing" if missing else "no openai and no anthropic here"
        yield ok("trial", f"no call was tried ({lack}); install promptcache[run,emulator] to do it")
        return
    with tempfile.TemporaryDirectory() as folder, _running_emulator() as url:
        database = Path(folder) / "calls.db"
        process = subprocess.run(  # noqa: S603  # our own program
            [sys.executable, "-m", "promptcache_exporters.doctor.trial_call", sdk, url],
            env=_make_trial_environment(Path(folder), database),
            capture_output=True,
            text=True,
            check=False,
        )
        found = list(check_program(read_process_facts(Path(folder)), database))
    if process.returncode:
        last = process.stderr.strip().rpartition("\n")[2]
        yield fault(
            "trial-failed",
            f"a call of {sdk} against the emulator failed: {last}",
            f"try {sdk} alone; it may not fit the other packages",
        )
    elif has_fault(found):
        yield from found
    else:
        yield ok("trial", f"a call of {sdk} against the emulator is in a table of its own")


def _make_recording_environment(
    environ: Mapping[str, str], folder: Path, database: Path
) -> dict[str, str]:
    """Return the environment of a recording that leaves nothing outside of `folder`."""
    return {
        **make_environment(environ, database, "doctor"),
        FACTS_VARIABLE: str(folder),
        OTEL_PROMPTCACHE_KEY_FILE: str(folder / "key"),
    }


def _make_trial_environment(folder: Path, database: Path) -> dict[str, str]:
    """Return the environment without the user's exporters: a trial goes to no backend."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("OTEL_EXPORTER_") and not name.endswith("_EXPORTER")
    }
    return {
        **_make_recording_environment(own, folder, database),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


@contextmanager
def _running_emulator() -> Generator[str]:
    """Run the emulator in a process of its own, and yield its URL."""
    command = [sys.executable, "-m", str(__package__), "emulate", "--port", "0"]
    with subprocess.Popen(  # noqa: S603  # our own program
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of the package above it
        return False
