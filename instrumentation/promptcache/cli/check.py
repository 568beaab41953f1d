"""The command `promptcache check`: the checks of the pytest plugin for a program without pytest."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import typer

from promptcache.cli.check_runs import NoPythonProcessError, ProgramResult, ProgramRuns
from promptcache.cli.child_process import ProgramStartError
from promptcache.cli.console import make_stderr_console
from promptcache.cli.exit_codes import ExitCode, exit_code_help
from promptcache.cli.json_option import JsonOption
from promptcache.cli.output_file import unwritable_file
from promptcache.cli.program_name import CommandArgument, name_program
from promptcache.cli.share_option import FailBelowOption, parse_share
from promptcache_testing.checks import check_call_count
from promptcache_testing.errors import CacheRegressionError
from promptcache_testing.lock_file import LockFile
from promptcache_testing.profile_date import PROFILE_DATE
from promptcache_testing.program_run.process_report import Failure, FailureKind
from promptcache_testing.report import append_step_summary, format_terminal
from promptcache_testing.summaries import TestSummary

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache check -- python agent.py",
        "promptcache check --fail-below 0.9 -- python -m agent --question 12",
        "promptcache check --lock promptcache.lock --update -- python agent.py",
        "promptcache check --json -- python agent.py > check.json",
        "What is checked:",
        (
            "twice: tools, system and parameters are the same under another clock, hash seed, "
            "random seed, time zone, locale and working folder"
        ),
        "turns: each request of a conversation extends the earlier ones",
        "rules: the hit rate under the provider's documented rules is not below --fail-below",
        "lock: hashes, breakpoints and hit rate are not worse than in --lock",
        (
            "The program must run by itself: it starts twice, and the first time it reads nothing "
            "from standard input. Whatever else it does, such as writing files, it does twice. "
            "The model's answers are invented; tests with pytest can give them (docs/ci.md)."
        ),
        exit_code_help(
            ExitCode.OK,
            ExitCode.BELOW_TARGET,
            ExitCode.USAGE,
            ExitCode.NO_FILE,
            ExitCode.NO_CALLS,
            ExitCode.UNSTABLE_PREFIX,
            ExitCode.INCONCLUSIVE,
        ),
    )
)

OnceOption = Annotated[
    bool, typer.Option("--once", help="Run it once: compare nothing with a second run.")
]
MinCallsOption = Annotated[
    int, typer.Option(min=1, help="Fewer calls to a model than this fail as checked nothing.")
]
AllowHostOption = Annotated[
    list[str] | None,
    typer.Option(help="A host that the program may reach. It can be given several times."),
]
LockOption = Annotated[
    Path | None, typer.Option(help="Compare with this lock: hashes and counts, no text.")
]
UpdateOption = Annotated[
    bool, typer.Option("--update", help="Accept the prompts of this run: write them to --lock.")
]

_EXIT_CODES: Final[dict[FailureKind, ExitCode]] = {
    "unstable": ExitCode.UNSTABLE_PREFIX,
    "hit_rate": ExitCode.BELOW_TARGET,
    "inconclusive": ExitCode.INCONCLUSIVE,
    "no_calls": ExitCode.NO_CALLS,
}
"""The code of each kind of failure, the worst first."""

app = typer.Typer(add_completion=False)


@app.command("check", epilog=EPILOG, context_settings={"allow_interspersed_args": False})
def check(
    command: CommandArgument,
    once: OnceOption = False,
    fail_below: FailBelowOption = None,
    min_calls: MinCallsOption = 2,
    allow_host: AllowHostOption = None,
    lock: LockOption = None,
    update: UpdateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a program without a network, and fail if it breaks the prompt cache.

    An emulator in its process answers every SDK. It needs no key, and no request leaves the
    machine.
    """
    errors = make_stderr_console()
    if not once and find_spec("time_machine") is None:
        errors.print('promptcache check needs an extra: pip install "promptcache[check]"')
        raise typer.Exit(ExitCode.USAGE)
    lock_file, name = _open_lock(lock, update), name_program(command)
    hit_rate = parse_share(fail_below)
    with TemporaryDirectory(prefix="promptcache-", ignore_cleanup_errors=True) as folder:
        runs = ProgramRuns(command, Path(folder), name, allow_host or (), hit_rate)
        try:
            output = [] if once else runs.run_in_other_surroundings()
            result = runs.run_and_judge(is_quiet=as_json)
        except (ProgramStartError, NoPythonProcessError) as error:
            errors.print(f"promptcache check: {error}")
            raise typer.Exit(ExitCode.USAGE) from None
    if output:
        errors.print("promptcache check: the program failed in the hidden run:")
        errors.print("\n".join(output))
    lines = _add_common_failures(result, lock_file, min_calls, update=update)
    code = choose_exit_code(result.failures)
    append_step_summary(result.summaries, "program")
    if as_json:
        typer.echo(_to_json(name, result, code))
    else:
        _print_result(result, lines, code)
    raise typer.Exit(code)


