"""The command `promptcache breakeven`: when a cache write pays, and which TTL is the cheapest."""

from __future__ import annotations

import json
import math
from typing import Annotated, Final

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from promptcache.cli.console import make_stdout_console
from promptcache.cli.exit_codes import ExitCode, exit_code_help
from promptcache.cli.json_option import JsonOption
from promptcache.cli.price_options import (
    AtOption,
    ModelArgument,
    PriceFileOption,
    ProviderOption,
    TierOption,
    build_request_and_response,
    load_price_book,
    parse_time_option,
)
from promptcache.cli.unknown_cost import report_unknown_cost
from promptcache.prices import breakeven, table
from promptcache.prices.breakeven import CachingOption
from promptcache.prices.rates import Rates

AUTOMATIC_NOTE: Final = "Caching is automatic and writing is free, so there is no TTL to choose."
IMPLICIT_ONLY_NOTE: Final = (
    "Implicit caching is automatic and free. The list has no price for the storage of an explicit "
    "cache, so that option is not compared."
)
IMPLICIT_HITS_NOTE: Final = (
    "Hits of the implicit cache are free but not guaranteed, so they are not counted."
)
EPILOG: Final = "\n\n".join(
    (
        "Examples:",
        "promptcache breakeven claude-sonnet-4-6 --per-hour 12",
        "promptcache breakeven gemini-3.1-pro-preview --per-hour 4 --steady",
        "The words of the table:",
        "none: no caching; stored: an explicit cache of one hour, created anew each hour",
        "hit rate: the share of requests that find the prefix in the cache",
        (
            "pays from: the number of requests within the TTL from which caching is the cheaper "
            "choice, "
            "the writing request included"
        ),
        exit_code_help(ExitCode.OK, ExitCode.USAGE, ExitCode.UNKNOWN_COST),
    )
)

app = typer.Typer(add_completion=False)


def require_finite_number(value: float) -> float:
    """Return a request rate. Raises BadParameter for `inf` and `nan`."""
    if not math.isfinite(value):
        raise typer.BadParameter("give a finite number")
    return value


def format_hit_rate(hit_rate: float) -> str:
    """Format a hit rate in per cent. Only exactly 1 reads 100 %."""
    return f"{min(round(hit_rate, 4), 1.0 if hit_rate == 1 else 0.9999):.2%}"


@app.command("breakeven", epilog=EPILOG)
def show_breakeven(
    model: ModelArgument,
    provider: ProviderOption = None,
    per_hour: Annotated[
        float,
        typer.Option(
            min=0.0, callback=require_finite_number, help="Requests per hour that share the prefix."
        ),
    ] = 12.0,
    steady: Annotated[
        bool,
        typer.Option(
            "--steady", help="The requests are evenly spaced. Default: they arrive at random."
        ),
    ] = False,
    at: AtOption = None,
    tier: TierOption = None,
    as_json: JsonOption = False,
    prices: PriceFileOption = None,
) -> None:
    """Show after how many requests a cache write pays, and which TTL is the cheapest."""
    book = load_price_book(prices)
    started = parse_time_option(at)
    request, facts = build_request_and_response(book, model, provider, started, tier)
    plan = book.find_plan(request, facts)
    period = table.latest_period_in_force(plan.periods, started)
    rates = period.rates_by_band[0] if period else None
    if (
        plan.unknown_reason
        or rates is None
        or rates.input_price is None
        or rates.cache_read_price is None
    ):
        raise report_unknown_cost(plan.unknown_reason or "price", as_json, book, request, facts)
    options = breakeven.compare_caching_options(rates, per_hour, steady=steady)
    note = IMPLICIT_ONLY_NOTE if request.provider.startswith("gcp.") else AUTOMATIC_NOTE
    if as_json:
        print_breakeven_as_json(rates, options, per_hour, note)
    else:
        print_breakeven_as_text(rates, options, f"{model} at {per_hour:g} requests per hour", note)


def print_breakeven_as_json(
    rates: Rates, options: list[CachingOption], per_hour: float, note: str
) -> None:
    """Print the options as JSON. If caching is automatic, `cheapest` says so and `choices` is
    empty."""
    is_automatic = breakeven.is_caching_automatic(rates)
    choices = [
        {
            "ttl": option.ttl,
            "hit_rate": option.hit_rate,
            "usd_per_million": round(option.usd_per_token * 1e6, 9),
            "pays_after": option.pays_after,
        }
        for option in options
    ]
    storage_pays = None
    if rates.storage_price is not None:
        storage_pays = breakeven.requests_until_storage_pays(
            rates.input_price or 0.0, rates.cache_read_price or 0.0, rates.storage_price
        )
    answer = {
        "cheapest": "automatic" if is_automatic else options[0].ttl,
        "per_hour": per_hour,
        "choices": [] if is_automatic else choices,
        "stored_pays_from_per_hour": storage_pays,
        "note": note if is_automatic else None,
    }
    typer.echo(json.dumps(answer))


def print_breakeven_as_text(
    rates: Rates, options: list[CachingOption], title: str, note: str
) -> None:
    """Print the options as a table, or that caching is automatic."""
    if breakeven.is_caching_automatic(rates):
        read, uncached_price = (
            (rates.cache_read_price or 0.0) * 1e6,
            (rates.input_price or 0.0) * 1e6,
        )
        typer.echo(
            f"{note} A hit costs {read:g} USD per million tokens instead of {uncached_price:g}."
        )
        return
    typer.echo(f"{title}, in USD per million prefix tokens and request:")
    grid = Table(box=SIMPLE_HEAD, pad_edge=False)
    grid.add_column("TTL")
    for name in ("USD", "hit rate"):
        grid.add_column(name, justify="right")
    grid.add_column("pays from")
    for option in options:
        within = "the hour" if option.ttl == "stored" else "the TTL"
        pays_from = f"{option.pays_after} requests within {within}" if option.pays_after else ""
        usd = f"{option.usd_per_token * 1e6:.4f}"
        grid.add_row(option.ttl, usd, format_hit_rate(option.hit_rate), pays_from)
    make_stdout_console().print(grid)
    typer.echo(f"Cheapest: {options[0].ttl}.")
    if rates.storage_price is not None:
        typer.echo(IMPLICIT_HITS_NOTE)
