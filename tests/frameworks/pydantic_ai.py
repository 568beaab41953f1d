from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

from tests.frameworks import KEY, QUESTION, SYSTEM, Ask


def _of(module: str, name: str) -> Any:
    return getattr(import_module(f"pydantic_ai{module}"), name)


Agent: Final = _of("", "Agent")


def chat(url: str) -> Any:
    client = import_module("openai").AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
    provider = _of(".providers.openai", "OpenAIProvider")(openai_client=client)
    return _of(".models.openai", "OpenAIChatModel")("gpt-4o-mini", provider=provider)


def responses(url: str) -> Any:
    provider = _of(".providers.openai", "OpenAIProvider")(base_url=f"{url}/v1", api_key=KEY)
    return _of(".models.openai", "OpenAIResponsesModel")("gpt-4o-mini", provider=provider)


def anthropic(url: str) -> Any:
    provider = _of(".providers.anthropic", "AnthropicProvider")(base_url=url, api_key=KEY)
    settings = {"anthropic_cache_instructions": True}
    return _of(".models.anthropic", "AnthropicModel")(
        "claude-sonnet-4-5", provider=provider, settings=settings
    )


def gemini(url: str) -> Any:
    provider = _of(".providers.google", "GoogleProvider")(base_url=url, api_key=KEY)
    return _of(".models.google", "GoogleModel")("gemini-2.5-flash", provider=provider)


def _cases(make: Callable[[str], Any]) -> Mapping[str, Ask]:
    def plain(url: str) -> None:
        Agent(make(url), instructions=SYSTEM).run_sync(QUESTION)

    async def streamed(url: str) -> None:
        async with Agent(make(url), instructions=SYSTEM).run_stream(QUESTION) as stream:
            await stream.get_output()

    return {f"{make.__name__} plain": plain, f"{make.__name__} streamed": streamed}


def fallback(url: str) -> None:
    both = _of(".models.fallback", "FallbackModel")(chat(url), chat(url))
    Agent(both, instructions=SYSTEM).run_sync(QUESTION)


@contextmanager
def traced(tracers: Any) -> Generator[None]:
    """With pydantic-ai's own OpenTelemetry spans."""
    Agent.instrument_all(
        _of(".models.instrumented", "InstrumentationSettings")(tracer_provider=tracers)
    )
    try:
        yield
    finally:
        Agent.instrument_all(False)


CASES: Final = {
    name: ask for make in (chat, responses, anthropic, gemini) for name, ask in _cases(make).items()
}
FALLBACKS: Final = {"fallback": fallback}
