"""Calls of Google's Agent Development Kit, whose agents run in tasks that fill a queue."""

from __future__ import annotations

import asyncio
import os
from importlib import import_module
from typing import Any, Final

os.environ.update(GOOGLE_API_KEY="k", GOOGLE_GEMINI_BASE_URL=os.environ["EMULATOR"])
agents: Final[Any] = import_module("google.adk.agents")
runners: Final[Any] = import_module("google.adk.runners")
types: Final[Any] = import_module("google.genai.types")
QUESTION: Final = types.Content(role="user", parts=[types.Part(text="Where is my tent?")])


async def start_session(name: str) -> tuple[Any, dict[str, Any]]:
    agent = agents.LlmAgent(name=name, model="gemini-2.5-flash", instruction="Find tents.")
    runner = runners.InMemoryRunner(agent=agent, app_name="camp")
    session = await runner.session_service.create_session(app_name="camp", user_id="u")
    return runner, {"user_id": "u", "session_id": session.id, "new_message": QUESTION}


async def ask_async() -> None:
    runner, question = await start_session("warden")
    async for _ in runner.run_async(**question):  # call
        pass


async def ask_guide() -> None:
    runner, question = await start_session("guide")
    async for _ in runner.run_async(**question):  # call
        pass


def ask() -> None:
    runner, question = asyncio.run(start_session("warden"))
    for _ in runner.run(**question):  # call
        pass


async def main() -> None:
    await ask_async()
    await asyncio.gather(ask_async(), ask_guide())


asyncio.run(main())
ask()
