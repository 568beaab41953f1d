"""The options that the price commands share, and how they become a price book and a call."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from promptcache.cli.exit_codes import ExitCode
from promptcache.model import Request, ResponseFacts
from promptcache.prices import PriceBook
from promptcache.providers.registry import PROVIDERS, provider_of_prefix
from promptcache.settings import OTEL_PROMPTCACHE_PRICES

GUESSED_PROVIDERS: Final = tuple(row.name for row in PROVIDERS if row.is_guessed_by_model)
"""The providers whose price lists are searched, in this order, if --provider is not given."""

ModelArgument = Annotated[
    str, typer.Argument(help="The model. A name with a snapshot date is fine: gpt-4o-2024-11-20.")
]
ProviderOption = Annotated[
    str | None,
    typer.Option(
        help="Who bills the call: openai, anthropic, aws.bedrock, azure.ai.openai, ... "
        "Default: the first provider whose price list has the model."
    ),
]
AtOption = Annotated[
    str | None,
    typer.Option(
        help="The day or the time of the call, in UTC: 2026-11-20 or 2026-11-20T09:30. "
        "Default: now."
    ),
]
TierOption = Annotated[
    str | None,
    typer.Option(help="The service tier, as the response names it: flex, priority, ..."),
]
SpeedOption = Annotated[
    str | None, typer.Option(help="The speed of an Anthropic call: standard or fast.")
]
GeoOption = Annotated[
    str | None,
    typer.Option(help="Where inference runs, if that costs extra: us, regional, ..."),
]
BatchOption = Annotated[
    bool, typer.Option("--batch", help="Use the prices of the provider's batch API.")
]
PriceFileOption = Annotated[
    str | None,
    typer.Option(
        "--prices",
        help="Your own price file, JSON or YAML. It wins over the built-in prices. "
        f"Default: the file of {OTEL_PROMPTCACHE_PRICES}.",
    ),
]


def load_price_book(path: str | None) -> PriceBook:
    """Return the price book with the user's price file, if there is one.

    An unusable file ends the command if the command line names it. If only the environment names
    it, the errors are printed and the built-in prices are used, as in an application.
    """
    from promptcache.prices.user_prices import PriceFileError, load_user_prices

    file = path if path is not None else os.environ.get(OTEL_PROMPTCACHE_PRICES)
    if path is None and not file:
        return PriceBook()
    try:
        return PriceBook(load_user_prices(file or ""))
    except PriceFileError as error:
        typer.echo(str(error), err=True)
        if path is not None:
            raise typer.Exit(ExitCode.USAGE) from None
        typer.echo(
            f"{OTEL_PROMPTCACHE_PRICES} is not used: built-in prices stay in force.", err=True
        )
        return PriceBook()


def parse_time_option(at: str | None) -> float:
    """Return the epoch seconds of an ISO day or time, in UTC unless it names a zone. None is
    now."""
    if at is None:
        return datetime.now(UTC).timestamp()
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise typer.BadParameter(
            f"{at!r} is not a day or a time such as 2026-11-20T09:30", param_hint="--at"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def guess_provider_of_model(book: PriceBook, model: str) -> str:
    """Return the first of GUESSED_PROVIDERS whose list has the model, "" if none has it."""
    return next((name for name in GUESSED_PROVIDERS if book.find_price_row(name, (model,))), "")


def build_request_and_response(
    book: PriceBook,
    model: str,
    provider: str | None,
    at: float,
    tier: str | None = None,
    speed: str | None = None,
    geo: str | None = None,
    batch: bool = False,
) -> tuple[Request, ResponseFacts]:
    """Return the call that the options describe, for the price book."""
    named = provider and (provider_of_prefix(provider) or provider)
    request = Request(
        wire_format_name="",
        provider=named or guess_provider_of_model(book, model),
        operation="chat",
        model=model,
        host=None,
        port=None,
        stream=False,
        body={},
        cache_scope=b"",
        started_at=at,
    )
    return request, ResponseFacts(
        model=model, service_tier=tier, speed=speed, inference_geo=geo, is_batch=batch
    )
