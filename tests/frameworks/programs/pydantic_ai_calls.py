"""Calls of Pydantic AI, which traces its agents with the provider of the launcher."""

from __future__ import annotations

import asyncio
import os
from importlib import import_module
from typing import Any, Final

ai: Final[Any] = import_module("pydantic_ai")
models: Final[Any] = import_module("pydantic_ai.models.openai")
providers: Final[Any] = import_module("pydantic_ai.providers.openai")
ai.Agent.instrument_all()


def make_agent(name: str) -> Any:
    provider = providers.OpenAIProvider(base_url=f"{os.environ['EMULATOR']}/v1", api_key="k")
    return ai.Agent(models.OpenAIChatModel("gpt-4o-mini", provider=provider), name=name)


def ask() -> Any:
    return make_agent("warden").run_sync("Where is my tent?")  # call


async def ask_async() -> Any:
    return await make_agent("guide").run("Where is my tent?")  # call


async def stream() -> None:
    async with make_agent("warden").run_stream("Where is my tent?") as run:  # call
        async for _ in run.stream_text():
            pass


async def stream_events() -> None:
    async with make_agent("warden").run_stream_events("Where is my tent?") as events:
        async for _ in events:  # call
            pass


async def main() -> None:
    await ask_async()
    await stream()
    await stream_events()
    await asyncio.gather(ask_async(), stream(), stream_events())


asyncio.run(main())
ask()
