"""pydantic-ai, with instructions that are a function."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def find_order(number: str) -> str:
    """Find an order by its number."""
    return f"order {number} was sent"


def test_pydantic_ai(model: Any, instructions: Callable[[], str]) -> None:
    agent = import_module("pydantic_ai").Agent(
        "openai-responses:gpt-5", instructions=instructions, tools=[find_order]
    )
    result = agent.run_sync("Where is order 12?")
    agent.run_sync("Will it come today?", message_history=result.all_messages())
    assert len(model.calls) == 3
