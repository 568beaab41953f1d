"""The commands `prices show`, `prices build`, `cost` and `breakeven`: the price book on the command line."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import typer

from promptcache.exits import Exit, described
from promptcache.model import Cost, Usage
from promptcache.prices import table
from promptcache.prices.algebra import Rates
from promptcache.prices.book import Plan
from promptcache.prices.table import Period
from promptcache.prices_command.asked import (
    At,
    Batch,
    File,
    Geo,
    Json,
    Model,
    Provider,
    Speed,
    Tier,
    asked,
    moment,
    opened,
    unknown,
)
from promptcache.prices_command.breakeven import breaks_even

Count = Annotated[int, typer.Option(min=0, help="Tokens.")]
Beside = Annotated[int, typer.Option(min=0, help="Tokens, beside those of text.")]


def amount(value: float | None) -> float | None:
    """USD without the noise that binary arithmetic leaves behind the last digit."""
    return None if value is None else round(value, 15)


UNITS: Final = {
    "usd_per_million": "per million tokens",
    "usd_per_million_token_hours": "per million token-hours",
    "usd_per_thousand_uses": "per 1,000 uses",
}
"""A key of the JSON -> what its prices are for."""


def as_printed(rates: Rates) -> dict[str, dict[str, float]]:
    """Rates as price lists print them, by the key of UNITS that says what they are for."""
    plain = {"input": rates.input, "read": rates.read, "output": rates.output}
    tokens = (
        plain | {f"write.{ttl}": value for ttl, value in rates.writes.items()} | dict(rates.modal)
    )
    uses = {f"tools.{name}": value for name, value in rates.tools.items()}
    groups: tuple[tuple[Mapping[str, float | None], float], ...] = (
        (tokens, 1e6),
        ({"storage": rates.storage}, 1e6),
        (uses, 1e3),
    )
    return {
        unit: {key: round(value * size, 9) for key, value in group.items() if value is not None}
        for unit, (group, size) in zip(UNITS, groups, strict=True)
    }


def price(plan: Plan, found: Period, tokens: int) -> dict[str, Any]:
    """Where a price comes from, as the JSON says it."""
    rates = found.at(tokens)
    return {
        "model": plan.row.id if plan.row else None,
        "tier": plan.tier,
        "source": rates.source,
        "date": rates.date,
        "since": rates.since,
        "above": max((start for start in found.bands if tokens > start), default=None),
        **as_printed(rates),
    }


def aligned(rows: Iterable[tuple[str, str]]) -> None:
    """Prints name and figure in two columns."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        typer.echo(f"{name:<{width}}  {text}")


def money(value: float) -> str:
    """USD with every digit that counts, at least two of them after the point."""
    whole, _, part = f"{value:.15f}".rstrip("0").partition(".")
    return f"{whole}.{part:<02}"


def cost(
    model: Annotated[str, typer.Option(help="The model, by any of its names.")],
    provider: Provider = None,
    at: At = None,
    uncached: Count = 0,
    read: Count = 0,
    write_5m: Annotated[int, typer.Option("--write-5m", min=0, help="Tokens.")] = 0,
    write_30m: Annotated[int, typer.Option("--write-30m", min=0, help="Tokens.")] = 0,
    write_1h: Annotated[int, typer.Option("--write-1h", min=0, help="Tokens.")] = 0,
    write_12h: Annotated[int, typer.Option("--write-12h", min=0, help="Tokens.")] = 0,
    output: Annotated[int, typer.Option(min=0, help="Tokens, reasoning included.")] = 0,
    audio_input: Beside = 0,
    audio_read: Beside = 0,
    audio_output: Beside = 0,
    tier: Tier = None,
    speed: Speed = None,
    geo: Geo = None,
    batch: Batch = False,
    as_json: Json = False,
    prices: File = None,
) -> None:
    """What a call with these token counts costs, and what it would cost without a cache."""
    book = opened(prices)
    started = moment(at)
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
        modalities=modal,
    )
    if not (usage.input or usage.output):
        raise typer.BadParameter(
            "a cost is one of tokens: give at least one count", param_hint="--uncached, --output"
        )
    request, facts = asked(book, model, provider, started, tier, speed, geo, batch)
    found = book.cost(request, facts, usage)
    if found.amount is None:
        raise unknown(found.unknown or "price", as_json, book, request, facts)
    plan = book.plan(request, facts)
    held = table.in_force(plan.periods, started)
    show_cost(found, billed(request.provider, plan, held, usage) if held else {}, as_json)


