from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

from tests.frameworks import KEY, QUESTION, SYSTEM, MakeCall


def _import_name(module: str, name: str) -> Any:
    return getattr(import_module(f"pydantic_ai{module}"), name)


Agent: Final = _import_name("", "Agent")


def chat(url: str) -> Any:
    client = import_module("openai").AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
    provider = _import_name(".providers.openai", "OpenAIProvider")(openai_client=client)
    return _import_name(".models.openai", "OpenAIChatModel")("gpt-4o-mini", provider=provider)


def responses(url: str) -> Any:
    provider = _import_name(".providers.openai", "OpenAIProvider")(
        base_url=f"{url}/v1", api_key=KEY
    )
    return _import_name(".models.openai", "OpenAIResponsesModel")("gpt-4o-mini", provider=provider)


def anthropic(url: str) -> Any:
    provider = _import_name(".providers.anthropic", "AnthropicProvider")(base_url=url, api_key=KEY)
    settings = {"anthropic_cache_instructions": True}
    return _import_name(".models.anthropic", "AnthropicModel")(
        "claude-sonnet-4-6", provider=provider, settings=settings
    )


def gemini(url: str) -> Any:
    provider = _import_name(".providers.google", "GoogleProvider")(base_url=url, api_key=KEY)
    return _import_name(".models.google", "GoogleModel")("gemini-2.5-flash", provider=provider)


def _cases(make_model: Callable[[str], Any]) -> Mapping[str, MakeCall]:
    def plain(url: str) -> None:
        Agent(make_model(url), instructions=SYSTEM).run_sync(QUESTION)

    async def streamed(url: str) -> None:
        async with Agent(make_model(url), instructions=SYSTEM).run_stream(QUESTION) as stream:
            await stream.get_output()

    return {f"{make_model.__name__} plain": plain, f"{make_model.__name__} streamed": streamed}


def fallback(url: str) -> None:
    model = _import_name(".models.fallback", "FallbackModel")(chat(url), chat(url))
    Agent(model, instructions=SYSTEM).run_sync(QUESTION)


@contextmanager
def traced(tracers: Any) -> Generator[None]:
    """Add the OpenTelemetry spans of pydantic-ai itself."""
    Agent.instrument_all(
        _import_name(".models.instrumented", "InstrumentationSettings")(tracer_provider=tracers)
    )
    try:
        yield
    finally:
        Agent.instrument_all(False)


CASES: Final = {
    name: make_call
    for make_model in (chat, responses, anthropic, gemini)
    for name, make_call in _cases(make_model).items()
}
FALLBACKS: Final = {"fallback": fallback}
