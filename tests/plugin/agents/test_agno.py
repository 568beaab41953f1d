"""Agno, with a session in memory."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def find_order(number: str) -> str:
    """Find an order by its number."""
    return f"order {number} was sent"


def test_agno(model: Any, instructions: Callable[[], str]) -> None:
    claude = import_module("agno.models.anthropic").Claude(
        id="claude-sonnet-4-6", cache_system_prompt=True
    )
    database = import_module("agno.db.in_memory").InMemoryDb()
    for text in ("Where is order 12?", "Will it come today?"):
        agent = import_module("agno.agent").Agent(
            model=claude,
            db=database,
            session_id="one",
            add_history_to_context=True,
            tools=[find_order],
            system_message=instructions(),
            telemetry=False,
        )
        agent.run(text)
    assert len(model.calls) == 3
