"""LangGraph's agent, as LangChain 1 builds it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def find_order(number: str) -> str:
    """Find an order by its number."""
    return f"order {number} was sent"


def test_langgraph(model: Any, instructions: Callable[[], str]) -> None:
    create_agent = import_module("langchain.agents").create_agent
    chat_model = import_module("langchain_openai").ChatOpenAI(model="gpt-4.1")
    messages: list[Any] = []
    for text in ("Where is order 12?", "Will it come today?"):
        # One agent for each request, as in a web service.
        agent = create_agent(chat_model, [find_order], system_prompt=instructions())
        given = [*messages, {"role": "user", "content": text}]
        messages = agent.invoke({"messages": given})["messages"]
    assert len(model.calls) == 3
