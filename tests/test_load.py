"""Many concurrent streams, ended in every way, behave as without instrumentation.

Each has one span that is ended once. Warnings and the connection pool are the same.
This is a short run. `make streams` opens 10,000 streams of each kind, 1,000 at once.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import Any, Final, NamedTuple

import anthropic
import openai
import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from promptcache import PromptCacheInstrumentor
from tests.load.server import ENDING, running_server
from tests.support.call_shapes import CHAT, HTTP, INCLUDE_USAGE, iterate, resolve
from tests.support.call_shapes_anthropic import REQUEST
from tests.support.telemetry import Telemetry

STREAM_COUNT: Final = int(os.environ.get("STREAMS", "32"))
OPEN_AT_ONCE: Final = int(os.environ.get("STREAMS_AT_ONCE", "32"))
"""Number of streams that are open at once, over all threads."""
THREADS: Final = 16


async def read_to_end(stream: Any) -> Any:
    return len([item async for item in iterate(stream)])


async def break_and_close(stream: Any) -> Any:
    items = iterate(stream)
    first = await anext(items)
    await items.aclose()  # type: ignore[attr-defined]  # an async generator, which has it
    await resolve(stream.close())
    return type(first).__name__


async def close_unread(stream: Any) -> Any:
    await resolve(stream.close())


async def fail_while_reading(stream: Any) -> Any:
    try:
        async for _ in iterate(stream):
            raise ZeroDivisionError
    except ZeroDivisionError:
        await resolve(stream.close())
        return "ours"


async def read_until_failure(stream: Any) -> Any:
    try:
        return await read_to_end(stream)
    except (openai.APIError, anthropic.APIError, HTTP.RemoteProtocolError) as error:
        return type(error).__name__
    finally:
        await resolve(stream.close())


async def abandon_after_first(stream: Any) -> Any:
    items = iterate(stream)
    first = await anext(items)
    await items.aclose()  # type: ignore[attr-defined]  # an async generator, which has it
    return type(first).__name__


async def cancel_reading(stream: Any) -> Any:
    if not hasattr(stream, "__aiter__"):
        closer = Thread(target=stream.close)
        closer.start()
        return closer.join()
    reading = asyncio.create_task(read_to_end(stream))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait([reading])
    return await resolve(stream.close())


ENDINGS: Final[tuple[tuple[str, Callable[[Any], Awaitable[Any]]], ...]] = (
    ("", read_to_end),
    ("", break_and_close),
    ("", close_unread),
    ("", fail_while_reading),
    ("error", read_until_failure),
    ("drop", read_until_failure),
    ("hang", cancel_reading),
    ("", abandon_after_first),
)
"""What the server does with a stream, and what the application does with it."""


class SpanCounter(SpanProcessor):
    """Count how often each span is started and ended."""

    def __init__(self) -> None:
        self.started, self.ended = Counter[int](), Counter[int]()

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.started[span.context.span_id] += 1

    def on_end(self, span: ReadableSpan) -> None:
        assert span.context is not None
        self.ended[span.context.span_id] += 1


class LoadResult(NamedTuple):
    """What is left after many streams: results, warnings, connections and log messages."""

    notes: list[tuple[int, Any]]
    warned: Counter[str]
    busy: int
    waiting: int
    logged: list[str]


async def open_stream(client: Any, number: int) -> Any:
    headers = {ENDING: ENDINGS[number % len(ENDINGS)][0]}
    if isinstance(client, openai.OpenAI | openai.AsyncOpenAI):
        create: Any = client.chat.completions.create
        return await resolve(
            create(**CHAT, stream=True, stream_options=INCLUDE_USAGE, extra_headers=headers)
        )
    return await resolve(client.messages.create(**REQUEST, stream=True, extra_headers=headers))


async def end_stream(stream: Any, number: int) -> tuple[int, Any]:
    return number, await ENDINGS[number % len(ENDINGS)][1](stream)


async def run_in_sequence(client: Any, numbers: range) -> list[tuple[int, Any]]:
    """Open all streams, then end one after the other."""
    streams = [await open_stream(client, number) for number in numbers]
    return [await end_stream(streams.pop(0), number) for number in numbers]


async def run_concurrently(client: Any, numbers: range) -> list[tuple[int, Any]]:
    opened = await asyncio.gather(*(open_stream(client, number) for number in numbers))
    return await asyncio.gather(*(end_stream(opened.pop(0), number) for number in numbers))


def run_without_waiting(work: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as finished:
        return finished.value
    raise AssertionError("it waits")


async def run_in_threads(client: Any, numbers: range) -> list[tuple[int, Any]]:
    def use(first: int) -> list[tuple[int, Any]]:
        notes: list[tuple[int, Any]] = run_without_waiting(
            run_in_sequence(client, numbers[first::THREADS])
        )
        return notes

    with ThreadPoolExecutor(THREADS) as threads:
        return [note for notes in threads.map(use, range(THREADS)) for note in notes]


CLIENT_KINDS: Final[
    Mapping[str, tuple[type[Any], Callable[[Any, range], Awaitable[list[tuple[int, Any]]]]]]
] = {
    "openai-sync": (openai.OpenAI, run_in_sequence),
    "openai-threads": (openai.OpenAI, run_in_threads),
    "openai-async": (openai.AsyncOpenAI, run_concurrently),
    "anthropic-sync": (anthropic.Anthropic, run_in_sequence),
    "anthropic-threads": (anthropic.Anthropic, run_in_threads),
    "anthropic-async": (anthropic.AsyncAnthropic, run_concurrently),
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_server() as url:
        yield url


async def run_load(
    kind: str, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> LoadResult:
    make, run = CLIENT_KINDS[kind]
    caplog.clear()
    unraisable: list[str] = []

    def record_unraisable(unraisable_hook_args: Any) -> None:
        unraisable.append(type(unraisable_hook_args.exc_value).__name__)

    monkeypatch.setattr(sys, "unraisablehook", record_unraisable)
    transport = HTTP.AsyncClient if "async" in kind else HTTP.Client
    http = transport(
        limits=HTTP.Limits(max_connections=None, max_keepalive_connections=None), timeout=120
    )
    client = make(
        base_url=f"{url}/v1" if "openai" in kind else url,
        api_key="k",
        max_retries=0,
        http_client=http,
    )
    notes: list[tuple[int, Any]] = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for first in range(0, STREAM_COUNT, OPEN_AT_ONCE):
            notes += await run(client, range(first, min(first + OPEN_AT_ONCE, STREAM_COUNT)))
            gc.collect()
            await asyncio.sleep(0.05)
        pool = http._transport._pool
        busy = sum(not (item.is_idle() or item.is_closed()) for item in pool.connections)
        waiting = len(pool._requests)
        await resolve(client.close())
    return LoadResult(
        sorted(notes),
        Counter([item.category.__name__ for item in warned] + unraisable),
        busy,
        waiting,
        [record.getMessage() for record in caplog.records if record.name != "asyncio"],
    )


@pytest.mark.parametrize("kind", CLIENT_KINDS)
async def test_many_streams_behave_as_without_instrumentation(
    kind: str, server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = await run_load(kind, server, monkeypatch, caplog)
    telemetry, counter = Telemetry(), SpanCounter()
    telemetry.tracers.add_span_processor(counter)
    telemetry.instrument()
    try:
        actual = await run_load(kind, server, monkeypatch, caplog)
    finally:
        PromptCacheInstrumentor().uninstrument()
    assert actual == expected
    assert set(counter.started.values()) == set(counter.ended.values()) == {1}
    assert counter.started.keys() == counter.ended.keys()
    assert len(counter.ended) == telemetry.metric("promptcache.calls") == STREAM_COUNT
