"""Explain why a call has no price, and which options would have one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import typer

from promptcache.cli.close_names import suggest_names
from promptcache.cli.exit_codes import ExitCode
from promptcache.cli.price_options import GUESSED_PROVIDERS
from promptcache.model import Request, ResponseFacts
from promptcache.prices import PriceBook, table
from promptcache.prices.model_names import price_lists_of_provider
from promptcache.providers.registry import PROVIDERS_BY_NAME

UNKNOWN_COST_TEXTS: Final[Mapping[str, str]] = {
    "model": "no price list has this model; give --provider, or a price file with an alias or "
    "with the model itself",
    "price": "the list has no price for some of these tokens",
    "usage": "the token counts do not determine the bill",
    "tier": "the list has no price for this tier, speed, region or day",
}

_FIELD_OF_OPTION: Final = {
    "tier": "service_tier",
    "speed": "speed",
    "geo": "inference_geo",
    "batch": "is_batch",
}
"""The field of ResponseFacts that each option fills."""


def report_unknown_cost(
    reason: str, as_json: bool, book: PriceBook, request: Request, facts: ResponseFacts
) -> typer.Exit:
    """Print why there is no price, and return the exception that ends the command."""
    text = explain_unknown_cost(reason, book, request, facts)
    if as_json:
        typer.echo(json.dumps({"amount": None, "unknown": reason, "reason": text}))
    else:
        typer.echo(f"Cost unknown ({reason}): {text}.", err=True)
    return typer.Exit(ExitCode.UNKNOWN_COST)


def explain_unknown_cost(
    reason: str, book: PriceBook, request: Request, facts: ResponseFacts
) -> str:
    """Return what the price lists lack: the provider, the model, or the price of some options."""
    if reason == "model" and (text := _explain_unknown_name(request)):
        return text
    row = book.find_plan(request, facts).row
    if reason != "tier" or row is None:
        return UNKNOWN_COST_TEXTS[reason]
    values = {option: getattr(facts, field) for option, field in _FIELD_OF_OPTION.items()}
    given: dict[str, Any] = {option: value for option, value in values.items() if value}
    without_price = [
        one for one in given if not _has_price_with_option(book, request, one, given[one])
    ]
    names = ", ".join(
        f"--{one}" if one == "batch" else f"--{one} {given[one]}" for one in without_price or given
    )
    together = "" if without_price else " together"
    regions = f"; regions {', '.join(row.uplift)}" if row.uplift else ""
    return (
        f"no price for {names}{together}; {row.id} has the tiers {', '.join(row.tiers())}{regions}"
    )


def _explain_unknown_name(request: Request) -> str:
    """Return what is wrong with the name of the provider or of the model, and close names."""
    vendors = price_lists_of_provider(request.provider) if request.provider else ()
    if request.provider and not any(map(table.read_price_list_text, vendors)):
        is_known = request.provider in PROVIDERS_BY_NAME
        guess = "" if is_known else suggest_names(request.provider, PROVIDERS_BY_NAME)
        return f"there is no price list of the provider {request.provider!r}{guess}"
    names = [request.provider] if request.provider else GUESSED_PROVIDERS
    searched = dict.fromkeys(one for name in names for one in price_lists_of_provider(name))
    models = [model for vendor in searched for model in table.list_model_names(vendor)]
    guess = suggest_names(request.model or "", models)
    return UNKNOWN_COST_TEXTS["model"] + guess if guess else ""


def _has_price_with_option(book: PriceBook, request: Request, option: str, value: object) -> bool:
    """Return whether an option alone has a price on the day of the call."""
    fields: dict[str, Any] = {_FIELD_OF_OPTION[option]: value}
    plan = book.find_plan(request, ResponseFacts(model=request.model, **fields))
    return table.latest_period_in_force(plan.periods, request.started_at) is not None
