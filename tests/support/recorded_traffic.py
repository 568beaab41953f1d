"""Record conversations in a table, make calls by hand, and ask what they would have cost."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import anthropic
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from typer.testing import CliRunner

from promptcache import PromptCacheInstrumentor, Settings
from promptcache.cli.commands import app
from promptcache.providers.cache_rules import DEFAULT_CACHE_RULE
from promptcache_emulator.clock import Clock
from promptcache_emulator.engine import Emulator
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from promptcache_exporters.replay.traffic import Breakpoint, RecordedCall, TokenPrices

HANDBOOK: Final = " ".join(
    f"Rule {n}: order {n * 7} leaves on day {n % 28 + 1}." for n in range(250)
)
GAPS: Final = (20, 100, 250, 400, 700)
KEYED: Final = Settings(hash_key="k" * 32, hashes="all")
MARKED_RULE: Final = DEFAULT_CACHE_RULE._replace(
    bills_writes=True, minimum_tokens=100, lookback=20, granularity=1, ttl_seconds=300.0
)
PRICES: Final = TokenPrices(1.0, 0.1, {"5m": 1.25, "1h": 2.0}, 5.0)


def send_anthropic_turns(
    url: str, system_ttl: str, number: int, wait: Callable[[], None], turns: int = 6
) -> None:
    client = anthropic.Anthropic(base_url=url, api_key="k", max_retries=0)
    create: Any = client.messages.create
    mark = {"type": "ephemeral", "ttl": system_ttl}
    messages: list[Any] = []
    for turn in range(turns):
        text = {"type": "text", "text": f"Conversation {number}, question {turn}: " + "why? " * 50}
        marked = {**text, "cache_control": {"type": "ephemeral"}}
        answer = create(
            model="claude-sonnet-5",
            max_tokens=50,
            system=[{"type": "text", "text": HANDBOOK, "cache_control": mark}],
            messages=[*messages, {"role": "user", "content": [marked]}],
        )
        messages += [
            {"role": "user", "content": [text]},
            {"role": "assistant", "content": answer.content[0].text},
        ]
        wait()
    client.close()


Send = Callable[[str, str, int, Callable[[], None]], None]
RecordCalls = Callable[..., Path]


def make_recorder(emulator: Emulator, emulator_url: str, folder: Path) -> RecordCalls:
    """Return a function that records eight conversations in a table of their own."""

    def record_calls(
        send: Send, system_ttl: str = "5m", settings: Settings = KEYED, **options: Any
    ) -> Path:
        emulator.reset()
        path = folder / f"{system_ttl}-{settings.hashes}.db"
        provider = TracerProvider(**options)
        provider.add_span_processor(SimpleSpanProcessor(SQLiteSpanExporter(path)))
        PromptCacheInstrumentor().instrument(
            tracer_provider=provider, settings=settings, clock=emulator.clock
        )
        gaps, clock = random.Random(1), cast("Clock", emulator.clock)
        try:
            for number in range(8):
                send(
                    emulator_url,
                    system_ttl,
                    number,
                    lambda: clock.advance(gaps.choice(GAPS)),
                )
        finally:
            PromptCacheInstrumentor().uninstrument()
            provider.shutdown()
        return path

    return record_calls


def run_whatif(*arguments: object) -> tuple[int, Any]:
    result = CliRunner().invoke(app, ["whatif", *map(str, arguments), "--json"])
    return result.exit_code, json.loads(result.stdout) if result.stdout.startswith("{") else None


def make_call(
    started_at: float,
    links: str,
    breakpoints: list[Breakpoint] | None = None,
    *,
    rule: Any = MARKED_RULE,
    read_tokens: int = 0,
    visible_after: float = 1.0,
) -> RecordedCall:
    """Return a call whose prompt has a block of 1,000 tokens for each letter of `links`."""
    ends = tuple(1000 * (index + 1) for index in range(len(links)))
    return RecordedCall(
        started_at=started_at,
        visible_at=started_at + visible_after,
        conversation=links[0],
        provider="anthropic",
        cache="one",
        rule=rule,
        prices=PRICES,
        links=tuple(links[: index + 1] for index in range(len(links))),
        ends=ends,
        tools_depth=0,
        static_depth=1,
        breakpoints=tuple(breakpoints or [Breakpoint(len(links), "5m")]),
        input_tokens=ends[-1],
        output_tokens=0,
        read_tokens=read_tokens,
        write_tokens={},
    )
