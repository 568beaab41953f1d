"""The command `breakeven`: when a cache write pays, and which way of caching is the cheapest."""

from __future__ import annotations

import json
import math
from typing import Annotated, Final

import typer

from promptcache.prices import breakeven, table
from promptcache.prices.algebra import Rates
from promptcache.prices.breakeven import Choice
from promptcache.prices_command.asked import (
    At,
    File,
    Json,
    Model,
    Provider,
    Tier,
    asked,
    moment,
    opened,
    unknown,
)

FREE: Final = "Caching is automatic and writing is free: nothing to decide."
KEPT: Final = "Implicit caching is automatic and free; the list has no price for keeping a stored cache, which is not weighed."
IMPLICIT: Final = (
    "Hits of the implicit cache, which are free to have but not promised, are not counted."
)


def finite(value: float) -> float:
    """A request rate that can be reckoned with."""
    if not math.isfinite(value):
        raise typer.BadParameter("a finite number, please")
    return value


def share(hits: float) -> str:
    """A hit rate in per cent; only certainty reads as 100."""
    return f"{min(round(hits, 4), 1.0 if hits == 1 else 0.9999):.2%}"


def breaks_even(
    model: Model,
    provider: Provider = None,
    per_hour: Annotated[
        float,
        typer.Option(min=0.0, callback=finite, help="Requests an hour that share the prefix."),
    ] = 12.0,
    steady: Annotated[
        bool, typer.Option("--steady", help="Evenly spaced requests instead of independent ones.")
    ] = False,
    at: At = None,
    tier: Tier = None,
    as_json: Json = False,
    prices: File = None,
) -> None:
    """After how many requests a cache write pays, and which way of caching is the cheapest for a request rate."""
    book = opened(prices)
    started = moment(at)
    request, facts = asked(book, model, provider, started, tier)
    plan = book.plan(request, facts)
    held = table.in_force(plan.periods, started)
    rates = held.rates[0] if held else None
    if plan.unknown or rates is None or rates.input is None or rates.read is None:
        raise unknown(plan.unknown or "price", as_json, book, request, facts)
    found = breakeven.choices(rates, per_hour, steady=steady)
    note = KEPT if request.provider.startswith("gcp.") else FREE
    if as_json:
        in_json(rates, found, per_hour, note)
    else:
        in_words(rates, found, f"{model} at {per_hour:g} requests an hour", note)


def in_json(rates: Rates, found: list[Choice], per_hour: float, note: str) -> None:
    """Prints the choices as JSON: none, and `automatic` as the cheapest, where there is nothing to decide."""
    rows = [
        {
            "ttl": one.ttl,
            "hit_rate": one.hits,
            "usd_per_million": round(one.cost * 1e6, 9),
            "pays_after": one.pays_after,
        }
        for one in found
    ]
    automatic = breakeven.automatic(rates)
    p_in, p_read, kept = rates.input or 0.0, rates.read or 0.0, rates.storage
    stored = None if kept is None else breakeven.storage_pays(p_in, p_read, kept)
    answer = {
        "cheapest": "automatic" if automatic else found[0].ttl,
        "per_hour": per_hour,
        "choices": [] if automatic else rows,
        "stored_pays_from_per_hour": stored,
        "note": note if automatic else None,
    }
    typer.echo(json.dumps(answer))


def in_words(rates: Rates, found: list[Choice], title: str, note: str) -> None:
    """Prints the choices, or that there are none to make."""
    fresh, read = (rates.input or 0.0) * 1e6, (rates.read or 0.0) * 1e6
    if breakeven.automatic(rates):
        typer.echo(f"{note} A hit costs {read:g} USD per million tokens instead of {fresh:g}.")
        return
    typer.echo(f"{title}, USD per million prefix tokens and request:")
    for one in found:
        within = "the hour" if one.ttl == "stored" else "the TTL"
        pays = f", pays from {one.pays_after} requests within {within}" if one.pays_after else ""
        typer.echo(f"  {one.ttl:<6} {one.cost * 1e6:9.4f}  hit rate {share(one.hits):>7}{pays}")
    typer.echo(f"Cheapest: {found[0].ttl}.")
    if rates.storage is not None:
        typer.echo(IMPLICIT)
