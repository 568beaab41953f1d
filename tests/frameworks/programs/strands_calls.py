"""Calls of Strands, whose agents run in a loop of their own where the caller is no coroutine."""

from __future__ import annotations

import asyncio
import os
from importlib import import_module
from typing import Any, Final

strands: Final[Any] = import_module("strands")
models: Final[Any] = import_module("strands.models.openai")


def make_agent(name: str) -> Any:
    client = {"base_url": f"{os.environ['EMULATOR']}/v1", "api_key": "k"}
    model = models.OpenAIModel(client_args=client, model_id="gpt-4o-mini")
    return strands.Agent(name=name, model=model, callback_handler=None)


def ask() -> Any:
    return make_agent("warden")("Where is my tent?")  # call


async def ask_async() -> Any:
    return await make_agent("guide").invoke_async("Where is my tent?")  # call


async def stream() -> None:
    async for _ in make_agent("warden").stream_async("Where is my tent?"):  # call
        pass


async def main() -> None:
    await ask_async()
    await stream()
    await asyncio.gather(ask_async(), stream())


ask()
asyncio.run(main())
