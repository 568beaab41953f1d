"""What the exit code of the command `promptcache` says. The only place where they are numbered."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

RECORD_COMMAND: Final = (
    "opentelemetry-instrument --service_name my-app --traces_exporter promptcache_sqlite"
    " --metrics_exporter none --logs_exporter none python app.py"
)
"""How a table comes to be where none is. Without the two `none` the default exporters must be installed as well."""


class ExitCode(IntEnum):
    """Exit codes, a stable interface: scripts and CI jobs branch on them."""

    OK = 0
    BELOW_TARGET = 1
    USAGE = 2
    UNKNOWN_COST = 3
    NO_FILE = 4
    NO_CALLS = 5
    NEWER_SCHEMA = 6
    NOT_A_TABLE = 7
    SAMPLED = 8


EXIT_CODE_MEANINGS: Final = {
    ExitCode.OK: "done",
    ExitCode.BELOW_TARGET: "the hit rate is below --fail-below",
    ExitCode.USAGE: "the command line is not understood, or an extra is not installed",
    ExitCode.UNKNOWN_COST: "the cost is not known",
    ExitCode.NO_FILE: "there is no such file",
    ExitCode.NO_CALLS: "the table has no calls to speak of (none at all, none that match, none with reported cache counts)",
    ExitCode.NEWER_SCHEMA: "the table was written by a newer promptcache",
    ExitCode.NOT_A_TABLE: "the file cannot be read as a table of promptcache's",
    ExitCode.SAMPLED: "spans were sampled, so --fail-below refuses to judge",
}


def exit_code_help(*codes: ExitCode) -> str:
    """The meaning of `codes`, for the foot of a help page."""
    return "\n\n".join(
        ("Exit codes:", *(f"{code.value}  {EXIT_CODE_MEANINGS[code]}" for code in codes))
    )
