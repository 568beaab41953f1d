"""Every way in which a stream or a call can end: exactly one ended span, with what was known by
then."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
from opentelemetry.trace import StatusCode

from promptcache_emulator.engine import Emulator
from tests.support.call_shapes import client_with_options, enter, iterate, resolve
from tests.support.sdks import KITS, PLATFORMS, Kit
from tests.support.telemetry import Telemetry

FAULT: Final = "x-emulator-fault"
CASES: Final = {
    f"{kit.name}-{kind}-{name}": (kit, kind, start)
    for kit in (*KITS, *PLATFORMS)
    for kind in kit.clients
    for name, start in kit.starts.items()
}
RESPONSES: Final = [name for name in CASES if name.endswith("-responses")]
Case = tuple[Kit, str, Callable[..., Any]]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def kit(case: Case) -> Kit:
    return case[0]


@pytest.fixture
def start(case: Case) -> Callable[..., Any]:
    return case[2]


@pytest.fixture
async def client(case: Case, emulator_url: str) -> AsyncIterator[Any]:
    async with case[0].clients[case[1]](emulator_url) as made:
        yield made


async def exhausted(stream: Any) -> None:
    async for _ in iterate(stream):
        pass


async def broken_out_of(stream: Any) -> None:
    items = iterate(stream)
    async for _ in items:
        break
    await items.aclose()  # type: ignore[attr-defined]  # an async generator, which has it
    await resolve(stream.close())


async def closed_at_once(stream: Any) -> None:
    await resolve(stream.close())


async def closed_twice(stream: Any) -> None:
    await resolve(stream.close())
    await resolve(stream.close())


async def as_context_manager(stream: Any) -> None:
    async with enter(stream) as inside:
        async for _ in iterate(inside):
            break


async def callers_own_exception(stream: Any) -> None:
    async def use() -> None:
        async with enter(stream) as inside:
            async for _ in iterate(inside):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await use()


async def closed_while_handling_another(stream: Any) -> None:
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        await resolve(stream.close())


async def read_the_wrong_way_first(stream: Any) -> None:
    response = stream.response
    wrong = (
        (response.read, response.close)
        if hasattr(stream, "__aiter__")
        else (response.aread, response.aclose)
    )
    for read in wrong:
        with pytest.raises(RuntimeError):
            await resolve(read())
    await exhausted(stream)


ENDINGS: Final = (
    exhausted,
    broken_out_of,
    closed_at_once,
    closed_twice,
    as_context_manager,
    callers_own_exception,
    closed_while_handling_another,
    read_the_wrong_way_first,
)


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.__name__)
async def test_a_stream_ends_its_span_once(
    ending: Callable[[Any], Awaitable[None]],
    kit: Kit,
    start: Callable[..., Any],
    client: Any,
    telemetry: Telemetry,
) -> None:
    stream = await resolve(start(client))
    assert not telemetry.spans
    await ending(stream)
    assert telemetry.span.status.status_code is not StatusCode.ERROR
    complete = ending in {exhausted, read_the_wrong_way_first}
    begun = kit.early and ending not in {
        closed_at_once,
        closed_twice,
        closed_while_handling_another,
    }
    assert telemetry.attributes["promptcache.stream.completed"] is complete
    assert ("promptcache.input_tokens" in telemetry.attributes) is (complete or begun)
    assert ("gen_ai.response.time_to_first_chunk" in telemetry.attributes) is complete
    assert telemetry.metric("promptcache.calls") == 1
    assert not stream.response.__dict__.keys() & {"iter_bytes", "aiter_bytes"}
    assert type(stream.response.stream).__name__ != "ObservedByteStream"


@pytest.mark.parametrize("read", [0, 1], ids=["never read", "begun"])
async def test_a_garbage_collected_stream_ends_its_span(
    read: int, kit: Kit, start: Callable[..., Any], client: Any, telemetry: Telemetry
) -> None:
    # The async client warns, with us and without, when its connection is left to the garbage
    # collector.
    async def abandon() -> None:
        stream = await resolve(start(client))
        if read:
            items = iterate(stream)
            await anext(items)
            await items.aclose()  # type: ignore[attr-defined]  # an async generator, which has it

    gc.freeze()  # what earlier tests left behind would be searched every time
    await abandon()
    for _ in range(20):
        gc.collect()
        if telemetry.metric("promptcache.calls"):
            break
        await asyncio.sleep(0.01)
    gc.unfreeze()
    assert (telemetry.attributes["promptcache.outcome"] == "unreported") is not (
        kit.early and read > 0
    )
    assert telemetry.metric("promptcache.calls") == 1


@pytest.mark.parametrize("fault", ["error-event=3", "drop=3"])
@pytest.mark.parametrize("case", [name for name in CASES if name not in RESPONSES], indirect=True)
async def test_a_server_error_during_a_stream_is_recorded(
    fault: str, kit: Kit, start: Callable[..., Any], client: Any, telemetry: Telemetry
) -> None:
    stream = await resolve(start(client, extra_headers={FAULT: fault}))
    # Older releases of Anthropic's SDK cannot read an error in Bedrock's framing, and raise a
    # ValueError.
    with pytest.raises((kit.errors.APIError, kit.http.RemoteProtocolError, ValueError)):
        await exhausted(stream)
    await resolve(stream.close())  # before openai 3 the SDK leaves that to the application
    assert telemetry.attributes["error.type"]
    # Who reported usage before it failed is judged by it.
    assert telemetry.attributes["promptcache.outcome"] == ("cold" if kit.early else "error")
    assert telemetry.attributes["promptcache.stream.completed"] is False
    assert telemetry.metric("promptcache.calls") == 1
    assert telemetry.span.status.status_code is StatusCode.ERROR
    assert telemetry.span.status.description is None


@pytest.mark.parametrize("fault", ["failed", "incomplete"])
@pytest.mark.parametrize("case", RESPONSES, indirect=True)
async def test_a_failed_or_incomplete_response_is_recorded(
    fault: str, start: Callable[..., Any], client: Any, telemetry: Telemetry
) -> None:
    await exhausted(await resolve(start(client, extra_headers={FAULT: fault})))
    assert telemetry.attributes["gen_ai.response.finish_reasons"] == (fault,)
    assert ("error.type" in telemetry.attributes) is (fault == "failed")


@pytest.mark.parametrize(
    ("fault", "raises"),
    [
        ("429", "RateLimitError"),
        ("500", "InternalServerError"),
        ("529", "APIStatusError"),
        ("reset", "APIConnectionError"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_refused_call_is_an_error(
    fault: str,
    raises: str,
    stream: bool,
    kit: Kit,
    start: Callable[..., Any],
    client: Any,
    telemetry: Telemetry,
) -> None:
    with pytest.raises(getattr(kit.errors, raises)):
        await resolve(start(client, stream, extra_headers={FAULT: fault}))
    assert telemetry.attributes["error.type"]
    assert telemetry.span.status.status_code is StatusCode.ERROR
    assert telemetry.metric("promptcache.calls", promptcache__outcome="error") == 1
    assert telemetry.attributes["promptcache.outcome"] == "error"
    assert "promptcache.cost.unknown" not in telemetry.attributes


async def test_retries_belong_to_one_call(
    start: Callable[..., Any], client: Any, telemetry: Telemetry
) -> None:
    async with client_with_options(client, max_retries=2) as patient:
        await resolve(start(patient, stream=False, extra_headers={FAULT: "500x1"}))
    assert telemetry.attributes["http.request.resend_count"] == 1
    assert telemetry.span.status.status_code is not StatusCode.ERROR


async def test_invalid_arguments_make_no_call(
    start: Callable[..., Any], client: Any, telemetry: Telemetry
) -> None:
    with pytest.raises(TypeError):
        await resolve(start(client, unknown=1))
    assert not telemetry.calls
    assert telemetry.metric("promptcache.calls") == 0


async def test_requests_to_other_endpoints_are_no_calls(
    kit: Kit, client: Any, telemetry: Telemetry
) -> None:
    with pytest.raises(kit.errors.NotFoundError):
        await resolve(client.get("/v1/models/gpt-5.4", cast_to=object))
    assert not telemetry.calls
    assert telemetry.metric("promptcache.calls") == 0


async def test_a_cancelled_call_is_an_error(
    kit: Kit, emulator_url: str, start: Callable[..., Any], telemetry: Telemetry
) -> None:
    async with kit.clients["async"](emulator_url) as client:
        waiting = asyncio.create_task(start(client, stream=False, extra_headers={FAULT: "slow=30"}))
        await asyncio.sleep(0.2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert telemetry.attributes["error.type"] == "CancelledError"
    assert telemetry.attributes["promptcache.outcome"] == "error"


async def test_a_cancelled_stream_is_incomplete_and_no_error(
    kit: Kit, emulator_url: str, start: Callable[..., Any], telemetry: Telemetry
) -> None:
    async with kit.clients["async"](emulator_url) as client:
        stream = await start(client, extra_headers={FAULT: "slow=0.2"})
        reading = asyncio.create_task(exhausted(stream))
        await asyncio.sleep(0.3)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await stream.close()
        # Given up and not failed, as any stream that is left in the middle; it ends before its
        # client does.
        assert telemetry.metric("promptcache.calls") == 1
        assert telemetry.attributes["promptcache.stream.completed"] is False
        assert telemetry.attributes["promptcache.outcome"] == (
            "cold" if kit.early else "unreported"
        )
        assert "error.type" not in telemetry.attributes
        assert telemetry.span.status.status_code is not StatusCode.ERROR


async def test_twenty_concurrent_calls_have_separate_spans(
    start: Callable[..., Any], client: Any, emulator: Emulator, telemetry: Telemetry
) -> None:
    def ask(number: int) -> Any:
        return start(client, stream=False, extra_headers={"x-number": str(number)})

    if inspect.iscoroutinefunction(client.request):
        made = await asyncio.gather(*(ask(number) for number in range(20)))
    else:
        with ThreadPoolExecutor(20) as pool:
            made = list(pool.map(ask, range(20)))
    seen = [(span.attributes or {})["gen_ai.response.id"] for span in telemetry.spans]
    assert sorted(map(str, seen)) == sorted(one.id for one in made)
    assert len(telemetry.spans) == 20
    assert len({span.context.trace_id for span in telemetry.spans if span.context}) == 20
    assert telemetry.metric("promptcache.input.tokens") == sum(
        record.result.input_tokens for record in emulator.records
    )
