"""A day of four services that call the emulator through the real SDKs: data for pictures.

The clock of the emulator moves, so the day takes some seconds. Everything that the pictures
show was recorded from these calls. Only the time to the first token is a choice of this file:
the emulator waits longer where a prompt is read anew.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import anthropic
import openai
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from promptcache import PromptCacheInstrumentor, Settings
from promptcache_emulator.clock import Clock
from promptcache_emulator.engine import Emulator
from promptcache_emulator.server import running_server
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter

START: Final = 1_795_075_200.0
"""A Thursday of November 2026, 08:00 UTC."""
_HOUR: Final = 3600.0
_END: Final = START + 24 * _HOUR
_CLOCK_DEPLOYED: Final = START + 9 * _HOUR
_CLOCK_REMOVED: Final = START + 14 * _HOUR
_KEYED: Final = Settings(hash_key="the key of the pictures, 32 bytes", hashes="all")
_HANDBOOK: Final = "\n".join(
    f"Rule {number}: an order of group {number % 9} leaves {number % 5 + 1} days after it was paid."
    for number in range(1, 220)
)
_QUESTIONS: Final = ("Where is my order {}?", "It was order {}.", "Can you send it again?")


def record_day(path: Path) -> None:
    """Write the calls of all services into the table at `path`."""
    for number, (service, send) in enumerate(SERVICES.items()):
        emulator = Emulator(clock := Clock(START))
        provider = TracerProvider(resource=Resource({"service.name": service}))
        provider.add_span_processor(SimpleSpanProcessor(SQLiteSpanExporter(path)))
        PromptCacheInstrumentor().instrument(tracer_provider=provider, settings=_KEYED, clock=clock)
        try:
            with running_server(emulator) as url:
                send(url, clock, random.Random(number))
        finally:
            PromptCacheInstrumentor().uninstrument()
            provider.shutdown()
    with closing(sqlite3.connect(path)) as table, table:
        # The end of a stream is the real time, which the clock of the emulator knows nothing of.
        table.execute("UPDATE llm_calls SET duration = NULL WHERE stream = 1")


def _wait_until_the_end(clock: Clock, chance: random.Random, minutes: float) -> Iterator[float]:
    """Yield the time again and again, about so many minutes apart; at night less often."""
    while clock() < _END:
        yield clock()
        is_night = clock() % 86_400 < 6 * _HOUR
        clock.advance(60 * minutes * chance.uniform(0.6, 1.4) * (3 if is_night else 1))


def _send_support_agent(url: str, clock: Clock, chance: random.Random) -> None:
    """Chats with a handbook, which changed once. For five hours the prompt began with the time."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)
    for number, now in enumerate(_wait_until_the_end(clock, chance, 4), 1001):
        has_clock = _CLOCK_DEPLOYED <= now < _CLOCK_REMOVED
        handbook = _HANDBOOK if now < _CLOCK_REMOVED else f"{_HANDBOOK}\nAlways be brief."
        history: list[Any] = []
        for question in _QUESTIONS:
            head = f"Now: {datetime.fromtimestamp(clock(), UTC)}\n" if has_clock else ""
            history.append({"role": "user", "content": question.format(number)})
            stream = client.chat.completions.create(
                model="gpt-5.4",
                messages=[{"role": "system", "content": head + handbook}, *history],
                stream=True,
                stream_options={"include_usage": True},
                extra_headers={"x-emulator-fault": f"slow={0.004 if has_clock else 0.001}"},
            )
            pieces = [part.choices[0].delta.content or "" for part in stream if part.choices]
            history.append({"role": "assistant", "content": "".join(pieces)})
            clock.advance(chance.uniform(15, 60))


def _send_code_reviewer(url: str, clock: Clock, chance: random.Random) -> None:
    """Reviews with a marked system prompt, often further apart than its TTL of five minutes."""
    client = anthropic.Anthropic(base_url=url, api_key="k", max_retries=0)
    system = [{"type": "text", "text": _HANDBOOK, "cache_control": {"type": "ephemeral"}}]
    for number, _ in enumerate(_wait_until_the_end(clock, chance, 5)):
        _ask_claude(client, system, f"Review change {number}: " + "line " * chance.randrange(400))


def _send_catalogue(url: str, clock: Clock, chance: random.Random) -> None:
    """Descriptions whose tools come out of a set, in another order after each start."""
    client = anthropic.Anthropic(base_url=url, api_key="k", max_retries=0)
    system = [{"type": "text", "text": _HANDBOOK, "cache_control": {"type": "ephemeral"}}]
    names = ["find_product", "read_price", "read_stock"]
    for number, _ in enumerate(_wait_until_the_end(clock, chance, 3)):
        if number % 9 == 0:
            chance.shuffle(names)
        tools = [
            {"name": name, "description": f"{name}, by its number.", "input_schema": _NO_FIELDS}
            for name in names
        ]
        for turn in range(2):
            _ask_claude(client, system, f"Describe product {number}, part {turn}.", tools=tools)
            clock.advance(100)


def _send_search_titles(url: str, clock: Clock, chance: random.Random) -> None:
    """Prompts that are too short for any cache."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)
    for number, _ in enumerate(_wait_until_the_end(clock, chance, 30)):
        client.chat.completions.create(
            model="gpt-5.4-mini",
            messages=[
                {"role": "system", "content": "Write a title of at most six words. " * 30},
                {"role": "user", "content": f"Result {number}: boots, tents and stoves."},
            ],
        )


_NO_FIELDS: Final[dict[str, Any]] = {"type": "object", "properties": {}}


def _ask_claude(client: anthropic.Anthropic, system: list[Any], text: str, **more: Any) -> None:
    create: Any = client.messages.create
    messages = [{"role": "user", "content": text}]
    create(model="claude-sonnet-5", max_tokens=200, system=system, messages=messages, **more)


SERVICES: Final[dict[str, Callable[[str, Clock, random.Random], None]]] = {
    "support-agent": _send_support_agent,
    "code-reviewer": _send_code_reviewer,
    "catalogue": _send_catalogue,
    "search-titles": _send_search_titles,
}
