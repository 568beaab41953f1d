"""The command `promptcache whatif`: what the recorded calls would have cost otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import Progress

from promptcache.cli.console import make_stderr_console
from promptcache.cli.exit_codes import CALLS_READER_CODES, ExitCode, exit_code_help
from promptcache.cli.json_option import JsonOption
from promptcache.cli.output_file import write_text_file
from promptcache.cli.price_options import load_price_book
from promptcache.cli.table_errors import exit_on_table_error
from promptcache.cli.table_options import (
    DatabaseArgument,
    FromOption,
    SinceOption,
    UnsampledOption,
    choose_calls_place,
    parse_since_option,
)
from promptcache.cli.whatif_output import WhatifResult, print_text, to_json
from promptcache.cli.whatif_policies import (
    PolicyOptions,
    build_policies,
    parse_ttls,
    read_policy_file,
)
from promptcache.prices import PriceBook
from promptcache_exporters.database.source import open_calls_source
from promptcache_exporters.replay.comparison import check_replay, fit_retention
from promptcache_exporters.replay.placed_marks import PolicyError
from promptcache_exporters.replay.policy import Marks, Policy
from promptcache_exporters.replay.replay import Outcome, observe_early_eviction
from promptcache_exporters.replay.replay_all import replay_all
from promptcache_exporters.replay.table import (
    LoadedCalls,
    SampledTableError,
    load_recorded_calls,
)
from promptcache_exporters.replay.traffic import Traffic
from promptcache_exporters.replay.ttl_curve import compute_ttl_curve

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache whatif --since 7d",
        "promptcache whatif --ttl system=1h --ttl tools=1h --marks static,tail",
        "promptcache whatif --ping 280x2 --ping-from 20000",
        "promptcache whatif --without volatile_token",
        "promptcache whatif --model claude-haiku-4-5 --json",
        "promptcache whatif --policy policies.toml --html whatif.html",
        "promptcache whatif --from spans.jsonl --unsampled",
        "Without an option it shows the usual policies, a cache without limits, and no cache.",
        "The options together make one policy beside the record.",
        "No money is shown if the model of the cache does not reproduce the record.",
        exit_code_help(
            *CALLS_READER_CODES,
            ExitCode.SAMPLED,
            ExitCode.REPLAY_DIFFERS,
        ),
    )
)

TtlOption = Annotated[
    list[str] | None,
    typer.Option(
        help="The TTL of breakpoints in a layer: system=1h. Layers: tools, system, messages."
    ),
]
MarksOption = Annotated[
    Marks,
    typer.Option(help="Where breakpoints stand: as recorded, at the tail, or there and static."),
]
PingOption = Annotated[
    str | None,
    typer.Option(
        help="Keep prefixes warm: 280x2 reads a prefix after 280 s and 560 s without a call."
    ),
]
PingFromOption = Annotated[
    int, typer.Option(min=0, help="Ping only prefixes from so many tokens on.")
]
ModelOption = Annotated[str | None, typer.Option(help="Another model, with a cold cache.")]
ProviderOption = Annotated[
    str | None, typer.Option(help="Who bills the other model. Default: the record's provider.")
]

WithoutOption = Annotated[
    str,
    typer.Option(
        help="Without a break of the record: its reason (volatile_token), its place (system[0]),"
        " or the line of the call (app.py:41)."
    ),
]
PolicyFileOption = Annotated[
    Path | None, typer.Option(help="A TOML file with one [[policy]] for each policy.")
]
HtmlOption = Annotated[
    Path | None, typer.Option(help="Also write a page with the policies and the curve over TTLs.")
]

app = typer.Typer(add_completion=False)


@app.command("whatif", epilog=EPILOG)
def whatif(
    db: DatabaseArgument = None,
    since: SinceOption = None,
    ttl: TtlOption = None,
    marks: MarksOption = "recorded",
    ping: PingOption = None,
    ping_from: PingFromOption = 0,
    without: WithoutOption = "",
    model: ModelOption = None,
    provider: ProviderOption = None,
    policy: PolicyFileOption = None,
    html: HtmlOption = None,
    as_data: JsonOption = False,
    source: FromOption = None,
    unsampled: UnsampledOption = False,
) -> None:
    """Replay the recorded calls under another policy: TTLs, breakpoints, pings, another model."""
    book = load_price_book(None)
    place = choose_calls_place(db, source)
    loaded = _load_calls(place, since, book, 1.0 if unsampled else None)
    traffic = observe_early_eviction(fit_retention(loaded.traffic))
    options = PolicyOptions(
        parse_ttls(ttl or []), marks, ping, ping_from, model, provider, without.strip()
    )
    try:
        if policy is not None:
            policies = read_policy_file(traffic, policy, book)
        else:
            policies = build_policies(traffic, options, book)
        has_chosen_policies = policy is not None or bool(options.describe())
        outcomes = _replay_all(traffic, policies, has_chosen_policies=has_chosen_policies)
    except PolicyError as error:
        raise typer.BadParameter(str(error)) from None
    check = check_replay(traffic, outcomes[0])
    has_curve = html is not None or not has_chosen_policies
    curve = compute_ttl_curve(traffic) if has_curve else []
    _write(WhatifResult(traffic, loaded, check, outcomes, curve), html, as_data=as_data)


def _write(result: WhatifResult, page: Path | None, *, as_data: bool) -> None:
    """Print the result and write the page, which needs a replay that reproduces the record."""
    if as_data:
        typer.echo(json.dumps(to_json(result), indent=2))
    else:
        print_text(result)
    if not result.check.has_passed:
        raise typer.Exit(ExitCode.REPLAY_DIFFERS)
    if page is not None:
        from promptcache.cli.whatif_page import render_html  # Jinja2 takes time to load

        write_text_file(page, render_html(result), "--html")


def _replay_all(
    traffic: Traffic, policies: list[Policy], *, has_chosen_policies: bool
) -> list[Outcome]:
    """Replay all policies with progress on standard error.

    Leave out a usual policy that no provider would accept. Raise PolicyError for one that the user
    chose.
    """
    # A thread that draws would be a danger for the processes of the replay.
    with Progress(console=make_stderr_console(), transient=True, auto_refresh=False) as progress:
        tasks = [progress.add_task(one.name, total=len(traffic)) for one in policies]

        def advance(number: int, done: int) -> None:
            progress.update(tasks[number], completed=done, refresh=True)

        results = replay_all(traffic, policies, advance)
    errors = [result for result in results if isinstance(result, PolicyError)]
    if errors and (has_chosen_policies or errors[0] is results[0]):
        raise errors[0]
    return [result for result in results if not isinstance(result, PolicyError)]


def _load_calls(
    place: str, since: str | None, book: PriceBook, default_sample_ratio: float | None
) -> LoadedCalls:
    errors = make_stderr_console()
    try:
        with exit_on_table_error(), open_calls_source(place, default_sample_ratio) as calls:
            loaded = load_recorded_calls(calls, parse_since_option(since), book)
    except SampledTableError as error:
        errors.print(str(error))
        raise typer.Exit(ExitCode.SAMPLED) from None
    if not len(loaded.traffic):
        reasons = "; ".join(f"{count} {reason}" for reason, count in loaded.skipped.items())
        errors.print(f"{place} has no call to replay{': ' if reasons else '.'}{reasons}")
        raise typer.Exit(ExitCode.NO_CALLS)
    return loaded
