"""The exit codes of the command `promptcache`. No other module numbers them."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

RECORD_COMMAND: Final = "promptcache run -- python app.py"
"""How to record calls into the local table."""


class ExitCode(IntEnum):
    """Exit codes. They are a stable interface: scripts and CI jobs branch on them."""

    OK = 0
    BELOW_TARGET = 1
    USAGE = 2
    UNKNOWN_COST = 3
    NO_FILE = 4
    NO_CALLS = 5
    NEWER_SCHEMA = 6
    NOT_A_TABLE = 7
    SAMPLED = 8
    FAULT_FOUND = 9
    REPLAY_DIFFERS = 10
    UNSTABLE_PREFIX = 11
    INCONCLUSIVE = 12


EXIT_CODE_MEANINGS: Final = {
    ExitCode.OK: "success",
    ExitCode.BELOW_TARGET: "the hit rate is below --fail-below",
    ExitCode.USAGE: "the command line is wrong, or an extra is not installed",
    ExitCode.UNKNOWN_COST: "the cost is not known",
    ExitCode.NO_FILE: "the file does not exist",
    ExitCode.NO_CALLS: (
        "there are no calls to report or check: none at all, none that match the options, "
        "or none with reported cache counts"
    ),
    ExitCode.NEWER_SCHEMA: "a newer promptcache wrote the table",
    ExitCode.NOT_A_TABLE: "the file is not a table of promptcache",
    ExitCode.SAMPLED: "the spans were sampled: --fail-below cannot judge, whatif cannot replay",
    ExitCode.FAULT_FOUND: "the doctor found a fault",
    ExitCode.REPLAY_DIFFERS: "the replay does not reproduce the record",
    ExitCode.UNSTABLE_PREFIX: "the prompt prefix changes, or is worse than in the lock",
    ExitCode.INCONCLUSIVE: "the program failed, or a check could not decide",
}


CALLS_READER_CODES: Final = (
    ExitCode.OK,
    ExitCode.USAGE,
    ExitCode.NO_FILE,
    ExitCode.NO_CALLS,
    ExitCode.NEWER_SCHEMA,
    ExitCode.NOT_A_TABLE,
)
"""The exit codes of a command that reads recorded calls."""


def exit_code_help(*codes: ExitCode) -> str:
    """Return the list of exit codes for the end of a help page."""
    lines = (f"{code.value}  {EXIT_CODE_MEANINGS[code]}" for code in codes)
    return "\n\n".join(("Exit codes:", *lines))
