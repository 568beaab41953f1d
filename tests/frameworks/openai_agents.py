from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from tests.frameworks import KEY, QUESTION, SYSTEM

agents: Final[Any] = import_module("agents")
openai: Final[Any] = import_module("openai")
agents.set_tracing_disabled(True)  # the SDK sends its traces to OpenAI


def _make_agent(url: str, model: str, **more: Any) -> Any:
    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
    return agents.Agent(
        name="Warden",
        instructions=SYSTEM,
        model=getattr(agents, model)("gpt-4o-mini", openai_client=client),
        **more,
    )


async def chat(url: str) -> None:
    settings = agents.ModelSettings(include_usage=True)
    await agents.Runner.run(
        _make_agent(url, "OpenAIChatCompletionsModel", model_settings=settings), QUESTION
    )


async def responses(url: str) -> None:
    await agents.Runner.run(_make_agent(url, "OpenAIResponsesModel"), QUESTION)


async def chat_streamed(url: str) -> None:
    settings = agents.ModelSettings(include_usage=True)
    run = agents.Runner.run_streamed(
        _make_agent(url, "OpenAIChatCompletionsModel", model_settings=settings), QUESTION
    )
    [event async for event in run.stream_events()]


async def responses_streamed(url: str) -> None:
    run = agents.Runner.run_streamed(_make_agent(url, "OpenAIResponsesModel"), QUESTION)
    [event async for event in run.stream_events()]


CASES: Final = {
    "chat": chat,
    "responses": responses,
    "chat streamed": chat_streamed,
    "responses streamed": responses_streamed,
}