def billed(provider: str, plan: Plan, held: Period, usage: Usage) -> dict[str, Any]:
    """The price of a call; `priced_as` names the class that lends its price to a modality without its own."""
    own = held.at(usage.input).modal
    lent = {name: name.partition(".")[2] for name in usage.modalities if name not in own}
    return {"provider": provider, **price(plan, held, usage.input), "priced_as": lent}


def show_cost(found: Cost, shown: Mapping[str, Any], as_json: bool) -> None:
    """Prints a cost that is known."""
    total, without = found.amount or 0.0, found.without_cache or 0.0
    if as_json:
        parts = {name: amount(value) for name, value in found.parts.items()}
        answer = {
            "amount": amount(total),
            "currency": "USD",
            "parts": parts,
            "without_cache": amount(without),
            "saved": amount(without - total),
            "price": shown,
            "unknown": None,
        }
        typer.echo(json.dumps(answer))
        return
    above = f", above {shown['above']:,} tokens" if shown["above"] is not None else ""
    aligned(
        [
            *((name, f"{money(value)} USD") for name, value in found.parts.items() if value),
            ("amount", f"{money(total)} USD"),
            ("without cache", f"{money(without)} USD"),
            ("saved", f"{money(without - total)} USD"),
            ("price", f"{shown['provider']} {shown['model']}, {shown['tier']}{above}"),
            *(
                (name, f"at the price of {other}: the list has none of its own")
                for name, other in shown["priced_as"].items()
            ),
            ("source", f"{shown['source']} ({shown['date']})"),
        ]
    )


def show(
    model: Model,
    provider: Provider = None,
    at: At = None,
    tier: Tier = None,
    speed: Speed = None,
    geo: Geo = None,
    batch: Batch = False,
    as_json: Json = False,
    prices: File = None,
) -> None:
    """The price of a model on a day, with its source."""
    book = opened(prices)
    started = moment(at)
    request, facts = asked(book, model, provider, started, tier, speed, geo, batch)
    plan = book.plan(request, facts)
    held = table.in_force(plan.periods, started)
    if plan.unknown or held is None or plan.row is None:
        raise unknown(
            plan.unknown or ("price" if plan.tier == table.STANDARD else "tier"),
            as_json,
            book,
            request,
            facts,
        )
    bands = [price(plan, held, start + 1) for start in (-1, *held.bands)]
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "provider": request.provider,
                    "tiers": plan.row.tiers(),
                    "bands": bands,
                    "also": plan.row.also,
                }
            )
        )
        return
    for band in bands:
        size = f", above {band['above']:,} input tokens" if band["above"] is not None else ""
        typer.echo(f"{request.provider} {band['model']}, {band['tier']}{size}, in USD:")
        aligned(
            (f"  {key}", f"{value:<8g} {unit}")
            for group, unit in UNITS.items()
            for key, value in band[group].items()
        )
    rates = held.rates[0]
    since = f", in force since {rates.since}" if rates.since else ""
    typer.echo(
        f"Source: {rates.source} ({rates.date}){since}. Tiers: {', '.join(plan.row.tiers())}."
    )
    for name, source in plan.row.also.items():
        typer.echo(f"{name}: {source}.")


def build(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 where the table is stale.")
    ] = False,
    date: Annotated[
        str | None, typer.Option(help="The day of a new version of the list; today by default.")
    ] = None,
    folder: Annotated[str, typer.Option(help="Where the table stands.")] = table.FOLDER,
) -> None:
    """Compile the price table from genai-prices and our own rows, and show what changed."""
    from promptcache.prices import build as compiler

    try:
        made = compiler.build(folder, date)
    except ImportError:
        typer.echo('Building needs genai-prices: pip install "promptcache[prices]"', err=True)
        raise typer.Exit(Exit.USAGE) from None
    changed = 0
    for vendor, lines in sorted(made.items()):
        before = compiler.read(os.path.join(folder, f"{vendor}.jsonl"))
        for line in difflib.unified_diff(
            before, lines, f"{vendor} before", f"{vendor} now", "", "", 0, ""
        ):
            typer.echo(line)
        changed += before != lines
    if not check:
        compiler.write(made, folder)
    typer.echo(f"{changed} of {len(made)} lists changed.", err=True)
    if check and changed:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    group = typer.Typer(no_args_is_help=True, help="The prices that costs are computed from.")
    group.command("show", epilog=described(Exit.OK, Exit.USAGE, Exit.UNKNOWN_COST))(show)
    group.command("build")(build)
    app.add_typer(group, name="prices")
    app.command("cost", epilog=described(Exit.OK, Exit.USAGE, Exit.UNKNOWN_COST))(cost)
    app.command("breakeven", epilog=described(Exit.OK, Exit.USAGE, Exit.UNKNOWN_COST))(breaks_even)
