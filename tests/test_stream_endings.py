"""However a stream or a call ends, it has exactly one ended span with the facts that were known."""

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
    async with case[0].clients[case[1]](emulator_url) as client:
        yield client


async def read_all(stream: Any) -> None:
    async for _ in iterate(stream):
        pass


async def break_and_close(stream: Any) -> None:
    items = iterate(stream)
    async for _ in items:
        break
    await items.aclose()  # type: ignore[attr-defined]  # an async generator has it
    await resolve(stream.close())


async def close_at_once(stream: Any) -> None:
    await resolve(stream.close())


async def close_twice(stream: Any) -> None:
    await resolve(stream.close())
    await resolve(stream.close())


async def read_in_context_manager(stream: Any) -> None:
    async with enter(stream) as entered:
        async for _ in iterate(entered):
            break


async def raise_in_context_manager(stream: Any) -> None:
    async def use() -> None:
        async with enter(stream) as entered:
            async for _ in iterate(entered):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await use()


async def close_while_handling_an_exception(stream: Any) -> None:
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        await resolve(stream.close())


async def read_with_the_wrong_method_first(stream: Any) -> None:
    response = stream.response
    wrong_methods = (
        (response.read, response.close)
        if hasattr(stream, "__aiter__")
        else (response.aread, response.aclose)
    )
    for read in wrong_methods:
        with pytest.raises(RuntimeError):
            await resolve(read())
    await read_all(stream)


ENDINGS: Final = (
    read_all,
    break_and_close,
    close_at_once,
    close_twice,
    read_in_context_manager,
    raise_in_context_manager,
    close_while_handling_an_exception,
    read_with_the_wrong_method_first,
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
    is_complete = ending in {read_all, read_with_the_wrong_method_first}
    is_usage_known = kit.early and ending not in {
        close_at_once,
        close_twice,
        close_while_handling_an_exception,
    }
    assert telemetry.attributes["promptcache.stream.completed"] is is_complete
    assert ("promptcache.input_tokens" in telemetry.attributes) is (is_complete or is_usage_known)
    assert ("gen_ai.response.time_to_first_chunk" in telemetry.attributes) is is_complete
    assert telemetry.metric("promptcache.calls") == 1
    assert not stream.response.__dict__.keys() & {"iter_bytes", "aiter_bytes"}
    assert type(stream.response.stream).__name__ != "ObservedByteStream"


@pytest.mark.parametrize("read", [0, 1], ids=["never read", "partially read"])
async def test_a_garbage_collected_stream_ends_its_span(
    read: int, kit: Kit, start: Callable[..., Any], client: Any, telemetry: Telemetry
) -> None:
    # With and without promptcache the async client warns when its connection is garbage
    # collected.
    async def abandon() -> None:
        stream = await resolve(start(client))
        if read:
            items = iterate(stream)
            await anext(items)
            await items.aclose()  # type: ignore[attr-defined]  # an async generator has it

    gc.freeze()  # each collection would search the objects of earlier tests
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
    # Older releases of anthropic cannot read an error in the framing of Bedrock and raise a
    # ValueError.
    with pytest.raises((kit.errors.APIError, kit.http.RemoteProtocolError, ValueError)):
        await read_all(stream)
    await resolve(stream.close())  # before openai 3 the application has to close the stream
    assert telemetry.attributes["error.type"]
    # Usage that was reported before the failure gives the outcome.
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
    await read_all(await resolve(start(client, extra_headers={FAULT: fault})))
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
    async with client_with_options(client, max_retries=2) as retrying_client:
        await resolve(start(retrying_client, stream=False, extra_headers={FAULT: "500x1"}))
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
        call = asyncio.create_task(start(client, stream=False, extra_headers={FAULT: "slow=30"}))
        await asyncio.sleep(0.2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert telemetry.attributes["error.type"] == "CancelledError"
    assert telemetry.attributes["promptcache.outcome"] == "error"


async def test_a_cancelled_stream_is_incomplete_and_no_error(
    kit: Kit, emulator_url: str, start: Callable[..., Any], telemetry: Telemetry
) -> None:
    async with kit.clients["async"](emulator_url) as client:
        stream = await start(client, extra_headers={FAULT: "slow=0.2"})
        read_task = asyncio.create_task(read_all(stream))
        await asyncio.sleep(0.3)
        read_task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await read_task
        await stream.close()
        # A cancelled stream is incomplete, but no error. It ends before its client is closed.
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
        responses = await asyncio.gather(*(ask(number) for number in range(20)))
    else:
        with ThreadPoolExecutor(20) as pool:
            responses = list(pool.map(ask, range(20)))
    response_ids = [(span.attributes or {})["gen_ai.response.id"] for span in telemetry.spans]
    assert sorted(map(str, response_ids)) == sorted(response.id for response in responses)
    assert len(telemetry.spans) == 20
    assert len({span.context.trace_id for span in telemetry.spans if span.context}) == 20
    assert telemetry.metric("promptcache.input.tokens") == sum(
        record.result.input_tokens for record in emulator.records
    )
