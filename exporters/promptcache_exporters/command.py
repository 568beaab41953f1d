"""The command `promptcache report`: options in, figures rendered, exit code out."""

from __future__ import annotations

import math
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from promptcache.exits import Exit, described
from promptcache_exporters import store
from promptcache_exporters.figures import By, Report, collect, nothing
from promptcache_exporters.html import as_html
from promptcache_exporters.report import as_json, show
from promptcache_exporters.wording import moment, percent, sampling, zone

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache report --by model --since 2h",
        "promptcache report --by reason",
        "promptcache report --json --by prefix > prefixes.json",
        "promptcache report --fail-below 0.5 --min-tokens 100000",
        "What --by can name:",
        "prefix: the hash of what stays the same at the start of a prompt; calls that share it can share a cache",
        "family: calls whose prompts were meant to begin alike, also after the prefix changed",
        "callsite: the line and function of your code that made the call",
        "reason: why a call missed what it could have read",
        described(
            Exit.OK,
            Exit.BELOW_TARGET,
            Exit.USAGE,
            Exit.NO_FILE,
            Exit.NO_CALLS,
            Exit.NEWER_SCHEMA,
            Exit.NOT_A_TABLE,
            Exit.SAMPLED,
        ),
    )
)


def since(text: str, now: float) -> float:
    """The instant that `15m`, `2h`, `3d`, `1w` ago or an ISO time (local unless it names a zone) means.

    Raises ValueError for anything else.
    """
    if text[-1:] in _UNITS and text[:-1].replace(".", "", 1).isdecimal():
        return now - float(text[:-1]) * _UNITS[text[-1]]
    return datetime.fromisoformat(text).timestamp()


def instant(text: str | None) -> float:
    """The same for an option, minus infinity where it was not given. Raises what typer shows as a usage error."""
    allowed = "allowed: 15m, 2h, 3d, 1w, or an ISO time such as 2026-11-21T14:00"
    try:
        return -math.inf if text is None else since(text, time.time())
    except (ValueError, OverflowError, OSError) as error:
        raise typer.BadParameter(f"{text!r} is no time; {allowed}", param_hint="--since") from error


Db = Annotated[
    Path | None, typer.Argument(help="The table; else OTEL_PROMPTCACHE_DB, else promptcache.db.")
]
Since = Annotated[
    str | None, typer.Option(help="Only calls since: 15m, 2h, 3d, 1w ago, or an ISO time.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON, a stable interface, and nothing else.")
]


def report(
    db: Db = None,
    by: Annotated[By, typer.Option(help="What the lines of the table are.")] = By.SERVICE,
    since: Since = None,
    as_data: Json = False,
    html: Annotated[
        Path | None, typer.Option(help="Also write the report to this file, as HTML.")
    ] = None,
    fail_below: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Exit with 1 where the hit rate is below this share, say 0.5."
        ),
    ] = None,
    min_tokens: Annotated[
        int, typer.Option(min=0, help="Judge only where there are as many input tokens.")
    ] = 0,
    limit: Annotated[
        int, typer.Option(min=0, help="Lines of the table on the terminal; 0 is all.")
    ] = 20,
) -> None:
    """Show hit rate, cost, savings and waste of the recorded calls."""
    errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        found = collect(store.path_of(db), by, instant(since))
        if html:
            html.write_text(as_html(found), encoding="utf-8")
    except (store.UnusableError, OSError) as trouble:
        code = getattr(trouble, "code", Exit.USAGE)
        if as_data and code is Exit.NO_CALLS:
            typer.echo(as_json(nothing(store.path_of(db), by)))
        errors.print(str(trouble))
        raise typer.Exit(code) from None
    notes = [] if found.totals.calls else [_none(since)]
    if as_data:
        typer.echo(as_json(found))
        notes += filter(None, [sampling(found)])
    elif found.totals.calls:
        show(found, Console(highlight=False, markup=False, emoji=False), limit)
    code, verdict = judge(found, fail_below, min_tokens)
    for note in filter(None, [*notes, verdict]):
        errors.print(note)
    raise typer.Exit(code)


def _none(since: str | None) -> str:
    if since is None:
        return "There are no calls to report on."
    begin = instant(since)
    return f"There are no calls since {moment(begin)} {zone(begin)} to report on: all are older (--since {since})."


def judge(found: Report, target: float | None, min_tokens: int = 0) -> tuple[Exit, str]:
    """The exit code of a report and, where a `target` (0..1) was set for its hit rate, why."""
    rate = found.totals.hit_rate
    if not found.totals.calls:
        return Exit.NO_CALLS, ""
    if target is None:
        return Exit.OK, ""
    if found.sampled:
        return (
            Exit.SAMPLED,
            "Not judged: a hit rate of sampled spans is an estimate. Record with sampling off.",
        )
    if rate is None:
        return Exit.NO_CALLS, "Not judged: no call reported cached tokens."
    if found.judged_tokens < min_tokens:
        return (
            Exit.OK,
            f"Not judged: {found.judged_tokens:,} input tokens are fewer than --min-tokens {min_tokens:,}.",
        )
    if rate < target:
        return (
            Exit.BELOW_TARGET,
            f"Failed: the hit rate {percent(rate)} is below {percent(target)}.",
        )
    return Exit.OK, f"Passed: the hit rate {percent(rate)} is at least {percent(target)}."
