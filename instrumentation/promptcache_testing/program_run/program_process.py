"""A process below `promptcache check`: answer its calls, and check them when it ends."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from wrapt import register_post_import_hook

from promptcache.common.safely import safely
from promptcache_testing.checks import check_bounds, check_turns
from promptcache_testing.errors import CacheRegressionError, InconclusiveError
from promptcache_testing.interception.installation import intercepted
from promptcache_testing.program_run.process_report import (
    Failure,
    FailureKind,
    ProcessReport,
    RunFolder,
)
from promptcache_testing.program_run.settings import PROGRAM_RUN_VARIABLE, ProgramRunSettings
from promptcache_testing.second_run.check import SecondRunCheck
from promptcache_testing.second_run.recorder import SecondRunRecorder
from promptcache_testing.second_run.settings import SecondRunSettings
from promptcache_testing.second_run.surroundings import change_surroundings
from promptcache_testing.summaries import summarize_test
from promptcache_testing.traffic import Traffic

_running: Final[list[ProgramProcess]] = []
"""Keeps the patches for as long as the process lives."""


class ProgramProcess:
    """The calls of one process, a forked child included, until it ends."""

    def __init__(self, settings: ProgramRunSettings) -> None:
        self._settings, self._files = settings, RunFolder(Path(settings.folder))
        self._interception = intercepted(self._begin())
        self._switch = self._interception.__enter__()

    def restart(self) -> None:
        """Forget the calls of the parent: this is a forked child."""
        self._switch.target = self._begin()

    def finish(self) -> None:
        """Write the result of this process, if it called a model."""
        safely(self._write)

    def _begin(self) -> Traffic:
        settings = self._settings
        self._second_run = _second_run(settings, self._files)
        self._started_at = time.time()
        self._traffic = Traffic(
            answers_everything=True,
            allowed_hosts=settings.allowed_hosts,
            digester=self._second_run.digester if self._second_run else None,
            on_call=self._files.mark_calls,
        )
        return self._traffic

    def _write(self) -> None:
        calls = self._traffic.recorder.calls
        if not calls and not self._traffic.failures:
            return
        if isinstance(self._second_run, SecondRunRecorder):
            self._second_run.add_calls(self._settings.name, calls)
            self._second_run.write()
            return
        failures = self._check()
        summary = summarize_test(self._settings.name, calls, uses_fixture=True)
        report = ProcessReport(self._started_at, summary, tuple(failures))
        self._files.own_result.write_text(report.to_json(), encoding="utf-8")

    def _check(self) -> list[Failure]:
        calls, settings = self._traffic.recorder.calls, self._settings
        checks: list[tuple[FailureKind, Callable[..., None], tuple[Any, ...]]] = [
            ("unstable", check_turns, (calls, 0)),
            ("hit_rate", check_bounds, (calls, settings.min_hit_rate, None)),
        ]
        if isinstance(self._second_run, SecondRunCheck):
            checks.insert(0, ("unstable", self._second_run.check_test, (settings.name, calls)))
        found = [Failure("inconclusive", text) for text in self._traffic.failures]
        for kind, check, arguments in checks:
            try:
                check(*arguments)
            except InconclusiveError as error:
                found.append(Failure("inconclusive", str(error)))
            except CacheRegressionError as error:
                found.append(Failure(kind, str(error)))
        return found


def start_program_process() -> None:
    """Answer all calls of this process from now on. Its children do the same.

    Raise SystemExit if that fails: no request may leave the machine.
    """
    if not safely(_start):
        raise SystemExit("promptcache check cannot start in this process")


def _start() -> bool:
    settings = ProgramRunSettings.from_json(os.environ[PROGRAM_RUN_VARIABLE])
    RunFolder(Path(settings.folder)).mark_start()
    if settings.working_folder is not None:
        change_surroundings(settings.working_folder, settings.seed)
    process = ProgramProcess(settings)
    _running.append(process)
    atexit.register(process.finish)
    os.register_at_fork(after_in_child=process.restart)

    def watch_children(util: Any) -> None:
        def finish_at_end(child: ProgramProcess) -> None:
            util.Finalize(None, child.finish, exitpriority=-1)

        # A child of multiprocessing ends without atexit.
        util.register_after_fork(process, finish_at_end)

    register_post_import_hook(watch_children, "multiprocessing.util")
    return True


def _second_run(
    settings: ProgramRunSettings, files: RunFolder
) -> SecondRunCheck | SecondRunRecorder | None:
    if settings.is_second_run:
        return SecondRunRecorder(SecondRunSettings(str(files.own_result), settings.key))
    if settings.second_results is None:
        return None
    return SecondRunCheck(SecondRunSettings(settings.second_results, settings.key))
