"""One flow runs around every kind of function: plain, coroutine, and both kinds of generators."""

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
from promptcache.patching.hook import Hook
from promptcache.patching.patcher import ModulePatcher
from promptcache.telemetry.handler import TelemetryHandler
from tests.support.call_shapes import iterate

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
    """An SDK with one function of each kind. `open` counts the generators that are not
    finalised."""

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

    async def open_stream(self, count: int) -> AsyncIterator[object]:
        return numbers(count)


StepResults = list[StepResult]


@pytest.fixture
def results() -> Iterator[StepResults]:
    """The results of all steps of a flow around every function of `SDK`."""
    results: StepResults = []

    def flow(handler: TelemetryHandler, sdk: Any, arguments: Any) -> Flow:
        context = otel.set_value(MARK, arguments["count"])
        result = yield context
        results.append(result)
        while not result.is_final:
            result = yield context
            results.append(result)

    patcher = ModulePatcher()
    patcher.module = __import__("sys").modules[__name__]
    names = ("plain", "coroutine", "items", "items_async", "open_stream")
    hooks = tuple(Hook("SDK", name, ("count",), flow) for name in names)
    patcher.install_or_reenable(hooks, object())  # type: ignore[arg-type]  # the flow ignores it
    yield results
    patcher.remove_or_disable()


async def start(name: str, count: int) -> Any:
    returned = getattr(SDK(), name)(count)
    return await returned if inspect.isawaitable(returned) else returned


STREAMS = pytest.mark.parametrize("name", ["items", "items_async", "open_stream"])


@pytest.mark.parametrize("name", ["plain", "coroutine"])
async def test_a_call_is_one_step(name: str, results: StepResults) -> None:
    assert await start(name, 3) == 3
    assert [(result.result, result.is_final) for result in results] == [(3, True)]


@pytest.mark.parametrize(
    ("name", "is_its_kind"),
    [
        ("plain", inspect.isfunction),
        ("coroutine", inspect.iscoroutinefunction),
        ("items", inspect.isgeneratorfunction),
        ("items_async", inspect.isasyncgenfunction),
        ("open_stream", inspect.iscoroutinefunction),
    ],
)
def test_a_wrapper_is_of_the_same_kind_as_the_function(
    name: str, is_its_kind: Callable[[object], bool], results: StepResults
) -> None:
    assert is_its_kind(getattr(SDK, name))
    assert getattr(SDK, name).__name__ == name


@STREAMS
async def test_a_flow_receives_every_item_and_the_stream_keeps_its_kind(
    name: str, results: StepResults
) -> None:
    stream = await start(name, 3)
    assert inspect.isgenerator(stream) or inspect.isasyncgen(stream)
    items = [item async for item in iterate(stream)]
    assert [number for number, _ in items] == [0, 1, 2]
    assert [result.result for result in results if result.result] == items
    assert [result.is_final for result in results][-2:] == [False, True]
    assert not SDK.open


@STREAMS
async def test_the_context_of_a_flow_is_not_current_between_items(
    name: str, results: StepResults
) -> None:
    async for _, value in iterate(await start(name, 2)):
        assert value == 2
        assert otel.get_value(MARK) is None


@STREAMS
@pytest.mark.parametrize("count", [0, 1])
async def test_a_closed_stream_ends_its_flow_at_once(
    name: str, count: int, results: StepResults
) -> None:
    stream = await start(name, 9)
    for _ in range(count):
        await anext(stream) if inspect.isasyncgen(stream) else next(stream)
    await (stream.aclose() if inspect.isasyncgen(stream) else asyncio.to_thread(stream.close))
    del stream
    assert [result.is_abandoned for result in results if result.is_final] == (
        [True] if count or name == "open_stream" else []
    )
    assert not SDK.open


@STREAMS
@pytest.mark.parametrize("count", [0, 1])
async def test_a_garbage_collected_stream_ends_its_flow(
    name: str, count: int, results: StepResults
) -> None:
    async def abandon() -> None:
        stream = await start(name, 9)
        for _ in range(count):
            await anext(stream) if inspect.isasyncgen(stream) else next(stream)

    await abandon()
    gc.collect()
    for _ in range(9):
        await asyncio.sleep(0)
    assert [result.is_abandoned for result in results if result.is_final] == (
        [True] if count or name == "open_stream" else []
    )
    assert not SDK.open


@STREAMS
async def test_a_flow_receives_the_error_of_a_stream(
    name: str, results: StepResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(key: str) -> None:
        raise ConnectionError

    items = iterate(await start(name, 9))
    monkeypatch.setattr(otel, "get_value", fail)
    with pytest.raises(ConnectionError):
        await anext(items)
    assert [type(result.error) for result in results if result.is_final] == [ConnectionError]


async def test_a_flow_of_one_step_receives_no_items_of_a_stream(results: StepResults) -> None:
    class Other(SDK):
        """Another class, because `SDK` has a flow already."""

        async def open_stream(self, count: int) -> AsyncIterator[object]:
            return numbers(count)

    def flow(handler: TelemetryHandler, sdk: Any, arguments: Any) -> Flow:
        yield None

    patcher = ModulePatcher()
    patcher.module = type("module", (), {"Other": Other})
    hook = Hook("Other", "open_stream", ("count",), flow)
    patcher.install_or_reenable((hook,), object())  # type: ignore[arg-type]  # the flow ignores it
    assert [item async for item in await Other().open_stream(2)] == [(0, None), (1, None)]
    patcher.remove_or_disable()


@pytest.mark.parametrize("name", ["plain", "coroutine", "items", "open_stream"])
async def test_an_earlier_wrapt_wrapper_keeps_its_instance(name: str) -> None:
    class Wrapped(SDK):
        """A class that another instrumentation has wrapped before."""

        def plain(self, count: int) -> int:
            return count

        coroutine, items, open_stream = (
            FunctionType(getattr(SDK, name).__code__, globals())
            for name in ("coroutine", "items", "open_stream")
        )

    instances: list[object] = []

    def other_wrapper(wrapped: Any, instance: object, args: Any, kwargs: Any) -> Any:
        instances.append(instance)
        return wrapped(*args, **kwargs)

    def flow(handler: TelemetryHandler, sdk: Any, arguments: Any) -> Flow:
        yield None

    wrapt.wrap_function_wrapper(Wrapped, name, other_wrapper)
    patcher = ModulePatcher()
    patcher.module = type("module", (), {"Wrapped": Wrapped})
    hook = Hook("Wrapped", name, ("count",), flow)
    patcher.install_or_reenable((hook,), object())  # type: ignore[arg-type]  # the flow ignores it
    sdk = Wrapped()
    returned = getattr(sdk, name)(1)
    returned = await returned if inspect.isawaitable(returned) else returned
    assert returned == 1 or [item async for item in iterate(returned)] == [(0, None)]
    assert instances == [sdk]
