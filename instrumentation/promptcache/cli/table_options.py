"""The options of the commands that read the local table."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from promptcache.cli.table_risk import warn_of_unsafe_table_file
from promptcache_exporters.database.file_path import resolve_database_path
from promptcache_exporters.report.call_filter import FieldCondition, parse_field_condition

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
UntilOption = Annotated[
    str | None, typer.Option(help="Only calls before then, written as for --since.")
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD=VALUE",
        help="Only calls with this value: service=shop; model~sonnet contains it; != and !~ mean "
        "the opposite. May be repeated. The fields are those of --by.",
    ),
]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="Where the calls are, if not in the local table: a file of OTLP JSON of the "
        "Collector's file exporter (.jsonl, .json, also with .gz), exports ('dir/*.parquet'), or "
        "clickhouse://user@host:8123/otel, clickhouses:// with TLS "
        "(the password is read from CLICKHOUSE_PASSWORD).",
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
    return -math.inf if text is None else _parse_time_option(text, "--since")


def parse_until_option(text: str | None) -> float:
    """Return the epoch seconds of `--until`, infinity if it is not given.

    Raises BadParameter, which typer prints as a usage error.
    """
    return math.inf if text is None else _parse_time_option(text, "--until")


def _parse_time_option(text: str, option: str) -> float:
    allowed = "allowed: 15m, 2h, 3d, 1w, or an ISO time such as 2026-11-21T14:00"
    try:
        return parse_since(text, time.time())
    except (ValueError, OverflowError, OSError) as error:
        raise typer.BadParameter(f"{text!r} is not a time; {allowed}", param_hint=option) from error


def parse_length_option(text: str | None) -> float | None:
    """Return the seconds of `--every` (`15m`, `1h`, `1d`), None if it is not given.

    Raises BadParameter, which typer prints as a usage error.
    """
    if text is None:
        return None
    unit, number = _SECONDS_BY_UNIT.get(text[-1:]), text[:-1]
    seconds = float(number) * unit if unit and number.replace(".", "", 1).isdecimal() else 0.0
    if seconds < 1:
        raise typer.BadParameter(
            f"{text!r} is no length of time; allowed: 30s, 15m, 1h, 1d, 1w", param_hint="--every"
        )
    return seconds


def parse_where_options(texts: Sequence[str] | None) -> tuple[FieldCondition, ...]:
    """Return the conditions of all `--where`.

    Raises BadParameter, which typer prints as a usage error.
    """
    try:
        return tuple(map(parse_field_condition, texts or ()))
    except ValueError as error:
        raise typer.BadParameter(
            f"{error}; allowed: service=shop, model~sonnet, outcome!=hit, model!~mini",
            param_hint="--where",
        ) from error


def choose_calls_place(db: Path | None, source: str | None) -> str:
    """Return the value of `--from`, else the path of the local table.

    It prints a warning of the risks of that file. Raises BadParameter if both are given.
    """
    if source is None:
        path = resolve_database_path(db)
        warn_of_unsafe_table_file(path)
        return str(path)
    if db is not None:
        raise typer.BadParameter("give a file of the table or --from, not both")
    return source
