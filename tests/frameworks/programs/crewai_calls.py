"""Calls of CrewAI: a model alone, and a crew."""

from __future__ import annotations

import asyncio
import os
from importlib import import_module
from typing import Any, Final

os.environ.update(CREWAI_DISABLE_TELEMETRY="true", CREWAI_TRACING_ENABLED="false")
crewai: Final[Any] = import_module("crewai")
MODEL: Final = crewai.LLM(
    model="openai/gpt-4o-mini", base_url=f"{os.environ['EMULATOR']}/v1", api_key="k"
)


def make_crew() -> Any:
    agent = crewai.Agent(role="warden", goal="find tents", backstory="knows all", llm=MODEL)
    task = crewai.Task(description="Find a tent.", expected_output="its place", agent=agent)
    return crewai.Crew(agents=[agent], tasks=[task])


def ask_model() -> Any:
    return MODEL.call("Where is my tent?")  # call


def ask_crew() -> Any:
    return make_crew().kickoff()  # call


async def ask_crew_async() -> Any:
    return await make_crew().kickoff_async()  # call


async def ask_crew_natively() -> Any:
    return await make_crew().akickoff()  # call


async def main() -> None:
    await asyncio.gather(ask_crew_async(), ask_crew_natively())


ask_model()
ask_crew()
asyncio.run(main())
