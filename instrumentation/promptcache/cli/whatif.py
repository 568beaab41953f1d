"""The command `promptcache whatif`: what the recorded calls would have cost otherwise."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Annotated, Any, Final

import typer
from rich.progress import Progress

from promptcache.cli.console import make_stderr_console, make_stdout_console, print_grid
from promptcache.cli.exit_codes import ExitCode, exit_code_help
from promptcache.cli.price_options import load_price_book
from promptcache.cli.table_errors import describe_table_error, exit_code_of_table_error
from promptcache.cli.table_options import (
    DatabaseArgument,
    FromOption,
    JsonOption,
    SinceOption,
    UnsampledOption,
    choose_calls_place,
    parse_since_option,
)
from promptcache.prices import PriceBook
from promptcache.providers.cache_rules import cache_rule_for
from promptcache_exporters.database.errors import CallsFileReadError
from promptcache_exporters.database.source import open_calls_source
from promptcache_exporters.replay.comparison import (
    ReplayCheck,
    check_replay,
    compute_saving,
    fit_retention,
    months_in_window,
)
from promptcache_exporters.replay.policy import LAYERS, Marks, Pings, Policy, TargetModel
from promptcache_exporters.replay.replay import Outcome, PolicyError, replay
from promptcache_exporters.replay.table import (
    LoadedCalls,
    SampledTableError,
    find_token_prices,
    load_recorded_calls,
)
from promptcache_exporters.replay.traffic import Traffic

EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache whatif --since 7d",
        "promptcache whatif --ttl system=1h --ttl tools=1h --marks static,tail",
        "promptcache whatif --ping 280x2 --ping-from 20000",
        "promptcache whatif --model claude-haiku-4-5 --json",
        "promptcache whatif --from spans.jsonl --unsampled",
        "Without an option it shows a cache without limits, and no cache.",
        "The options together make one policy beside the record.",
        "No money is shown if the model of the cache does not reproduce the record.",
        exit_code_help(
            ExitCode.OK,
            ExitCode.USAGE,
            ExitCode.NO_FILE,
            ExitCode.NO_CALLS,
            ExitCode.NEWER_SCHEMA,
            ExitCode.NOT_A_TABLE,
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

app = typer.Typer(add_completion=False)


@app.command("whatif", epilog=EPILOG)
def whatif(
    db: DatabaseArgument = None,
    since: SinceOption = None,
    ttl: TtlOption = None,
    marks: MarksOption = "recorded",
    ping: PingOption = None,
    ping_from: PingFromOption = 0,
    model: ModelOption = None,
    provider: ProviderOption = None,
    as_data: JsonOption = False,
    source: FromOption = None,
    unsampled: UnsampledOption = False,
) -> None:
    """Replay the recorded calls under another policy: TTLs, breakpoints, pings, another model."""
    book = load_price_book(None)
    place = choose_calls_place(db, source)
    loaded = _load_calls(place, since, book, 1.0 if unsampled else None)
    traffic = fit_retention(Traffic(loaded.calls))
    try:
        policies = _build_policies(traffic, ttl, marks, ping, ping_from, model, provider, book)
        with Progress(console=make_stderr_console(), transient=True) as progress:
            task = progress.add_task("replaying", total=len(policies) * len(traffic.calls))
            outcomes: list[Outcome] = []
            for policy in policies:
                outcomes.append(replay(traffic, policy))
                progress.advance(task, len(traffic.calls))
    except PolicyError as error:
        raise typer.BadParameter(str(error)) from None
    check = check_replay(traffic, outcomes[0])
    if as_data:
        typer.echo(json.dumps(_to_json(traffic, loaded, check, outcomes), indent=2))
    else:
        _print_text(traffic, loaded, check, outcomes)
    if not check.has_passed:
        raise typer.Exit(ExitCode.REPLAY_DIFFERS)


def _load_calls(
    place: str, since: str | None, book: PriceBook, default_sample_ratio: float | None
) -> LoadedCalls:
    errors = make_stderr_console()
    try:
        with open_calls_source(place, default_sample_ratio) as calls:
            loaded = load_recorded_calls(calls, parse_since_option(since), book)
    except (CallsFileReadError, OSError) as error:
        errors.print(describe_table_error(error))
        raise typer.Exit(exit_code_of_table_error(error)) from None
    except SampledTableError as error:
        errors.print(str(error))
        raise typer.Exit(ExitCode.SAMPLED) from None
    if not loaded.calls:
        reasons = "; ".join(f"{count} {reason}" for reason, count in loaded.skipped.items())
        errors.print(f"{place} has no call to replay{': ' if reasons else '.'}{reasons}")
        raise typer.Exit(ExitCode.NO_CALLS)
    return loaded


def _build_policies(
    traffic: Traffic,
    ttl: list[str] | None,
    marks: Marks,
    ping: str | None,
    ping_from: int,
    model: str | None,
    provider: str | None,
    book: PriceBook,
) -> list[Policy]:
    policy = Policy(
        ttls=_parse_ttls(ttl or []),
        marks=marks,
        pings=None if ping is None else _parse_pings(ping, ping_from),
        target=None if model is None else _find_target(traffic, model, provider, book),
    )
    rules = {call.rule for call in traffic.calls} if policy.target is None else {policy.target.rule}
    if (policy.ttls or marks != "recorded") and not any(rule.bills_writes for rule in rules):
        raise PolicyError("TTLs and marks change nothing: this cache takes no breakpoints")
    options = [
        *(f"{layer} {value}" for layer, value in policy.ttls.items()),
        *([f"marks {marks}"] if marks != "recorded" else []),
        *([f"pings {ping}"] if ping else []),
        *([model] if model else []),
    ]
    if options:
        return [Policy(), replace(policy, name=", ".join(options))]
    return [
        Policy(),
        Policy("a cache without limits", caching="unlimited"),
        Policy("no cache", caching="off"),
    ]


def _parse_ttls(texts: list[str]) -> dict[str, str]:
    ttls: dict[str, str] = {}
    for text in texts:
        layer, _, ttl = text.partition("=")
        if layer not in LAYERS or ttl not in ("5m", "30m", "1h", "12h"):
            raise typer.BadParameter(
                f"{text!r}: give layer=ttl, such as system=1h (layers: {', '.join(LAYERS)}; "
                "TTLs: 5m, 30m, 1h, 12h)",
                param_hint="--ttl",
            )
        ttls[layer] = ttl
    return ttls


def _parse_pings(text: str, min_tokens: int) -> Pings:
    seconds, _, count = text.partition("x")
    if not (seconds.isdecimal() and count.isdecimal() and int(seconds) and int(count)):
        raise typer.BadParameter(
            f"{text!r}: give seconds x number, such as 280x2", param_hint="--ping"
        )
    return Pings(float(seconds), int(count), min_tokens)


def _find_target(
    traffic: Traffic, model: str, provider: str | None, book: PriceBook
) -> TargetModel:
    first = traffic.calls[0]
    name = provider or first.provider
    prices = find_token_prices(book, name, model, time.time(), first.input_tokens)
    if prices is None:
        raise typer.BadParameter(
            f"no price of {model!r} at {name!r}; see promptcache prices show", param_hint="--model"
        )
    return TargetModel(cache_rule_for(name, model), prices)


def _to_json(
    traffic: Traffic, loaded: LoadedCalls, check: ReplayCheck, outcomes: list[Outcome]
) -> dict[str, Any]:
    months = months_in_window(traffic)
    return {
        "calls": len(traffic.calls),
        "skipped": dict(loaded.skipped),
        "window_seconds": traffic.seconds,
        "check": {
            "passed": check.has_passed,
            "exact_share": check.exact_share,
            "cost_error": check.cost_error,
            "recorded_usd": check.recorded_usd,
        },
        "policies": [
            {
                "name": outcome.policy.name,
                "hit_rate": outcome.hit_rate,
                "pings": outcome.pings,
                **(_usd_fields(outcomes[0], outcome, months) if check.has_passed else {}),
            }
            for outcome in outcomes
        ],
    }


def _usd_fields(as_recorded: Outcome, outcome: Outcome, months: float | None) -> dict[str, Any]:
    saving = compute_saving(as_recorded, outcome)
    return {
        "usd": outcome.usd,
        "saved_usd": saving.usd,
        "saved_usd_95": [saving.lower, saving.upper],
        "saved_usd_a_month": None if months is None else saving.usd * months,
    }


def _print_text(
    traffic: Traffic, loaded: LoadedCalls, check: ReplayCheck, outcomes: list[Outcome]
) -> None:
    console = make_stdout_console()
    conversations = len({call.conversation for call in traffic.calls})
    console.print(
        f"Replayed {len(traffic.calls):,} calls of {conversations:,} conversations. As they were: "
        f"{check.exact_share:.1%} of reads exact, cost within {abs(check.cost_error):.1%}.",
        soft_wrap=True,
    )
    for reason, count in loaded.skipped.items():
        console.print(f"Left out: {count:,} calls {reason}.")
    if loaded.key_count > 1:
        console.print(
            f"The calls were recorded under {loaded.key_count} keys, so not all that share a prefix"
            " are seen to (promptcache doctor)."
        )
    if not check.has_passed:
        console.print(
            "The model does not reproduce the record, so no money is shown. Calls of other "
            "processes may be missing, or the provider evicts earlier than its rule says."
        )
        return
    months = months_in_window(traffic)
    head = ("policy", "cost", "hit rate", "saved", "95 %")
    rows: list[tuple[str, ...]] = [head if months is None else (*head, "a month")]
    for outcome in outcomes:
        saving = compute_saving(outcomes[0], outcome)
        is_record = outcome is outcomes[0]
        cells = [
            outcome.policy.name,
            f"${outcome.usd:,.4f}",
            f"{outcome.hit_rate:.1%}",
            "" if is_record else f"${saving.usd:,.4f}",
            "" if is_record else f"${saving.lower:,.4f} to ${saving.upper:,.4f}",
        ]
        if months is not None:
            cells.append("" if is_record else f"${saving.usd * months:,.2f}")
        rows.append(tuple(cells))
    print_grid(rows)
    console.print("Costs of other policies are modelled by the documented rules, not measured.")
