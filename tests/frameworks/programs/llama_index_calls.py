"""Calls of LlamaIndex: a model alone, and an agent, which runs in tasks of a workflow."""

from __future__ import annotations

import asyncio
import os
from importlib import import_module
from typing import Any, Final

openai: Final[Any] = import_module("llama_index.llms.openai")
workflow: Final[Any] = import_module("llama_index.core.agent.workflow")
MODEL: Final = openai.OpenAI(
    model="gpt-4o-mini", api_base=f"{os.environ['EMULATOR']}/v1", api_key="k"
)
AGENT: Final = workflow.FunctionAgent(name="warden", llm=MODEL, tools=[])


def ask() -> Any:
    return MODEL.complete("Where is my tent?")  # call


def stream() -> Any:
    return list(MODEL.stream_complete("Where is my tent?"))  # call


async def ask_async() -> Any:
    return await MODEL.acomplete("Where is my tent?")  # call


async def ask_agent() -> Any:
    return await AGENT.run("Where is my tent?")  # call


async def read_agent() -> None:
    run = AGENT.run("Where is my tent?")
    async for _ in run.stream_events():  # call
        pass


async def main() -> None:
    await ask_async()
    await ask_agent()
    await read_agent()
    await asyncio.gather(ask_async(), ask_agent())


ask()
stream()
asyncio.run(main())
