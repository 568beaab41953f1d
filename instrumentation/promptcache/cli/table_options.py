"""The options of the commands that read the local table."""

from __future__ import annotations

import math
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer

_SECONDS_BY_UNIT: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

DatabaseArgument = Annotated[
    Path | None,
    typer.Argument(
        help="The file of the table. Default: the path in OTEL_PROMPTCACHE_DB, else promptcache.db."
    ),
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        help="Only calls since then: 15m, 2h, 3d or 1w ago, or an ISO time in local time, "
        "such as 2026-11-21T14:00."
    ),
]
UnsampledOption = Annotated[
    bool,
    typer.Option(
        "--unsampled",
        help="No sampler dropped spans, neither in an application nor in a Collector. Without it "
        "the share is unknown where no trace state tells it.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON only. Its keys are a stable interface.")
]


def parse_since(text: str, now: float) -> float:
    """Return the epoch seconds of `15m`, `2h`, `3d` or `1w` before `now`, or of an ISO time.

    An ISO time is local unless it names a zone. Raises ValueError for any other text.
    """
    if text[-1:] in _SECONDS_BY_UNIT and text[:-1].replace(".", "", 1).isdecimal():
        return now - float(text[:-1]) * _SECONDS_BY_UNIT[text[-1]]
    return datetime.fromisoformat(text).timestamp()


def parse_since_option(text: str | None) -> float:
    """Return the epoch seconds of `--since`, minus infinity if it is not given.

    Raises BadParameter, which typer prints as a usage error.
    """
    allowed = "allowed: 15m, 2h, 3d, 1w, or an ISO time such as 2026-11-21T14:00"
    try:
        return -math.inf if text is None else parse_since(text, time.time())
    except (ValueError, OverflowError, OSError) as error:
        raise typer.BadParameter(
            f"{text!r} is not a time; {allowed}", param_hint="--since"
        ) from error
