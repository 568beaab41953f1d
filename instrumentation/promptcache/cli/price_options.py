"""What the price commands have in common: their options, the book they ask, and how they say that a cost is unknown."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from promptcache.cli.exit_codes import ExitCode
from promptcache.model import Request, ResponseFacts
from promptcache.prices import PriceBook, table
from promptcache.prices import model_names as names
from promptcache.providers.registry import PROVIDERS
from promptcache.settings import OTEL_PROMPTCACHE_PRICES

GUESSED_PROVIDERS: Final = tuple(row.name for row in PROVIDERS if row.is_guessed_by_model)
"""The providers whose price lists are searched, in this order, if the user names no provider."""

UNKNOWN_COST_TEXTS: Final[Mapping[str, str]] = {
    "model": "no price list names this model; give --provider, or a price file with an alias or the model itself",
    "price": "the list has no price for some of these tokens",
    "usage": "the counts do not say what was billed",
    "tier": "the list has no price for this tier, speed, place or day",
}

ModelArgument = Annotated[str, typer.Argument(help="The model, by any of its names.")]
ProviderOption = Annotated[
    str | None, typer.Option(help="openai, anthropic, aws.bedrock ...; guessed where not given.")
]
AtOption = Annotated[
    str | None, typer.Option(help="Day or moment of the call, UTC: 2026-11-20 or 2026-11-20T09:30.")
]
TierOption = Annotated[
    str | None, typer.Option(help="Service tier as the response names it: flex, priority ...")
]
SpeedOption = Annotated[str | None, typer.Option(help="Anthropic: standard or fast.")]
GeoOption = Annotated[str | None, typer.Option(help="Place of inference: us, regional ...")]
BatchOption = Annotated[bool, typer.Option("--batch", help="A result of a batch.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PriceFileOption = Annotated[
    str | None,
    typer.Option(
        "--prices", help=f"A price file; that of {OTEL_PROMPTCACHE_PRICES} where not given."
    ),
]


def load_price_book(path: str | None) -> PriceBook:
    """The book of a price file: a broken one named on the command line ends the command, one of the environment is
    said on stderr and, as in an application, leaves the built-in prices in force."""
    from promptcache.prices.user_prices import PriceFileError, load_user_prices

    named = path if path is not None else os.environ.get(OTEL_PROMPTCACHE_PRICES)
    if path is None and not named:
        return PriceBook()
    try:
        return PriceBook(load_user_prices(named or ""))
    except PriceFileError as error:
        typer.echo(str(error), err=True)
        if path is not None:
            raise typer.Exit(ExitCode.USAGE) from None
        typer.echo(
            f"{OTEL_PROMPTCACHE_PRICES} is not used: built-in prices stay in force.", err=True
        )
        return PriceBook()


def parse_time(at: str | None) -> float:
    """Epoch seconds of an ISO day or moment (UTC unless it says otherwise), now where there is none."""
    if at is None:
        return datetime.now(UTC).timestamp()
    try:
        found = datetime.fromisoformat(at)
    except ValueError:
        raise typer.BadParameter(
            f"{at!r} is no day or moment such as 2026-11-20T09:30", param_hint="--at"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def guess_provider(book: PriceBook, model: str) -> str:
    """The first provider whose own list names the model."""
    return next((name for name in GUESSED_PROVIDERS if book.find_row(name, (model,))), "")


def build_call(
    book: PriceBook,
    model: str,
    provider: str | None,
    at: float,
    tier: str | None = None,
    speed: str | None = None,
    geo: str | None = None,
    batch: bool = False,
) -> tuple[Request, ResponseFacts]:
    """A call as the command line describes it."""
    owner = provider or guess_provider(book, model)
    request = Request("", owner, "chat", model, None, None, False, {}, b"", at)
    return request, ResponseFacts(
        model=model, service_tier=tier, speed=speed, inference_geo=geo, is_batch=batch
    )


def explain_unknown(reason: str, book: PriceBook, request: Request, facts: ResponseFacts) -> str:
    """What the list lacks: the provider, or which of the asked options, and what it has instead."""
    vendors = names.vendors_of_provider(request.provider) if request.provider else ()
    if (
        reason == "model"
        and vendors
        and not any(table.read_vendor_file(vendor) for vendor in vendors)
    ):
        return f"there is no price list of the provider {request.provider!r}"
    row = book.find_plan(request, facts).row
    if reason != "tier" or row is None:
        return UNKNOWN_COST_TEXTS[reason]
    asked_for = {
        "tier": facts.service_tier,
        "speed": facts.speed,
        "geo": facts.inference_geo,
        "batch": facts.is_batch,
    }
    given = {option: value for option, value in asked_for.items() if value}
    refused = [
        option for option, value in given.items() if not is_priced(book, request, option, value)
    ]
    named = [f"--{one}" + ("" if one == "batch" else f" {given[one]}") for one in refused or given]
    together = "" if refused else " together"
    places = f"; places {', '.join(row.uplift)}" if row.uplift else ""
    return f"no price for {', '.join(named)}{together}; {row.id} has the tiers {', '.join(row.tiers())}{places}"


_FACT_OF_OPTION: Final = {
    "tier": "service_tier",
    "speed": "speed",
    "geo": "inference_geo",
    "batch": "is_batch",
}
"""The field of `ResponseFacts` that each option fills."""


def is_priced(book: PriceBook, request: Request, option: str, value: str | bool) -> bool:
    """Whether one option by itself has a price on the day of the call."""
    alone = ResponseFacts(model=request.model, **{_FACT_OF_OPTION[option]: value})  # type: ignore[arg-type]  # the fields have several types
    return (
        table.period_in_force(book.find_plan(request, alone).periods, request.started_at)
        is not None
    )


def report_unknown_cost(
    reason: str, as_json: bool, book: PriceBook, request: Request, facts: ResponseFacts
) -> typer.Exit:
    """Says why there is no price, and gives the exit that says the same."""
    text = explain_unknown(reason, book, request, facts)
    if as_json:
        typer.echo(json.dumps({"amount": None, "unknown": reason, "reason": text}))
    else:
        typer.echo(f"Cost unknown ({reason}): {text}.", err=True)
    return typer.Exit(ExitCode.UNKNOWN_COST)
