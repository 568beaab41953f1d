"""The OpenAI Agents SDK, with instructions that are a function."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def find_order(number: str) -> str:
    """Find an order by its number."""
    return f"order {number} was sent"


def test_openai_agents(model: Any, instructions: Callable[[], str]) -> None:
    agents: Any = import_module("agents")
    agents.set_tracing_disabled(True)

    def write_instructions(context: Any, agent: Any) -> str:
        return instructions()

    agent = agents.Agent(
        name="Support",
        model="gpt-4.1",
        instructions=write_instructions,
        tools=[agents.function_tool(find_order)],
    )
    # Without a session the SDK sends another cache key in each run, and the check fails rightly.
    session = agents.SQLiteSession("one")
    agents.Runner.run_sync(agent, "Where is order 12?", session=session)
    agents.Runner.run_sync(agent, "Will it come today?", session=session)
    assert len(model.calls) == 3
