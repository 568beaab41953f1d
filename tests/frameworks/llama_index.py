from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

from tests.frameworks import KEY, QUESTION, SYSTEM

openai: Final[Any] = import_module("llama_index.llms.openai")
ChatMessage: Final[Any] = import_module("llama_index.core.llms").ChatMessage
MESSAGES: Final = [
    ChatMessage(role="system", content=SYSTEM),
    ChatMessage(role="user", content=QUESTION),
]
USAGE: Final = {"stream_options": {"include_usage": True}}


def _chat(url: str) -> Any:
    return openai.OpenAI(model="gpt-4o-mini", api_base=f"{url}/v1", api_key=KEY, max_retries=0)


def _responses(url: str) -> Any:
    return openai.OpenAIResponses(
        model="gpt-4o-mini", api_base=f"{url}/v1", api_key=KEY, max_retries=0
    )


def plain(url: str) -> None:
    _chat(url).chat(MESSAGES)


def streamed(url: str) -> None:
    list(_chat(url).stream_chat(MESSAGES, **USAGE))


async def awaited(url: str) -> None:
    await _chat(url).achat(MESSAGES)


async def streamed_async(url: str) -> None:
    [chunk async for chunk in await _chat(url).astream_chat(MESSAGES, **USAGE)]


def responses(url: str) -> None:
    _responses(url).chat(MESSAGES)


def responses_streamed(url: str) -> None:
    list(_responses(url).stream_chat(MESSAGES))


@contextmanager
def traced(tracers: Any) -> Generator[None]:
    """Add the spans of OpenInference."""
    instrumentor: Any = import_module(
        "openinference.instrumentation.llama_index"
    ).LlamaIndexInstrumentor()
    instrumentor.instrument(tracer_provider=tracers)
    try:
        yield
    finally:
        instrumentor.uninstrument()


LATE: Final = True
"""OpenInference sets all attributes when a span ends, so it cannot be recognized as an LLM span."""
CASES: Final = {
    "plain": plain,
    "streamed": streamed,
    "awaited": awaited,
    "streamed, awaited": streamed_async,
    "responses": responses,
    "responses streamed": responses_streamed,
}
