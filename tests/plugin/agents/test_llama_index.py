"""LlamaIndex's function agent. It needs an older OpenAI SDK, which is built on httpx."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import Any


def find_order(number: str) -> str:
    """Find an order by its number."""
    return f"order {number} was sent"


def test_llama_index(model: Any, instructions: Callable[[], str]) -> None:
    workflow: Any = import_module("llama_index.core.agent.workflow")
    memory: Any = import_module("llama_index.core.memory").ChatMemoryBuffer.from_defaults()
    language_model = import_module("llama_index.llms.openai").OpenAI(model="gpt-4.1")

    async def run() -> None:
        for text in ("Where is order 12?", "Will it come today?"):
            agent = workflow.FunctionAgent(
                llm=language_model, tools=[find_order], system_prompt=instructions()
            )
            await agent.run(text, memory=memory)

    asyncio.run(run())
    assert len(model.calls) == 3
