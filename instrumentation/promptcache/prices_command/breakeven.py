"""The command `breakeven`: when a cache write pays, and which way of caching is the cheapest."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ..prices import breakeven, table
from .asked import At, File, Json, Model, Provider, Tier, asked, moment, opened, unknown


def breaks_even(
    model: Model,
    provider: Provider = None,
    per_hour: Annotated[float, typer.Option(min=0.0, help="Requests an hour that share the prefix.")] = 12.0,
    steady: Annotated[
        bool, typer.Option("--steady", help="Evenly spaced requests instead of independent ones.")
    ] = False,
    at: At = None,
    tier: Tier = None,
    as_json: Json = False,
    prices: File = None,
) -> None:
    """After how many requests a cache write pays, and which TTL is the cheapest for a request rate."""
    book = opened(prices)
    started = moment(at)
    request, facts = asked(book, model, provider, started, tier)
    plan = book.plan(request, facts)
    held = table.in_force(plan.periods, started)
    rates = held.rates[0] if held else None
    if plan.unknown or rates is None or rates.input is None or rates.read is None:
        raise unknown(plan.unknown or "price", as_json)
    found = breakeven.choices(rates, per_hour, steady=steady)
    stored = breakeven.storage_pays(rates.input, rates.read, rates.storage) if rates.storage is not None else None
    if as_json:
        rows = [{"ttl": one.ttl, "hit_rate": one.hits, "usd_per_million": round(one.cost * 1e6, 9),
                 "pays_after": one.pays_after} for one in found]  # fmt: skip
        answer = {"cheapest": found[0].ttl, "per_hour": per_hour, "choices": rows, "stored_pays_from_per_hour": stored}
        typer.echo(json.dumps(answer))
        return
    typer.echo(f"{model} at {per_hour:g} requests an hour, USD per million prefix tokens and request:")
    for one in found:
        pays = f", a write pays from {one.pays_after} requests within the TTL" if one.pays_after else ""
        typer.echo(f"  {one.ttl:<5} {one.cost * 1e6:9.4f}  hit rate {one.hits:4.0%}{pays}")
    typer.echo(f"Cheapest: {found[0].ttl}.")
    if stored is not None:
        typer.echo(f"A stored cache of one hour pays from {stored} requests within it.")
