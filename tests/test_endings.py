"""Every way in which a stream or a call can end: exactly one ended span, with what was known by then."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import openai
import pytest

from promptcache.emulator.engine import Emulator

from .calls import CHAT, HTTP, RESPONSES, USAGE, done, each, offered, opened
from .conftest import Telemetry

CLIENTS: Final = {"sync": openai.OpenAI, "async": openai.AsyncOpenAI}
FAULT: Final = "x-emulator-fault"


@pytest.fixture(params=CLIENTS)
async def client(request: pytest.FixtureRequest, emulator_url: str) -> AsyncIterator[Any]:
    made = CLIENTS[request.param](base_url=f"{emulator_url}/v1", api_key="secret-key", max_retries=0)
    yield made
    await done(made.close())


def chat(client: Any, stream: bool = True, **more: Any) -> Any:
    usage = {"stream_options": USAGE} if stream else {}
    return client.chat.completions.create(**{**CHAT, **usage, **more}, stream=stream)


def responses(client: Any, stream: bool = True, **more: Any) -> Any:
    return client.responses.create(**{**RESPONSES, **more}, stream=stream)


STARTS: Final = {"chat": chat} | ({"responses": responses} if offered("responses.create") else {})


@pytest.fixture(params=STARTS)
def start(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return STARTS[request.param]


async def exhausted(stream: Any) -> None:
    async for _ in each(stream):
        pass


async def broken_out_of(stream: Any) -> None:
    items = each(stream)
    async for _ in items:
        break
    await items.aclose()  # type: ignore[attr-defined]  # an async generator, which has it
    await done(stream.close())


async def closed_at_once(stream: Any) -> None:
    await done(stream.close())


async def closed_twice(stream: Any) -> None:
    await done(stream.close())
    await done(stream.close())


async def as_context_manager(stream: Any) -> None:
    async with opened(stream) as inside:
        async for _ in each(inside):
            break


async def callers_own_exception(stream: Any) -> None:
    async def use() -> None:
        async with opened(stream) as inside:
            async for _ in each(inside):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await use()


async def closed_while_handling_another(stream: Any) -> None:
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        await done(stream.close())


ENDINGS: Final = (
    exhausted, broken_out_of, closed_at_once, closed_twice, as_context_manager, callers_own_exception,
    closed_while_handling_another,
)  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.__name__)
async def test_a_stream_ends_once(
    ending: Callable[[Any], Awaitable[None]], start: Callable[..., Any], client: Any, telemetry: Telemetry
) -> None:
    stream = await done(start(client))
    assert not telemetry.spans
    await ending(stream)
    assert telemetry.span.status.is_unset
    complete = ending is exhausted
    assert telemetry.attributes["promptcache.stream.completed"] is complete
    assert ("promptcache.input_tokens" in telemetry.attributes) is complete
    assert ("gen_ai.response.time_to_first_chunk" in telemetry.attributes) is complete
    assert telemetry.metric("promptcache.calls") == 1
    assert not stream.response.__dict__.keys() & {"iter_bytes", "aiter_bytes"}
    assert type(stream.response.stream).__name__ != "Watched"


@pytest.mark.parametrize("read", [0, 1], ids=["never read", "begun"])
async def test_an_abandoned_stream_ends_with_the_garbage(
    read: int, start: Callable[..., Any], client: Any, telemetry: Telemetry
) -> None:
    # The async client warns, with us and without, when its connection is left to the garbage collector.
    async def abandon() -> None:
        stream = await done(start(client))
        if read:
            items = each(stream)
            await anext(items)
            await items.aclose()  # type: ignore[attr-defined]  # an async generator, which has it

    await abandon()
    for _ in range(3):
        gc.collect()
        await asyncio.sleep(0)
    assert telemetry.attributes["promptcache.outcome"] == "unreported"
    assert telemetry.metric("promptcache.calls") == 1


@pytest.mark.parametrize(
    ("fault", "raises", "error"),
    [
        ("error-event=3", openai.APIError, {"APIError", "server_error"}),
        ("drop=3", (openai.APIConnectionError, HTTP.RemoteProtocolError), {"RemoteProtocolError"}),
    ],
)
async def test_a_server_that_fails_in_mid_stream(
    fault: str, raises: type[Exception], error: set[str], client: Any, telemetry: Telemetry
) -> None:
    stream = await done(chat(client, extra_headers={FAULT: fault}))
    with pytest.raises(raises):
        await exhausted(stream)
    await done(stream.close())  # before openai 3 the SDK leaves that to the application
    assert telemetry.attributes["error.type"] in error
    assert telemetry.attributes["promptcache.outcome"] == "error"
    assert not telemetry.span.status.is_ok
    assert telemetry.span.status.description is None


@pytest.mark.parametrize("fault", ["failed", "incomplete"] if "responses" in STARTS else [])
async def test_a_response_that_says_it_failed(fault: str, client: Any, telemetry: Telemetry) -> None:
    await exhausted(await done(responses(client, extra_headers={FAULT: fault})))
    assert telemetry.attributes["gen_ai.response.finish_reasons"] == (fault,)
    assert ("error.type" in telemetry.attributes) is (fault == "failed")


@pytest.mark.parametrize(
    ("fault", "raises"),
    [("429", openai.RateLimitError), ("500", openai.InternalServerError), ("reset", openai.APIConnectionError)],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_refused_call(
    fault: str, raises: type[Exception], stream: bool, start: Callable[..., Any], client: Any, telemetry: Telemetry
) -> None:
    with pytest.raises(raises):
        await done(start(client, stream, extra_headers={FAULT: fault}))
    assert telemetry.attributes["error.type"] == raises.__name__
    assert telemetry.attributes["promptcache.outcome"] == "error"
    assert "promptcache.cost.unknown" not in telemetry.attributes


async def test_retries_are_one_call(start: Callable[..., Any], client: Any, telemetry: Telemetry) -> None:
    await done(start(client.with_options(max_retries=2), stream=False, extra_headers={FAULT: "500x1"}))
    assert telemetry.attributes["http.request.resend_count"] == 1
    assert telemetry.span.status.is_unset


async def test_invalid_arguments_are_no_call(client: Any, telemetry: Telemetry) -> None:
    with pytest.raises(TypeError):
        await done(client.chat.completions.create(model="gpt-5.4"))
    assert not telemetry.spans


async def test_other_endpoints_are_no_calls(client: Any, telemetry: Telemetry) -> None:
    with pytest.raises(openai.NotFoundError):
        await done(client.models.retrieve("gpt-5.4"))
    assert not telemetry.spans


async def test_a_cancelled_call(emulator_url: str, start: Callable[..., Any], telemetry: Telemetry) -> None:
    async with openai.AsyncOpenAI(base_url=f"{emulator_url}/v1", api_key="k") as client:
        waiting = asyncio.create_task(start(client, stream=False, extra_headers={FAULT: "slow=30"}))
        await asyncio.sleep(0.2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert telemetry.attributes["error.type"] == "CancelledError"


async def test_a_cancelled_stream(emulator_url: str, start: Callable[..., Any], telemetry: Telemetry) -> None:
    async with openai.AsyncOpenAI(base_url=f"{emulator_url}/v1", api_key="k") as client:
        stream = await start(client, extra_headers={FAULT: "slow=0.2"})
        reading = asyncio.create_task(exhausted(stream))
        await asyncio.sleep(0.3)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await stream.close()
    assert telemetry.metric("promptcache.calls") == 1
    assert telemetry.span.end_time is not None


async def test_twenty_at_once(client: Any, emulator: Emulator, telemetry: Telemetry) -> None:
    def ask(number: int) -> Any:
        return chat(client, stream=False, messages=[{"role": "user", "content": f"Question {number}?"}])

    if isinstance(client, openai.OpenAI):
        with ThreadPoolExecutor(20) as pool:
            made = list(pool.map(ask, range(20)))
    else:
        made = await asyncio.gather(*(ask(number) for number in range(20)))
    seen = [(span.attributes or {})["gen_ai.response.id"] for span in telemetry.spans]
    assert sorted(map(str, seen)) == sorted(one.id for one in made)
    assert len(telemetry.spans) == 20
    assert len({span.context.trace_id for span in telemetry.spans if span.context}) == 20
    assert telemetry.metric("promptcache.input.tokens") == sum(record.outcome.input for record in emulator.ledger)
