"""The commands `prices show`, `prices build`, `cost` and `breakeven`: the price book on the command line."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import typer

from promptcache.cli.breakeven import show_breakeven
from promptcache.cli.exit_codes import ExitCode, exit_code_help
from promptcache.cli.price_options import (
    AtOption,
    BatchOption,
    GeoOption,
    JsonOption,
    ModelArgument,
    PriceFileOption,
    ProviderOption,
    SpeedOption,
    TierOption,
    build_call,
    load_price_book,
    parse_time,
    report_unknown_cost,
)
from promptcache.model import Cost, Usage
from promptcache.prices import table
from promptcache.prices.algebra import Rates
from promptcache.prices.book import PricePlan
from promptcache.prices.table import PricePeriod

TokenCount = Annotated[int, typer.Option(min=0, help="Tokens.")]
ModalityTokenCount = Annotated[int, typer.Option(min=0, help="Tokens, beside those of text.")]


def round_usd(value: float | None) -> float | None:
    """USD without the noise that binary arithmetic leaves behind the last digit."""
    return None if value is None else round(value, 15)


UNIT_NAMES: Final = {
    "usd_per_million": "per million tokens",
    "usd_per_million_token_hours": "per million token-hours",
    "usd_per_thousand_uses": "per 1,000 uses",
}
"""A key of the JSON -> what its prices are for."""


def format_list_prices(rates: Rates) -> dict[str, dict[str, float]]:
    """Rates as price lists print them, by the key of UNITS that says what they are for."""
    plain = {
        "input": rates.input_price,
        "read": rates.cache_read_price,
        "output": rates.output_price,
    }
    tokens = (
        plain
        | {f"write.{ttl}": value for ttl, value in rates.cache_write_prices.items()}
        | dict(rates.modality_prices)
    )
    uses = {f"tools.{name}": value for name, value in rates.tool_prices.items()}
    groups: tuple[tuple[Mapping[str, float | None], float], ...] = (
        (tokens, 1e6),
        ({"storage": rates.storage_price}, 1e6),
        (uses, 1e3),
    )
    return {
        unit: {key: round(value * size, 9) for key, value in group.items() if value is not None}
        for unit, (group, size) in zip(UNIT_NAMES, groups, strict=True)
    }


def describe_price(plan: PricePlan, found: PricePeriod, tokens: int) -> dict[str, Any]:
    """Where a price comes from, as the JSON says it."""
    rates = found.rates_for_input(tokens)
    return {
        "model": plan.row.id if plan.row else None,
        "tier": plan.tier,
        "source": rates.source,
        "date": rates.date,
        "since": rates.valid_from,
        "above": max((start for start in found.band_starts if tokens > start), default=None),
        **format_list_prices(rates),
    }


def print_columns(rows: Iterable[tuple[str, str]]) -> None:
    """Prints name and figure in two columns."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        typer.echo(f"{name:<{width}}  {text}")


def format_usd(value: float) -> str:
    """USD with every digit that counts, at least two of them after the point."""
    whole, _, part = f"{value:.15f}".rstrip("0").partition(".")
    return f"{whole}.{part:<02}"


def cost(
    model: Annotated[str, typer.Option(help="The model, by any of its names.")],
    provider: ProviderOption = None,
    at: AtOption = None,
    uncached: TokenCount = 0,
    read: TokenCount = 0,
    write_5m: Annotated[int, typer.Option("--write-5m", min=0, help="Tokens.")] = 0,
    write_30m: Annotated[int, typer.Option("--write-30m", min=0, help="Tokens.")] = 0,
    write_1h: Annotated[int, typer.Option("--write-1h", min=0, help="Tokens.")] = 0,
    write_12h: Annotated[int, typer.Option("--write-12h", min=0, help="Tokens.")] = 0,
    output: Annotated[int, typer.Option(min=0, help="Tokens, reasoning included.")] = 0,
    audio_input: ModalityTokenCount = 0,
    audio_read: ModalityTokenCount = 0,
    audio_output: ModalityTokenCount = 0,
    tier: TierOption = None,
    speed: SpeedOption = None,
    geo: GeoOption = None,
    batch: BatchOption = False,
    as_json: JsonOption = False,
    prices: PriceFileOption = None,
) -> None:
    """What a call with these token counts costs, and what it would cost without a cache."""
    book = load_price_book(prices)
    started = parse_time(at)
    writes = {"5m": write_5m, "30m": write_30m, "1h": write_1h, "12h": write_12h}
    audio = {"audio.input": audio_input, "audio.read": audio_read, "audio.output": audio_output}
    plain, cached, written = uncached + audio_input, read + audio_read, sum(writes.values())
    split = {ttl: tokens for ttl, tokens in writes.items() if tokens}
    modal = {name: tokens for name, tokens in audio.items() if tokens}
    usage = Usage(
        plain + cached + written,
        plain,
        cached,
        written,
        split,
        output + audio_output,
        modality_tokens=modal,
    )
    if not (usage.input_tokens or usage.output_tokens):
        raise typer.BadParameter(
            "a cost is one of tokens: give at least one count", param_hint="--uncached, --output"
        )
    request, facts = build_call(book, model, provider, started, tier, speed, geo, batch)
    found = book.compute_cost(request, facts, usage)
    if found.amount is None:
        raise report_unknown_cost(found.unknown_reason or "price", as_json, book, request, facts)
    plan = book.find_plan(request, facts)
    held = table.period_in_force(plan.periods, started)
    print_cost(
        found, describe_billed_price(request.provider, plan, held, usage) if held else {}, as_json
    )


