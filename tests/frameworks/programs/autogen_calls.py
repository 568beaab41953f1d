"""Calls of AutoGen: an agent, and teams, whose agents run in tasks of a runtime."""

from __future__ import annotations

import asyncio
import os
from importlib import import_module
from typing import Any, Final

chat: Final[Any] = import_module("autogen_agentchat.agents")
teams: Final[Any] = import_module("autogen_agentchat.teams")
conditions: Final[Any] = import_module("autogen_agentchat.conditions")
models: Final[Any] = import_module("autogen_ext.models.openai")
MODEL: Final = models.OpenAIChatCompletionClient(
    model="gpt-4o-mini", base_url=f"{os.environ['EMULATOR']}/v1", api_key="k"
)


def make_agent(name: str) -> Any:
    return chat.AssistantAgent(name, model_client=MODEL)


def make_team() -> Any:
    stop = conditions.MaxMessageTermination(3)
    agents = [make_agent("warden"), make_agent("guide")]
    return teams.RoundRobinGroupChat(agents, termination_condition=stop)


async def ask_agent() -> Any:
    return await make_agent("warden").run(task="Where is my tent?")  # call


async def ask_team() -> Any:
    return await make_team().run(task="Where is my tent?")  # call


async def stream_team() -> None:
    async for _ in make_team().run_stream(task="Where is my tent?"):  # call
        pass


async def main() -> None:
    await ask_agent()
    await ask_team()
    await stream_team()
    await asyncio.gather(ask_team(), stream_team())


asyncio.run(main())
