"""A server that answers by LangGraph. `uvicorn langgraph_server:app` runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any, Final

fastapi: Final[Any] = import_module("fastapi")
responses: Final[Any] = import_module("fastapi.responses")
calls: Final[Any] = import_module("langgraph_calls")
app: Final = fastapi.FastAPI()


async def answer() -> str:
    state = await calls.AGENT.ainvoke(calls.QUESTION)  # call
    return str(state["messages"][-1].content)


def answer_in_thread() -> str:
    state = calls.AGENT.invoke(calls.QUESTION)  # call
    return str(state["messages"][-1].content)


async def stream() -> Any:
    return responses.StreamingResponse(read_tokens(), media_type="text/plain")


async def read_tokens() -> AsyncIterator[str]:
    async for message, _ in calls.AGENT.astream(calls.QUESTION, stream_mode="messages"):  # call
        yield str(message.content)


app.get("/answer")(answer)
app.get("/answer-in-thread")(answer_in_thread)
app.get("/stream")(stream)