def _open_lock(path: Path | None, update: bool) -> LockFile | None:
    """Return the lock. Raises BadParameter, and Exit if there is no such file to compare with."""
    if path is None:
        if update:
            raise typer.BadParameter("it needs --lock FILE", param_hint="--update")
        return None
    try:
        lock = LockFile(path)
    except ValueError as error:
        raise typer.BadParameter(f"{path} is no lock: {error}", param_hint="--lock") from error
    if not lock.exists and not update:
        make_stderr_console().print(f"{path} does not exist; --update writes it")
        raise typer.Exit(ExitCode.NO_FILE)
    return lock


def _add_common_failures(
    result: ProgramResult, lock: LockFile | None, min_calls: int, *, update: bool
) -> list[str]:
    """Add the failures that concern all processes. Return what the lock says."""
    try:
        check_call_count(result.call_count, min_calls)
    except CacheRegressionError as error:
        result.failures.append(Failure("no_calls", str(error)))
    if lock is None:
        return []
    if update:
        if any(one.kind in ("inconclusive", "no_calls") for one in result.failures):
            return [f"{lock.path.name} was not written, since the run is incomplete"]
        try:
            changes = lock.write(result.summaries)
        except OSError as error:
            raise unwritable_file(lock.path, "--lock", error) from error
        return [f"wrote {lock.path.name}", *(changes or ["nothing changed"])]
    for one in result.summaries:
        try:
            note = lock.check(one, "--update")
        except CacheRegressionError as error:
            result.failures.append(Failure("unstable", str(error)))
        else:
            one.notes += [note] if note else []
    return []


def choose_exit_code(failures: list[Failure]) -> ExitCode:
    """Return the exit code of the worst failure."""
    kinds = {one.kind for one in failures}
    return next((code for kind, code in _EXIT_CODES.items() if kind in kinds), ExitCode.OK)


def _print_result(result: ProgramResult, lines: list[str], code: ExitCode) -> None:
    notes = [note for one in result.summaries for note in one.notes]
    failures = [line for one in result.failures for line in ("", *one.text.splitlines())]
    for line in [*format_terminal(result.summaries, "program"), *failures, *notes, *lines]:
        typer.echo(line)
    verdict = "passed" if code is ExitCode.OK else f"failed (exit code {code.value})"
    typer.echo(f"\npromptcache check: {verdict}")


def _to_json(name: str, result: ProgramResult, code: ExitCode) -> str:
    data: dict[str, Any] = {
        "schema": 1,
        "profile_date": PROFILE_DATE,
        "program": name,
        "program_status": result.status,
        "exit_code": code.value,
        "failures": [{"kind": one.kind, "text": one.text} for one in result.failures],
        "processes": [_describe_process(one) for one in result.summaries],
    }
    return json.dumps(data, indent=2)


def _describe_process(summary: TestSummary) -> dict[str, Any]:
    values = summary.to_json()
    name = values.pop("nodeid")
    del values["uses_fixture"]
    return {"name": name, **values}
