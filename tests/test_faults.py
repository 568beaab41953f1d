"""Whatever of ours fails, wherever: the application's results are the same and nothing escapes.

Sites are found by the test itself: every function of the package, made to raise, one at a time.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from types import CodeType, FunctionType
from typing import Any, Final

import openai
import pytest

from .calls import CHAT, RESPONSES, USAGE
from .conftest import Telemetry

Clients = tuple[openai.OpenAI, openai.AsyncOpenAI]

APART: Final = ("emulator", "cli", "commands", "causes", "exits", "prices_command", "prices.build", "prices.file")
KERNEL: Final = frozenset(
    {
        # What the application itself calls in place of the SDK's function: it runs the SDK's code, so it cannot be
        # made to raise without breaking the call by hand. Everything below it can.
        "promptcache.safety.safely",
        "promptcache.patch.around.Around.__init__",
        "promptcache.patch.around.Around.__enter__",
        "promptcache.patch.around.Around.__exit__",
        "promptcache.patch.around.Around._go_on",
        "promptcache.patch.around.Around.follows",
        "promptcache.patch.around.Ended.__init__",
        "promptcache.patch.response.Watched.__getattr__",
        "promptcache.patch.response.Watched.__iter__",
        "promptcache.patch.response.Watched.__aiter__",
        "promptcache.patch.response.Watched.__del__",
        "promptcache.patch.response.Watched.close",
        "promptcache.patch.response.Watched.aclose",
        "promptcache.patch.response.Watched._iter_bytes",
        "promptcache.patch.response.Watched._aiter_bytes",
        "promptcache.patch.response._listen",
        "promptcache.ambient.attributes",
        "promptcache.memory.Memory.__exit__",  # releases a lock, and nothing else
    }
)


def functions() -> Iterator[tuple[str, FunctionType]]:
    """Every function and method of the loaded package that has no closure, by its dotted name."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] != "promptcache" or name.removeprefix("promptcache.").startswith(APART):
            continue
        for holder in [module, *(item for item in vars(module).values() if inspect.isclass(item))]:
            for item in list(vars(holder).values()):
                item = getattr(item, "__wrapped__", getattr(item, "__func__", getattr(item, "fget", item)))
                if isinstance(item, FunctionType) and item.__module__ == name and not item.__code__.co_freevars:
                    yield f"{name}.{item.__qualname__}", item


def raising() -> CodeType:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise LookupError("the canary of a fault")

    return fail.__code__


async def use(clients: Clients) -> list[Any]:
    """What an application sees: plain, streamed, read by lines, given up, refused, async."""
    client, other = clients
    seen: list[Any] = []
    create: Any = client.chat.completions.create
    seen.append(create(**CHAT).choices[0].message.content)
    stream = create(**CHAT, stream=True, stream_options=USAGE)
    seen.append([chunk.choices[0].delta.content for chunk in stream if chunk.choices])
    streaming: Any = client.responses.with_streaming_response
    with streaming.create(**RESPONSES, stream=True) as raw:
        seen.append(len(list(raw.iter_lines())))
    dropped = create(**CHAT, stream=True)
    next(iter(dropped))
    dropped.close()
    try:
        create(**CHAT, extra_headers={"x-emulator-fault": "429"})
    except openai.RateLimitError as error:
        seen.append(error.status_code)
    create = other.responses.create
    seen.append((await create(**RESPONSES)).output_text)
    seen.append([event.type async for event in await create(**RESPONSES, stream=True)])
    return seen


@pytest.fixture
async def clients(emulator_url: str) -> AsyncIterator[Clients]:
    url = f"{emulator_url}/v1"
    with openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client:
        async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as other:
            yield client, other


async def test_no_fault_of_ours_reaches_the_application(
    clients: Clients, instrumented: Callable[..., Telemetry], caplog: pytest.LogCaptureFixture
) -> None:
    expected = await use(clients)
    telemetry = instrumented()
    ran: set[CodeType] = set()
    sys.setprofile(lambda frame, event, argument: ran.add(frame.f_code))
    seen = await use(clients)
    sys.setprofile(None)
    assert seen == expected
    assert len(telemetry.spans) == 7
    escaped: list[str] = []
    sites = [(name, site) for name, site in functions() if name not in KERNEL and site.__code__ in ran]
    assert len(sites) > 100
    for name, function in sites:
        code = function.__code__
        function.__code__ = raising()
        try:
            if await use(clients) != expected:
                escaped.append(f"{name}: another result")
        except Exception as error:  # noqa: BLE001  # whatever escapes is what is looked for
            escaped.append(f"{name}: {type(error).__name__}: {error}")
        finally:
            function.__code__ = code
    assert not escaped
    assert "canary" not in caplog.text
    assert await use(clients) == expected


async def test_a_kind_of_failure_is_said_once(
    clients: Clients, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise LookupError

    monkeypatch.setattr("promptcache.meters.Meters.record", fail)
    await use(clients)
    await use(clients)
    assert len([record for record in caplog.records if record.name == "promptcache"]) == 1
    assert len(telemetry.spans) == 14, "a failed meter takes no span with it"
