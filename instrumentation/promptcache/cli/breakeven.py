"""The command `breakeven`: when a cache write pays, and which way of caching is the cheapest."""

from __future__ import annotations

import json
import math
from typing import Annotated, Final

import typer

from promptcache.cli.price_options import (
    AtOption,
    JsonOption,
    ModelArgument,
    PriceFileOption,
    ProviderOption,
    TierOption,
    build_call,
    load_price_book,
    parse_time,
    report_unknown_cost,
)
from promptcache.prices import breakeven, table
from promptcache.prices.algebra import Rates
from promptcache.prices.breakeven import CachingOption

AUTOMATIC_NOTE: Final = "Caching is automatic and writing is free: nothing to decide."
IMPLICIT_ONLY_NOTE: Final = "Implicit caching is automatic and free; the list has no price for keeping a stored cache, which is not weighed."
IMPLICIT_HITS_NOTE: Final = (
    "Hits of the implicit cache, which are free to have but not promised, are not counted."
)


def require_finite(value: float) -> float:
    """A request rate that can be reckoned with."""
    if not math.isfinite(value):
        raise typer.BadParameter("a finite number, please")
    return value


def format_hit_rate(hits: float) -> str:
    """A hit rate in per cent; only certainty reads as 100."""
    return f"{min(round(hits, 4), 1.0 if hits == 1 else 0.9999):.2%}"


def show_breakeven(
    model: ModelArgument,
    provider: ProviderOption = None,
    per_hour: Annotated[
        float,
        typer.Option(
            min=0.0, callback=require_finite, help="Requests an hour that share the prefix."
        ),
    ] = 12.0,
    steady: Annotated[
        bool, typer.Option("--steady", help="Evenly spaced requests instead of independent ones.")
    ] = False,
    at: AtOption = None,
    tier: TierOption = None,
    as_json: JsonOption = False,
    prices: PriceFileOption = None,
) -> None:
    """After how many requests a cache write pays, and which way of caching is the cheapest for a request rate."""
    book = load_price_book(prices)
    started = parse_time(at)
    request, facts = build_call(book, model, provider, started, tier)
    plan = book.find_plan(request, facts)
    held = table.period_in_force(plan.periods, started)
    rates = held.rates_by_band[0] if held else None
    if plan.unknown or rates is None or rates.input_price is None or rates.cache_read_price is None:
        raise report_unknown_cost(plan.unknown or "price", as_json, book, request, facts)
    found = breakeven.compare_caching_options(rates, per_hour, steady=steady)
    note = IMPLICIT_ONLY_NOTE if request.provider.startswith("gcp.") else AUTOMATIC_NOTE
    if as_json:
        print_json(rates, found, per_hour, note)
    else:
        print_text(rates, found, f"{model} at {per_hour:g} requests an hour", note)


def print_json(rates: Rates, found: list[CachingOption], per_hour: float, note: str) -> None:
    """Prints the choices as JSON: none, and `automatic` as the cheapest, where there is nothing to decide."""
    rows = [
        {
            "ttl": one.ttl,
            "hit_rate": one.hit_rate,
            "usd_per_million": round(one.usd_per_token * 1e6, 9),
            "pays_after": one.pays_after,
        }
        for one in found
    ]
    automatic = breakeven.is_caching_automatic(rates)
    p_in, p_read, kept = (
        rates.input_price or 0.0,
        rates.cache_read_price or 0.0,
        rates.storage_price,
    )
    stored = None if kept is None else breakeven.requests_until_storage_pays(p_in, p_read, kept)
    answer = {
        "cheapest": "automatic" if automatic else found[0].ttl,
        "per_hour": per_hour,
        "choices": [] if automatic else rows,
        "stored_pays_from_per_hour": stored,
        "note": note if automatic else None,
    }
    typer.echo(json.dumps(answer))


def print_text(rates: Rates, found: list[CachingOption], title: str, note: str) -> None:
    """Prints the choices, or that there are none to make."""
    fresh, read = (rates.input_price or 0.0) * 1e6, (rates.cache_read_price or 0.0) * 1e6
    if breakeven.is_caching_automatic(rates):
        typer.echo(f"{note} A hit costs {read:g} USD per million tokens instead of {fresh:g}.")
        return
    typer.echo(f"{title}, USD per million prefix tokens and request:")
    for one in found:
        within = "the hour" if one.ttl == "stored" else "the TTL"
        pays = f", pays from {one.pays_after} requests within {within}" if one.pays_after else ""
        typer.echo(
            f"  {one.ttl:<6} {one.usd_per_token * 1e6:9.4f}  hit rate {format_hit_rate(one.hit_rate):>7}{pays}"
        )
    typer.echo(f"Cheapest: {found[0].ttl}.")
    if rates.storage_price is not None:
        typer.echo(IMPLICIT_HITS_NOTE)
