"""Calls of LangGraph, in a server or in a script."""

from __future__ import annotations

import asyncio
import os
from importlib import import_module
from typing import Any, Final

openai: Final[Any] = import_module("langchain_openai")
prebuilt: Final[Any] = import_module("langgraph.prebuilt")
MODEL: Final = openai.ChatOpenAI(
    model="gpt-4o-mini",
    base_url=f"{os.environ['EMULATOR']}/v1",
    api_key="k",
    stream_usage=True,
)
AGENT: Final = prebuilt.create_react_agent(MODEL, [], name="warden")
QUESTION: Final = {"messages": [("user", "Where is my tent?")]}


def ask() -> Any:
    return AGENT.invoke(QUESTION)  # call


def stream() -> Any:
    return list(AGENT.stream(QUESTION))  # call


async def ask_async() -> Any:
    return await AGENT.ainvoke(QUESTION)  # call


async def stream_async() -> None:
    async for _ in AGENT.astream(QUESTION, stream_mode="messages"):  # call
        pass


async def ask_many() -> Any:
    return await AGENT.abatch([QUESTION, QUESTION])  # call


async def main() -> None:
    await ask_async()
    await stream_async()
    await asyncio.gather(ask_async(), stream_async(), ask_many())


if __name__ == "__main__":
    ask()
    stream()
    asyncio.run(main())