def describe_billed_price(
    provider: str, plan: PricePlan, held: PricePeriod, usage: Usage
) -> dict[str, Any]:
    """The price of a call; `priced_as` names the class that lends its price to a modality without its own."""
    own = held.rates_for_input(usage.input_tokens).modality_prices
    lent = {name: name.partition(".")[2] for name in usage.modality_tokens if name not in own}
    return {
        "provider": provider,
        **describe_price(plan, held, usage.input_tokens),
        "priced_as": lent,
    }


def print_cost(found: Cost, shown: Mapping[str, Any], as_json: bool) -> None:
    """Prints a cost that is known."""
    total, without = found.amount or 0.0, found.without_cache or 0.0
    if as_json:
        parts = {name: round_usd(value) for name, value in found.parts.items()}
        answer = {
            "amount": round_usd(total),
            "currency": "USD",
            "parts": parts,
            "without_cache": round_usd(without),
            "saved": round_usd(without - total),
            "price": shown,
            "unknown": None,
        }
        typer.echo(json.dumps(answer))
        return
    above = f", above {shown['above']:,} tokens" if shown["above"] is not None else ""
    print_columns(
        [
            *((name, f"{format_usd(value)} USD") for name, value in found.parts.items() if value),
            ("amount", f"{format_usd(total)} USD"),
            ("without cache", f"{format_usd(without)} USD"),
            ("saved", f"{format_usd(without - total)} USD"),
            ("price", f"{shown['provider']} {shown['model']}, {shown['tier']}{above}"),
            *(
                (name, f"at the price of {other}: the list has none of its own")
                for name, other in shown["priced_as"].items()
            ),
            ("source", f"{shown['source']} ({shown['date']})"),
        ]
    )


def show_price(
    model: ModelArgument,
    provider: ProviderOption = None,
    at: AtOption = None,
    tier: TierOption = None,
    speed: SpeedOption = None,
    geo: GeoOption = None,
    batch: BatchOption = False,
    as_json: JsonOption = False,
    prices: PriceFileOption = None,
) -> None:
    """The price of a model on a day, with its source."""
    book = load_price_book(prices)
    started = parse_time(at)
    request, facts = build_call(book, model, provider, started, tier, speed, geo, batch)
    plan = book.find_plan(request, facts)
    held = table.period_in_force(plan.periods, started)
    if plan.unknown or held is None or plan.row is None:
        raise report_unknown_cost(
            plan.unknown or ("price" if plan.tier == table.STANDARD_TIER else "tier"),
            as_json,
            book,
            request,
            facts,
        )
    bands = [describe_price(plan, held, start + 1) for start in (-1, *held.band_starts)]
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "provider": request.provider,
                    "tiers": plan.row.tiers(),
                    "bands": bands,
                    "also": plan.row.price_sources,
                }
            )
        )
        return
    for band in bands:
        size = f", above {band['above']:,} input tokens" if band["above"] is not None else ""
        typer.echo(f"{request.provider} {band['model']}, {band['tier']}{size}, in USD:")
        print_columns(
            (f"  {key}", f"{value:<8g} {unit}")
            for group, unit in UNIT_NAMES.items()
            for key, value in band[group].items()
        )
    rates = held.rates_by_band[0]
    since = f", in force since {rates.valid_from}" if rates.valid_from else ""
    typer.echo(
        f"Source: {rates.source} ({rates.date}){since}. Tiers: {', '.join(plan.row.tiers())}."
    )
    for name, source in plan.row.price_sources.items():
        typer.echo(f"{name}: {source}.")


def build_tables(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 where the table is stale.")
    ] = False,
    date: Annotated[
        str | None, typer.Option(help="The day of a new version of the list; today by default.")
    ] = None,
    folder: Annotated[str, typer.Option(help="Where the table stands.")] = table.DATA_DIR,
) -> None:
    """Compile the price table from genai-prices and our own rows, and show what changed."""
    from promptcache.prices.build import compile as compiler

    try:
        made = compiler.compile_tables(folder, date)
    except ImportError:
        typer.echo('Building needs genai-prices: pip install "promptcache[prices]"', err=True)
        raise typer.Exit(ExitCode.USAGE) from None
    changed = 0
    for vendor, lines in sorted(made.items()):
        before = compiler.read_lines(os.path.join(folder, f"{vendor}.jsonl"))
        for line in difflib.unified_diff(
            before, lines, f"{vendor} before", f"{vendor} now", "", "", 0, ""
        ):
            typer.echo(line)
        changed += before != lines
    if not check:
        compiler.write_tables(made, folder)
    typer.echo(f"{changed} of {len(made)} lists changed.", err=True)
    if check and changed:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    group = typer.Typer(no_args_is_help=True, help="The prices that costs are computed from.")
    group.command(
        "show", epilog=exit_code_help(ExitCode.OK, ExitCode.USAGE, ExitCode.UNKNOWN_COST)
    )(show_price)
    group.command("build")(build_tables)
    app.add_typer(group, name="prices")
    app.command("cost", epilog=exit_code_help(ExitCode.OK, ExitCode.USAGE, ExitCode.UNKNOWN_COST))(
        cost
    )
    app.command(
        "breakeven", epilog=exit_code_help(ExitCode.OK, ExitCode.USAGE, ExitCode.UNKNOWN_COST)
    )(show_breakeven)
