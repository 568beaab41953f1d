"""However a stream of a generator or of events ends, it has one ended span with the known facts.

The streams of openai and anthropic have a response and a `close` method. `test_stream_endings`
tests them.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from promptcache_emulator.engine import Emulator
from tests.support.call_shapes import iterate, resolve
from tests.support.sdks import KITS, Kit
from tests.support.telemetry import Telemetry

CASES = [
    pytest.param((kit, kind, start), id=f"{kit.name}-{kind}-{start.__name__}")
    for kit in KITS
    for kind in kit.clients
    for start in kit.streams
]
pytestmark = [
    # google-genai 3.4 makes a subclass that aiohttp 3.14 warns of.
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    # With and without promptcache, the socket of a stream that was not read is garbage
    # collected.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

Start = Callable[[], Awaitable[Any]]


@pytest.fixture(autouse=True)
def freeze_earlier_objects() -> Iterator[None]:
    """Exclude objects of earlier tests from garbage collection, which makes it 100 times faster."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(params=CASES)
async def start(request: pytest.FixtureRequest, emulator_url: str) -> AsyncIterator[Start]:
    kit, kind, start_stream = request.param
    assert isinstance(kit, Kit)
    async with kit.clients[kind](emulator_url) as client:
        yield lambda: start_stream(client)


async def read_items(stream: Any, count: int) -> None:
    """Read the first `count` items of a stream."""
    for _ in range(count):
        items = (
            stream if hasattr(stream, "__next__") or hasattr(stream, "__anext__") else iter(stream)
        )
        if hasattr(items, "__next__"):
            next(items)
        else:
            async for _item in items:
                break


async def close(stream: Any) -> None:
    await resolve((getattr(stream, "aclose", None) or stream.close)())


async def collect_garbage() -> None:
    """Collect garbage, and let the event loop close the collected generators."""
    for _ in range(2):
        gc.collect()
        for _ in range(20):
            await asyncio.sleep(0)


async def test_an_exhausted_stream_ends_its_span_with_usage(
    start: Start, telemetry: Telemetry
) -> None:
    stream = await start()
    assert not telemetry.spans
    assert len([item async for item in iterate(stream)]) > 2
    assert telemetry.span.status.is_unset
    assert telemetry.attributes["promptcache.stream.completed"] is True
    assert telemetry.attributes["promptcache.input_tokens"] > 1000
    assert 0 < telemetry.attributes["gen_ai.response.time_to_first_chunk"] < 30
    assert telemetry.metric("promptcache.calls") == 1


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("times", [1, 2])
async def test_a_closed_stream_ends_its_span_as_incomplete(
    count: int, times: int, start: Start, emulator: Emulator, telemetry: Telemetry
) -> None:
    stream = await start()
    await read_items(stream, count)
    assert not telemetry.spans
    for _ in range(times):
        await close(stream)
    await collect_garbage()
    assert telemetry.metric("promptcache.calls") == len(telemetry.spans) == len(emulator.records)
    for span in telemetry.spans:
        assert span.status.is_unset
        assert (span.attributes or {})["promptcache.stream.completed"] is False


@pytest.mark.parametrize("count", [0, 1])
async def test_a_garbage_collected_stream_ends_its_span(
    count: int, start: Start, emulator: Emulator, telemetry: Telemetry
) -> None:
    async def abandon() -> None:
        await read_items(await start(), count)

    await abandon()
    await collect_garbage()
    assert telemetry.metric("promptcache.calls") == len(telemetry.spans) == len(emulator.records)


@pytest.mark.parametrize("fault", ["error-event=3", "drop=3"])
async def test_a_server_error_during_a_stream_is_recorded(
    fault: str, start: Start, emulator: Emulator, telemetry: Telemetry
) -> None:
    emulator.faults.add_fault(fault)
    stream = await start()
    error_type = ""
    try:
        async for _ in iterate(stream):
            pass
    except Exception as error:  # noqa: BLE001  # each SDK has its own
        error_type = type(error).__name__
    await close(stream)
    assert telemetry.attributes["promptcache.stream.completed"] is False
    assert telemetry.metric("promptcache.calls") == 1
    assert telemetry.attributes.get("error.type", "") in {
        error_type,
        "unavailable",
        "RemoteProtocolError",
    }


@pytest.mark.parametrize("status", ["429", "500"])
async def test_a_refused_stream_is_an_error(
    status: str, start: Start, emulator: Emulator, telemetry: Telemetry
) -> None:
    emulator.faults.add_fault(status, times=3)  # google-genai 2.0 repeats the request
    with pytest.raises(Exception) as raised:  # noqa: PT011  # each SDK has its own
        await read_items(await start(), 1)
    # The Interactions API raises its error outside of every hook.
    assert telemetry.attributes["error.type"] in {type(raised.value).__name__, status}
    assert telemetry.attributes["promptcache.outcome"] == "error"
    assert telemetry.span.status.description is None
