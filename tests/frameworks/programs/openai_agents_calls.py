"""Calls of OpenAI's Agents SDK. A streamed run is a task that fills a queue."""

from __future__ import annotations

import asyncio
import os
from importlib import import_module
from typing import Any, Final

agents: Final[Any] = import_module("agents")
openai: Final[Any] = import_module("openai")
agents.set_tracing_disabled(True)  # the SDK sends its traces to OpenAI


def make_agent(name: str = "warden") -> Any:
    client = openai.AsyncOpenAI(base_url=f"{os.environ['EMULATOR']}/v1", api_key="k")
    model = agents.OpenAIResponsesModel("gpt-4o-mini", openai_client=client)
    return agents.Agent(name=name, instructions="Find tents.", model=model)


def ask() -> Any:
    return agents.Runner.run_sync(make_agent(), "Where is my tent?")  # call


async def ask_async() -> Any:
    return await agents.Runner.run(make_agent(), "Where is my tent?")  # call


async def stream() -> None:
    run = agents.Runner.run_streamed(make_agent(), "Where is my tent?")
    async for _ in run.stream_events():  # call
        pass


async def stream_guide() -> None:
    run = agents.Runner.run_streamed(make_agent("guide"), "Where is my boat?")
    async for _ in run.stream_events():  # call
        pass


async def main() -> None:
    await ask_async()
    await stream()
    await asyncio.gather(stream(), stream_guide(), ask_async())


asyncio.run(main())
ask()
