"""`lead` lets one call write the prefix that all others read."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import pytest

from promptcache import lead
from promptcache_emulator.engine import Emulator
from promptcache_emulator.server import running_server
from tests.support.harness_world import CLAUDE, support_prompt


class Call:
    """A call that notes when it starts and ends."""

    def __init__(self, name: str, notes: list[str], error: Exception | None = None) -> None:
        self.name, self.notes, self.error = name, notes, error

    async def run(self) -> str:
        self.notes.append(f"+{self.name}")
        await asyncio.sleep(0.001)
        self.notes.append(f"-{self.name}")
        if self.error:
            raise self.error
        return self.name


async def test_the_first_call_runs_alone_and_the_others_together() -> None:
    notes: list[str] = []
    results = await lead(*(Call(name, notes).run() for name in "abcd"))
    assert results == ["a", "b", "c", "d"]
    assert notes[:5] == ["+a", "-a", "+b", "+c", "+d"]


async def test_a_failing_leader_hands_over() -> None:
    notes: list[str] = []
    error = ValueError("no")
    calls = [Call("a", notes, error), Call("b", notes, error), Call("c", notes), Call("d", notes)]
    results = await lead(*(call.run() for call in calls), return_exceptions=True)
    assert results == [error, error, "c", "d"]
    assert notes == ["+a", "-a", "+b", "-b", "+c", "-c", "+d", "-d"]


async def test_an_exception_is_raised_as_gather_raises_it() -> None:
    notes: list[str] = []
    error = ValueError("no")
    with pytest.raises(ValueError, match="no"):
        await lead(Call("a", notes, error).run(), Call("b", notes).run())
    await asyncio.sleep(0.05)
    assert notes == ["+a", "-a", "+b", "-b"]


async def test_cancelling_ends_all_calls() -> None:
    notes: list[str] = []
    task = asyncio.ensure_future(lead(*(Call(name, notes).run() for name in "abc")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.01)
    assert notes in ([], ["+a"])


async def test_nothing_gives_nothing() -> None:
    assert await lead() == []


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_cold_fan_out_writes_once(streamed: bool) -> None:
    emulator = Emulator()
    prompt = support_prompt()
    with running_server(emulator, latency=0.02) as url:
        async with anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0) as client:

            def ask(number: int) -> Any:
                chat: Any = prompt.chat(wire="anthropic", model=CLAUDE)
                create: Any = client.messages.create
                return create(**chat.ask(f"Question {number}"), max_tokens=50, stream=streamed)

            answers = await lead(*(ask(number) for number in range(20)))
            if streamed:
                for stream in answers:
                    async for _ in stream:
                        pass
    writes = [record.result.cache_write_tokens for record in emulator.records]
    reads = [record.result.cache_read_tokens for record in emulator.records]
    assert sum(count > 0 for count in writes) == 1
    assert sum(count > 0 for count in reads) == 19
