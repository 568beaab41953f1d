"""Run a program in the place of this process: its streams, its signals and its end are its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any, Final

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
"""The exit codes of a shell for a program that cannot be started."""
_FORWARDED: Final = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
_FROM_TERMINAL: Final = ("SIGINT", "SIGHUP", "SIGQUIT")
"""A terminal sends these to the program too, so they are not forwarded from one."""
POLL_SECONDS: Final = 0.5


class ProgramStartError(Exception):
    """The program cannot be started. `exit_code` is what a shell would return."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def run_program(
    command: Sequence[str],
    environ: Mapping[str, str],
    while_running: Callable[[], None] | None = None,
    *,
    stdout: IO[str] | None = None,
    stderr: IO[str] | None = None,
    stdin: int | None = None,
) -> int:
    """Run `command` until it ends, and forward signals to it. `while_running` is called often.

    Returns its exit code, or the negative number of the signal that killed it. It inherits the
    standard streams that are not given, and all inheritable files. Raises ProgramStartError.
    """
    try:
        process = subprocess.Popen(  # noqa: S603  # the user's own command
            command, env=environ, close_fds=False, stdin=stdin, stdout=stdout, stderr=stderr
        )
    except FileNotFoundError as error:
        raise ProgramStartError(f"{command[0]}: not found", NOT_FOUND) from error
    except OSError as error:
        raise ProgramStartError(f"{command[0]}: {error.strerror}", NOT_EXECUTABLE) from error
    _forward_signals(process)
    while True:
        try:
            return process.wait(POLL_SECONDS if while_running else None)
        except subprocess.TimeoutExpired:
            if while_running:
                while_running()


def end_like(status: int) -> None:
    """End this process as the program ended, with a `status` of `run_program`."""
    if status < 0:
        number = -status
        with suppress(OSError, ValueError, ImportError):
            import resource

            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the program wrote its own
        sys.stderr.flush()
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    sys.exit(status)


def _forward_signals(process: subprocess.Popen[Any]) -> None:
    """Forward signals to `process` from now on. A signal that is ignored stays so."""

    def forward(number: int, frame: object) -> None:
        if signal.Signals(number).name in _FROM_TERMINAL and _is_in_foreground():
            return
        with suppress(ProcessLookupError):
            process.send_signal(number)

    for name in _FORWARDED:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, forward)


def _is_in_foreground() -> bool:
    """Return whether a terminal sends its signals to our process group."""
    for stream in (0, 1, 2):
        with suppress(OSError, AttributeError):
            return os.tcgetpgrp(stream) == os.getpgrp()
    return False
