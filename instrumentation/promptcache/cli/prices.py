"""The commands `promptcache prices show` and `promptcache prices build`."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from promptcache.cli.console import print_grid
from promptcache.cli.exit_codes import ExitCode, exit_code_help
from promptcache.cli.json_option import JsonOption
from promptcache.cli.price_format import UNIT_NAMES, describe_price
from promptcache.cli.price_options import (
    AtOption,
    BatchOption,
    GeoOption,
    ModelArgument,
    PriceFileOption,
    ProviderOption,
    SpeedOption,
    TierOption,
    build_request_and_response,
    load_price_book,
    parse_time_option,
)
from promptcache.cli.unknown_cost import report_unknown_cost
from promptcache.prices import table
from promptcache.prices.table import PriceRow

app = typer.Typer(
    name="prices",
    add_completion=False,
    no_args_is_help=True,
    help="Show the prices that costs are computed from, and compile the price table.",
)

SHOW_EPILOG = "\n\n".join(
    (
        "Examples:",
        "promptcache prices show claude-sonnet-4-6",
        "promptcache prices show gpt-6-sol --tier flex --at 2026-11-20",
        "promptcache prices show our-model --prices prices.yaml --json",
        exit_code_help(ExitCode.OK, ExitCode.USAGE, ExitCode.UNKNOWN_COST),
    )
)


@app.command("show", epilog=SHOW_EPILOG)
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
    """Show the prices of a model on a day, and the source of each."""
    book = load_price_book(prices)
    started = parse_time_option(at)
    request, facts = build_request_and_response(
        book, model, provider, started, tier, speed, geo, batch
    )
    plan = book.find_plan(request, facts)
    period = table.latest_period_in_force(plan.periods, started)
    if plan.unknown_reason or period is None or plan.row is None:
        missing = "price" if plan.tier == table.STANDARD_TIER else "tier"
        raise report_unknown_cost(plan.unknown_reason or missing, as_json, book, request, facts)
    bands = [describe_price(plan, period, start + 1) for start in (-1, *period.band_starts)]
    if as_json:
        answer = {
            "provider": request.provider,
            "tiers": plan.row.tiers(),
            "bands": bands,
            "also": plan.row.price_sources,
        }
        typer.echo(json.dumps(answer))
    else:
        print_price_bands(request.provider, plan.row, bands)


def print_price_bands(provider: str, row: PriceRow, bands: Sequence[Mapping[str, Any]]) -> None:
    """Print the prices of each context band as a table, then their sources."""
    for band in bands:
        size = f", above {band['above']:,} input tokens" if band["above"] is not None else ""
        typer.echo(f"{provider} {band['model']}, {band['tier']}{size}, in USD:")
        print_grid(
            (
                (name, f"{price:g}", unit)
                for key, unit in UNIT_NAMES.items()
                for name, price in band[key].items()
            ),
            indent=2,
        )
    first = bands[0]
    since = f", in force since {first['since']}" if first["since"] else ""
    tiers = ", ".join(row.tiers())
    typer.echo(f"Source: {first['source']} ({first['date']}){since}. Tiers: {tiers}.")
    for name, source in row.price_sources.items():
        typer.echo(f"{name}: {source}.")


@app.command("build")
def build_price_table_files(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing. Exit with 1 if the table is stale.")
    ] = False,
    date: Annotated[
        str | None,
        typer.Option(help="The date for a new version of genai-prices. Default: today."),
    ] = None,
    folder: Annotated[
        str, typer.Option(help="The folder of the price table.", show_default="in the package")
    ] = table.DATA_DIR,
) -> None:
    """Compile the price table from genai-prices and our overrides, and show the changed lines."""
    from promptcache.prices.build import compile as compiler

    try:
        tables = compiler.compile_price_tables(folder, date)
    except ImportError:
        typer.echo('Building needs genai-prices: pip install "promptcache[prices]"', err=True)
        raise typer.Exit(ExitCode.USAGE) from None
    changed = 0
    for vendor, lines in sorted(tables.items()):
        before = compiler.read_lines_if_exists(os.path.join(folder, f"{vendor}.jsonl"))
        names = f"{vendor} before", f"{vendor} now"
        for line in difflib.unified_diff(before, lines, *names, n=0, lineterm=""):
            typer.echo(line)
        changed += before != lines
    if not check:
        compiler.write_price_tables(tables, folder)
    typer.echo(f"{changed} of {len(tables)} lists changed.", err=True)
    if check and changed:
        raise typer.Exit(1)
