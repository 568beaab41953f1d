"""What the price commands have in common: their options, the book they ask, and how they say that a cost is unknown."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from promptcache.exits import Exit
from promptcache.model import Facts, Request
from promptcache.prices import Book, names, table
from promptcache.settings import OTEL_PROMPTCACHE_PRICES

GUESSES: Final = (
    "anthropic",
    "openai",
    "gcp.gemini",
    "aws.bedrock",
    "deepseek",
    "x_ai",
    "mistral_ai",
    "moonshot_ai",
    "groq",
    "openrouter",
)
"""Whose lists to look through, in this order, where no provider is named."""

WHY: Final[Mapping[str, str]] = {
    "model": "no price list names this model; give --provider, or a price file with an alias or the model itself",
    "price": "the list has no price for some of these tokens",
    "usage": "the counts do not say what was billed",
    "tier": "the list has no price for this tier, speed, place or day",
}

Model = Annotated[str, typer.Argument(help="The model, by any of its names.")]
Provider = Annotated[
    str | None, typer.Option(help="openai, anthropic, aws.bedrock ...; guessed where not given.")
]
At = Annotated[
    str | None, typer.Option(help="Day or moment of the call, UTC: 2026-11-20 or 2026-11-20T09:30.")
]
Tier = Annotated[
    str | None, typer.Option(help="Service tier as the response names it: flex, priority ...")
]
Speed = Annotated[str | None, typer.Option(help="Anthropic: standard or fast.")]
Geo = Annotated[str | None, typer.Option(help="Place of inference: us, regional ...")]
Batch = Annotated[bool, typer.Option("--batch", help="A result of a batch.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
File = Annotated[
    str | None,
    typer.Option(
        "--prices", help=f"A price file; that of {OTEL_PROMPTCACHE_PRICES} where not given."
    ),
]


def opened(path: str | None) -> Book:
    """The book of a price file: a broken one named on the command line ends the command, one of the environment is
    said on stderr and, as in an application, leaves the built-in prices in force."""
    from promptcache.prices.userfile import PriceFileError, load

    named = path if path is not None else os.environ.get(OTEL_PROMPTCACHE_PRICES)
    if path is None and not named:
        return Book()
    try:
        return Book(load(named or ""))
    except PriceFileError as error:
        typer.echo(str(error), err=True)
        if path is not None:
            raise typer.Exit(Exit.USAGE) from None
        typer.echo(
            f"{OTEL_PROMPTCACHE_PRICES} is not used: built-in prices stay in force.", err=True
        )
        return Book()


def moment(at: str | None) -> float:
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


def guess(book: Book, model: str) -> str:
    """The first provider whose own list names the model."""
    return next((name for name in GUESSES if book.find(name, (model,))), "")


def asked(
    book: Book,
    model: str,
    provider: str | None,
    at: float,
    tier: str | None = None,
    speed: str | None = None,
    geo: str | None = None,
    batch: bool = False,
) -> tuple[Request, Facts]:
    """A call as the command line describes it."""
    owner = provider or guess(book, model)
    request = Request("", owner, "chat", model, None, None, False, {}, b"", at)
    return request, Facts(model=model, tier=tier, speed=speed, geo=geo, batch=batch)


def why(reason: str, book: Book, request: Request, facts: Facts) -> str:
    """What the list lacks: the provider, or which of the asked options, and what it has instead."""
    vendors = names.vendors(request.provider) if request.provider else ()
    if reason == "model" and vendors and not any(table.text(vendor) for vendor in vendors):
        return f"there is no price list of the provider {request.provider!r}"
    row = book.plan(request, facts).row
    if reason != "tier" or row is None:
        return WHY[reason]
    asked_for = {"tier": facts.tier, "speed": facts.speed, "geo": facts.geo, "batch": facts.batch}
    given = {option: value for option, value in asked_for.items() if value}
    refused = [
        option for option, value in given.items() if not priced(book, request, option, value)
    ]
    named = [f"--{one}" + ("" if one == "batch" else f" {given[one]}") for one in refused or given]
    together = "" if refused else " together"
    places = f"; places {', '.join(row.uplift)}" if row.uplift else ""
    return f"no price for {', '.join(named)}{together}; {row.id} has the tiers {', '.join(row.tiers())}{places}"


def priced(book: Book, request: Request, option: str, value: str | bool) -> bool:
    """Whether one option by itself has a price on the day of the call."""
    alone = Facts(model=request.model, **{option: value})  # type: ignore[arg-type]  # the fields have several types
    return table.in_force(book.plan(request, alone).periods, request.started) is not None


def unknown(reason: str, as_json: bool, book: Book, request: Request, facts: Facts) -> typer.Exit:
    """Says why there is no price, and gives the exit that says the same."""
    text = why(reason, book, request, facts)
    if as_json:
        typer.echo(json.dumps({"amount": None, "unknown": reason, "reason": text}))
    else:
        typer.echo(f"Cost unknown ({reason}): {text}.", err=True)
    return typer.Exit(Exit.UNKNOWN_COST)
