"""Run a program under the checks of the pytest plugin, and collect what its processes found."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from promptcache.cli.child_process import end_like, run_program
from promptcache_exporters.recording.program import RUN_VARIABLE, with_startup_folder
from promptcache_testing.placeholders import set_placeholders
from promptcache_testing.program_run.process_report import Failure, ProcessReport, RunFolder
from promptcache_testing.program_run.settings import PROGRAM_RUN_VARIABLE, ProgramRunSettings
from promptcache_testing.second_run.results import SecondRunResults, SecondTestResult
from promptcache_testing.second_run.surroundings import changed_variables, make_other_folder
from promptcache_testing.summaries import TestSummary

_LOST_PROCESS: Final = (
    "a process that called a model left no result: it was killed, or ended by os._exit"
)
_MAX_LINES_OF_OUTPUT: Final = 20


class NoPythonProcessError(Exception):
    """No process of the program loaded promptcache."""

    def __init__(self) -> None:
        super().__init__(
            "no Python process of the program loaded promptcache, so nothing was checked; install "
            "promptcache[check] where its Python is (one with -I, -E or -S does not load it)"
        )


@dataclass(slots=True)
class ProgramResult:
    """What the judged run of a program found. `status` is as of `run_program`."""

    status: int
    summaries: list[TestSummary] = field(default_factory=list[TestSummary])
    failures: list[Failure] = field(default_factory=list[Failure])

    @property
    def call_count(self) -> int:
        return sum(len(one.calls) for one in self.summaries)


class ProgramRuns:
    """The two runs of a command. Everything that they write is in `folder`.

    Both methods raise ProgramStartError and NoPythonProcessError.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        name: str,
        allowed_hosts: Sequence[str],
        min_hit_rate: float | None,
    ) -> None:
        self._command, self._folder = command, folder
        self._settings = ProgramRunSettings(
            name, str(folder), os.urandom(32).hex(), tuple(allowed_hosts), min_hit_rate
        )
        self._second_results: Path | None = None

    def run_in_other_surroundings(self) -> list[str]:
        """Run the program hidden. Return the last lines of its output if it failed."""
        output = self._folder / "output.txt"
        settings = replace(
            self._settings,
            working_folder=str(make_other_folder(self._folder)),
            seed=random.SystemRandom().randrange(2**32),
        )
        with output.open("w") as file:
            status, files = self._run(
                settings,
                "second",
                changed_variables(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        self._second_results = self._folder / "second.json"
        _merge_results(files, settings.name, status).write(self._second_results)
        if not status:
            return []
        return output.read_text("utf-8", "replace").splitlines()[-_MAX_LINES_OF_OUTPUT:]

    def run_and_judge(self, *, is_quiet: bool) -> ProgramResult:
        """Run the program as it is; with `is_quiet` its output goes to standard error."""
        second = self._second_results
        settings = replace(self._settings, second_results=str(second) if second else None)
        stdout = sys.stderr if is_quiet else None
        status, files = self._run(settings, "judged", {}, stdout=stdout)
        result = ProgramResult(status)
        if status:
            result.failures.append(Failure("inconclusive", f"the program {describe_end(status)}"))
        if files.has_lost_process:
            result.failures.append(Failure("inconclusive", _LOST_PROCESS))
        reports = (ProcessReport.from_json(json.loads(one.read_text())) for one in files.results())
        for number, report in enumerate(sorted(reports, key=lambda one: one.started_at), 1):
            if number > 1:
                report.summary.nodeid += f" (process {number})"
            result.summaries.append(report.summary)
            result.failures += report.failures
        return result

    def _run(
        self, settings: ProgramRunSettings, name: str, changed: dict[str, str], **streams: Any
    ) -> tuple[int, RunFolder]:
        folder = self._folder / name
        folder.mkdir()
        environ = with_startup_folder(os.environ) | changed
        environ[PROGRAM_RUN_VARIABLE] = replace(settings, folder=str(folder)).to_json()
        environ.pop(RUN_VARIABLE, None)
        if settings.is_second_run:
            environ.pop("GITHUB_STEP_SUMMARY", None)
        set_placeholders(environ)
        status = run_program(self._command, environ, **streams)
        if status in (-signal.SIGINT, -signal.SIGTERM):  # somebody ended both of us
            end_like(status)
        files = RunFolder(folder)
        if not files.has_started:
            raise NoPythonProcessError
        return status, files


def describe_end(status: int) -> str:
    """Return how a program ended, for a status of `run_program`."""
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with exit code {status}"


def _merge_results(files: RunFolder, name: str, status: int) -> SecondRunResults:
    """Return the results of all processes of the other run as those of one."""
    merged = SecondTestResult()
    if status:
        merged.failure = f"the program {describe_end(status)}"
    elif files.has_lost_process:
        merged.failure = _LOST_PROCESS
    results = SecondRunResults({name: merged})
    for found in map(SecondRunResults.read, files.results()):
        results.texts |= found.texts
        for one in found.tests.values():
            merged.prefixes += one.prefixes
            merged.breaks += one.breaks
            merged.failure = merged.failure or one.failure
    return results
