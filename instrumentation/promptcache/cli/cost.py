"""The command `promptcache cost`: the cost of a call with given token counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from promptcache.cli.console import print_grid
from promptcache.cli.exit_codes import ExitCode, exit_code_help
from promptcache.cli.json_option import JsonOption
from promptcache.cli.price_format import describe_price, format_usd, round_usd
from promptcache.cli.price_options import (
    AtOption,
    BatchOption,
    GeoOption,
    PriceFileOption,
    ProviderOption,
    SpeedOption,
    TierOption,
    build_request_and_response,
    load_price_book,
    parse_time_option,
)
from promptcache.cli.unknown_cost import report_unknown_cost
from promptcache.model import Cost, Request, ResponseFacts, Usage
from promptcache.prices import PriceBook
from promptcache.prices.book import PricePlan
from promptcache.prices.table import PricePeriod, latest_period_in_force

EPILOG = "\n\n".join(
    (
        "Examples:",
        "promptcache cost --model claude-sonnet-4-6 --read 90000 --uncached 500 --output 800",
        "promptcache cost --model claude-sonnet-4-6 --write-1h 90000 --output 800 --json",
        "promptcache cost --model gpt-6-sol --uncached 2000 --output 900 --tool web_search=4",
        "promptcache cost --model gpt-6-sol --uncached 300000 --tier flex --at 2026-11-20",
        exit_code_help(ExitCode.OK, ExitCode.USAGE, ExitCode.UNKNOWN_COST),
    )
)

ModelOption = Annotated[
    str, typer.Option(help="The model. A name with a snapshot date is fine: gpt-4o-2024-11-20.")
]
UncachedOption = Annotated[
    int, typer.Option(min=0, help="Input tokens that are not read from or written to a cache.")
]
ReadOption = Annotated[int, typer.Option(min=0, help="Input tokens read from the cache.")]
Write5mOption = Annotated[
    int, typer.Option("--write-5m", min=0, help="Input tokens written to the cache for 5 minutes.")
]
Write30mOption = Annotated[
    int, typer.Option("--write-30m", min=0, help="Input tokens written for 30 minutes.")
]
Write1hOption = Annotated[
    int, typer.Option("--write-1h", min=0, help="Input tokens written for 1 hour.")
]
Write12hOption = Annotated[
    int, typer.Option("--write-12h", min=0, help="Input tokens written for 12 hours.")
]
OutputOption = Annotated[int, typer.Option(min=0, help="Output tokens, reasoning included.")]
AudioInputOption = Annotated[
    int, typer.Option(min=0, help="Uncached audio tokens. They are not part of --uncached.")
]
AudioReadOption = Annotated[
    int, typer.Option(min=0, help="Audio tokens read from the cache. They are not part of --read.")
]
AudioOutputOption = Annotated[
    int, typer.Option(min=0, help="Audio tokens of the output. They are not part of --output.")
]
ToolUsesOption = Annotated[
    list[str],
    typer.Option(
        "--tool", help="Uses of a server tool with a fee: web_search=4. May be given repeatedly."
    ),
]

app = typer.Typer(add_completion=False)


@app.command("cost", epilog=EPILOG)
def cost(
    model: ModelOption,
    provider: ProviderOption = None,
    at: AtOption = None,
    uncached: UncachedOption = 0,
    read: ReadOption = 0,
    write_5m: Write5mOption = 0,
    write_30m: Write30mOption = 0,
    write_1h: Write1hOption = 0,
    write_12h: Write12hOption = 0,
    output: OutputOption = 0,
    audio_input: AudioInputOption = 0,
    audio_read: AudioReadOption = 0,
    audio_output: AudioOutputOption = 0,
    tool: ToolUsesOption = [],  # noqa: B006  # typer reads the default
    tier: TierOption = None,
    speed: SpeedOption = None,
    geo: GeoOption = None,
    batch: BatchOption = False,
    as_json: JsonOption = False,
    prices: PriceFileOption = None,
) -> None:
    """Compute what a call with these token counts costs, and what it would cost without a cache."""
    writes = {"5m": write_5m, "30m": write_30m, "1h": write_1h, "12h": write_12h}
    audio = {"audio.input": audio_input, "audio.read": audio_read, "audio.output": audio_output}
    usage = build_usage(uncached, read, writes, output, audio)
    usage = usage._replace(server_tool_calls=parse_tool_uses(tool))
    if not (usage.input_tokens or usage.output_tokens or usage.server_tool_calls):
        raise typer.BadParameter(
            "give at least one token count", param_hint="--uncached, --read, --output"
        )
    book = load_price_book(prices)
    call = build_request_and_response(
        book, model, provider, parse_time_option(at), tier, speed, geo, batch
    )
    print_cost(book, *call, usage, as_json)


def parse_tool_uses(options: list[str]) -> dict[str, int]:
    """Return the uses of each tool from options such as `web_search=4`."""
    uses: dict[str, int] = {}
    for option in options:
        name, _, count = option.partition("=")
        if not name or not count.isascii() or not count.isdigit():
            raise typer.BadParameter(
                f"{option!r} is not a tool and a count such as web_search=4", param_hint="--tool"
            )
        uses[name] = uses.get(name, 0) + int(count)
    return uses


def print_cost(
    book: PriceBook, request: Request, facts: ResponseFacts, usage: Usage, as_json: bool
) -> None:
    """Print the cost of a call, or why it is unknown."""
    found = book.compute_cost(request, facts, usage)
    if found.amount is None:
        raise report_unknown_cost(found.unknown_reason or "price", as_json, book, request, facts)
    plan = book.find_plan(request, facts)
    period = latest_period_in_force(plan.periods, request.started_at)
    price = describe_billed_price(request.provider, plan, period, usage) if period else {}
    if as_json:
        print_cost_as_json(found, price)
    else:
        print_cost_as_text(found, price)


def build_usage(
    uncached: int, read: int, writes: Mapping[str, int], output: int, audio: Mapping[str, int]
) -> Usage:
    """Return the usage of the token counts. Audio tokens are part of their class there."""
    uncached_tokens = uncached + audio["audio.input"]
    cache_read_tokens = read + audio["audio.read"]
    cache_write_tokens = sum(writes.values())
    return Usage(
        uncached_tokens + cache_read_tokens + cache_write_tokens,
        uncached_tokens,
        cache_read_tokens,
        cache_write_tokens,
        {ttl: tokens for ttl, tokens in writes.items() if tokens},
        output + audio["audio.output"],
        modality_tokens={name: tokens for name, tokens in audio.items() if tokens},
    )


def describe_billed_price(
    provider: str, plan: PricePlan, period: PricePeriod, usage: Usage
) -> dict[str, Any]:
    """Return the price of a call for the JSON output.

    `priced_as` has the modalities without a price, each with the class whose price they pay.
    """
    modality_prices = period.rates_for_input(usage.input_tokens).modality_prices
    return {
        "provider": provider,
        **describe_price(plan, period, usage.input_tokens),
        "priced_as": {
            name: name.partition(".")[2]
            for name in usage.modality_tokens
            if name not in modality_prices
        },
    }


def print_cost_as_json(found: Cost, price: Mapping[str, Any]) -> None:
    """Print a known cost as JSON."""
    amount, without_cache = found.amount or 0.0, found.without_cache or 0.0
    answer = {
        "amount": round_usd(amount),
        "currency": "USD",
        "parts": {name: round_usd(value) for name, value in found.parts.items()},
        "without_cache": round_usd(without_cache),
        "saved": round_usd(without_cache - amount),
        "price": price,
        "unknown": None,
    }
    typer.echo(json.dumps(answer))


def print_cost_as_text(found: Cost, price: Mapping[str, Any]) -> None:
    """Print a known cost as a table."""
    amount, without_cache = found.amount or 0.0, found.without_cache or 0.0
    amounts = {name: value for name, value in found.parts.items() if value}
    amounts |= {"amount": amount, "without cache": without_cache, "saved": without_cache - amount}
    above = f", above {price['above']:,} tokens" if price["above"] is not None else ""
    print_grid(
        (
            *((name, f"{format_usd(value)} USD") for name, value in amounts.items()),
            ("price", f"{price['provider']} {price['model']}, {price['tier']}{above}"),
            *(
                (name, f"at the price of {other}: the list has no price for {name}")
                for name, other in price["priced_as"].items()
            ),
            ("source", f"{price['source']} ({price['date']})"),
        )
    )
