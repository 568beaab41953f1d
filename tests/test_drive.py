"""One flow around every kind of function: plain, coroutine, generator, and streams of both."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from types import FunctionType
from typing import Any

import pytest
import wrapt
from opentelemetry import context as otel

from promptcache.patching.flow import Flow, StepResult
from promptcache.patching.hook import HandlerRef, Hook
from promptcache.patching.patcher import ModulePatcher
from promptcache.telemetry.handler import TelemetryHandler
from tests.support.call_shapes import each

MARK = "promptcache-test"


async def numbers(count: int) -> AsyncGenerator[object, None]:
    SDK.open += 1
    try:
        for number in range(count):
            await asyncio.sleep(0)
            yield number, otel.get_value(MARK)
    finally:
        SDK.open -= 1


class SDK:
    """What an SDK may look like; `open` streams are those whose generator has not been finalised."""

    open = 0

    def plain(self, count: int) -> int:
        return count

    async def coroutine(self, count: int) -> int:
        return count

    def items(self, count: int) -> Iterator[object]:
        SDK.open += 1
        try:
            for number in range(count):
                yield number, otel.get_value(MARK)
        finally:
            SDK.open -= 1

    async def items_async(self, count: int) -> AsyncIterator[object]:
        async with aclosing(numbers(count)) as items:
            async for item in items:
                yield item

    async def opened(self, count: int) -> AsyncIterator[object]:
        return numbers(count)


Heard = list[StepResult]


@pytest.fixture
def heard() -> Iterator[Heard]:
    """Every step that a flow around all of `SDK` heard of."""
    found: Heard = []

    def flow(observer: TelemetryHandler, sdk: Any, call: Any) -> Flow:
        context = otel.set_value(MARK, call["count"])
        ended = yield context
        found.append(ended)
        while not ended.is_final:
            ended = yield context
            found.append(ended)

    patches = ModulePatcher()
    patches.module = __import__("sys").modules[__name__]
    names = ("plain", "coroutine", "items", "items_async", "opened")
    patches.install(tuple(Hook("SDK", name, ("count",), flow) for name in names), object())  # type: ignore[arg-type]  # the flow asks nothing of its observer
    yield found
    patches.restore()


async def start(name: str, count: int) -> Any:
    made = getattr(SDK(), name)(count)
    return await made if inspect.isawaitable(made) else made


STREAMS = pytest.mark.parametrize("name", ["items", "items_async", "opened"])


@pytest.mark.parametrize("name", ["plain", "coroutine"])
async def test_a_call_is_one_step(name: str, heard: Heard) -> None:
    assert await start(name, 3) == 3
    assert [(ended.result, ended.is_final) for ended in heard] == [(3, True)]


@pytest.mark.parametrize(
    ("name", "is_its_kind"),
    [
        ("plain", inspect.isfunction),
        ("coroutine", inspect.iscoroutinefunction),
        ("items", inspect.isgeneratorfunction),
        ("items_async", inspect.isasyncgenfunction),
        ("opened", inspect.iscoroutinefunction),
    ],
)
def test_a_function_stays_what_it_was(
    name: str, is_its_kind: Callable[[object], bool], heard: Heard
) -> None:
    assert is_its_kind(getattr(SDK, name))
    assert getattr(SDK, name).__name__ == name


@STREAMS
async def test_a_stream_is_heard_to_its_end_and_keeps_its_kind(name: str, heard: Heard) -> None:
    stream = await start(name, 3)
    assert inspect.isgenerator(stream) or inspect.isasyncgen(stream)
    seen = [item async for item in each(stream)]
    assert [number for number, _ in seen] == [0, 1, 2]
    assert [ended.result for ended in heard if ended.result] == seen
    assert [ended.is_final for ended in heard][-2:] == [False, True]
    assert not SDK.open


@STREAMS
async def test_no_context_is_left_between_two_items(name: str, heard: Heard) -> None:
    async for _, inside in each(await start(name, 2)):
        assert inside == 2
        assert otel.get_value(MARK) is None


@STREAMS
@pytest.mark.parametrize("count", [0, 1])
async def test_a_stream_that_is_left_ends_at_once(name: str, count: int, heard: Heard) -> None:
    stream = await start(name, 9)
    for _ in range(count):
        await anext(stream) if inspect.isasyncgen(stream) else next(stream)
    await (stream.aclose() if inspect.isasyncgen(stream) else asyncio.to_thread(stream.close))
    del stream
    assert [ended.is_abandoned for ended in heard if ended.is_final] == (
        [True] if count or name == "opened" else []
    )
    assert not SDK.open


@STREAMS
@pytest.mark.parametrize("count", [0, 1])
async def test_a_stream_that_is_dropped_ends_with_the_garbage(
    name: str, count: int, heard: Heard
) -> None:
    async def drop() -> None:
        stream = await start(name, 9)
        for _ in range(count):
            await anext(stream) if inspect.isasyncgen(stream) else next(stream)

    await drop()
    gc.collect()
    for _ in range(9):
        await asyncio.sleep(0)
    assert [ended.must_defer for ended in heard if ended.is_final] == (
        [False] if count or name == "opened" else []
    )
    assert not SDK.open


@STREAMS
async def test_a_failing_stream_is_heard_failing(
    name: str, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(key: str) -> None:
        raise ConnectionError

    items = each(await start(name, 9))
    monkeypatch.setattr(otel, "get_value", fail)
    with pytest.raises(ConnectionError):
        await anext(items)
    assert [type(ended.error) for ended in heard if ended.is_final] == [ConnectionError]


async def test_a_flow_that_wants_one_step_gets_one(heard: Heard) -> None:
    class Other(SDK):
        """Another class, so that another flow can stand there."""

        async def opened(self, count: int) -> AsyncIterator[object]:
            return numbers(count)

    def flow(observer: TelemetryHandler, sdk: Any, call: Any) -> Flow:
        yield None

    patches = ModulePatcher()
    patches.module = type("module", (), {"Other": Other})
    patches.install((Hook("Other", "opened", ("count",), flow),), object())  # type: ignore[arg-type]  # as above
    assert [item async for item in await Other().opened(2)] == [(0, None), (1, None)]
    patches.restore()


@pytest.mark.parametrize("name", ["plain", "coroutine", "items", "opened"])
async def test_a_wrapper_that_was_there_first_keeps_its_instance(name: str) -> None:
    class Wrapped(SDK):
        """A class that somebody else has instrumented before."""

        def plain(self, count: int) -> int:
            return count

        coroutine, items, opened = (
            FunctionType(getattr(SDK, name).__code__, globals())
            for name in ("coroutine", "items", "opened")
        )

    instances: list[object] = []

    def theirs(wrapped: Any, instance: object, args: Any, kwargs: Any) -> Any:
        instances.append(instance)
        return wrapped(*args, **kwargs)

    def flow(observer: TelemetryHandler, sdk: Any, call: Any) -> Flow:
        yield None

    wrapt.wrap_function_wrapper(Wrapped, name, theirs)
    patches = ModulePatcher()
    patches.module = type("module", (), {"Wrapped": Wrapped})
    patches.install((Hook("Wrapped", name, ("count",), flow),), object())  # type: ignore[arg-type]  # as above
    sdk = Wrapped()
    made = getattr(sdk, name)(1)
    made = await made if inspect.isawaitable(made) else made
    assert made == 1 or [item async for item in each(made)] == [(0, None)]
    assert instances == [sdk]


@pytest.mark.parametrize(("name", "seen"), [("plain", "by hand"), ("other", "tap")])
def test_a_shell_by_hand_stands_only_where_the_parameters_are_its_own(
    name: str, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def other(self: SDK, count: int, *, newer: int = 0) -> int:
        return count

    def quick(original: Callable[..., Any], switch: HandlerRef) -> Callable[..., Any]:
        def shell(self: Any, count: int) -> Any:
            told.append("by hand")
            return original(self, count)

        return shell

    def tap(*_: object) -> None:
        told.append("tap")

    monkeypatch.setattr(SDK, "other", other, raising=False)
    patches = ModulePatcher()
    patches.module = inspect.getmodule(SDK)
    target = Hook("SDK", name, ("count",), before_call=tap, make_fast_wrapper=quick)
    patches.install((target,), TelemetryHandler.__new__(TelemetryHandler))
    assert getattr(SDK(), name)(3) == 3
    assert inspect.signature(getattr(SDK, name)) == inspect.signature(
        getattr(SDK, name).__wrapped__
    )
    patches.restore()
    assert told == [seen]
