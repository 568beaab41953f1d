from __future__ import annotations

import logging
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

import httpx

from tests.frameworks import KEY, MARKED, QUESTION, SYSTEM, Ask

# Else it asks the network for prices and tokenizers.
os.environ.update({"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1"})
litellm: Final[Any] = import_module("litellm")
litellm.suppress_debug_info = True
for noisy in ("LiteLLM", "LiteLLM Router", "asyncio"):
    logging.getLogger(noisy).setLevel(logging.CRITICAL)
early: Final = litellm.completion
"""As an application has it that imports the name before anybody stands anywhere."""

CLAUDE: Final = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
AWS: Final = {
    "aws_access_key_id": "a",
    "aws_secret_access_key": "b",
    "aws_region_name": "us-east-1",
}
PLAIN: Final = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
CACHED: Final = [{"role": "system", "content": [MARKED]}, {"role": "user", "content": QUESTION}]
ROUTES: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "openai/gpt-4o-mini": ("/v1", {"messages": PLAIN, "api_key": KEY}),
    "deepseek/deepseek-chat": ("/v1", {"messages": PLAIN, "api_key": KEY}),
    "anthropic/claude-sonnet-4-5": ("", {"messages": CACHED, "api_key": KEY}),
    "gemini/gemini-2.5-flash": ("/v1beta", {"messages": PLAIN, "api_key": KEY}),
    f"bedrock/converse/{CLAUDE}": ("", {"messages": CACHED, **AWS}),
    f"bedrock/invoke/{CLAUDE}": ("", {"messages": CACHED, **AWS}),
}
"""Model -> where its provider's paths begin, and what the call needs."""
USAGE: Final = {"stream": True, "stream_options": {"include_usage": True}}


def _cases(model: str, base: str, call: Mapping[str, Any]) -> Mapping[str, Ask]:
    def asked(url: str) -> dict[str, Any]:
        return {"model": model, "api_base": url + base, "max_retries": 0, **call}

    def plain(url: str) -> None:
        litellm.completion(**asked(url))

    def streamed(url: str) -> None:
        stream = early(**asked(url), **USAGE)
        assert type(stream) is litellm.CustomStreamWrapper
        list(stream)

    async def awaited(url: str) -> None:
        await litellm.acompletion(**asked(url))

    async def streamed_async(url: str) -> None:
        stream = await litellm.acompletion(**asked(url), **USAGE)
        assert type(stream) is litellm.CustomStreamWrapper
        [chunk async for chunk in stream]

    short = model.removesuffix(f"/{CLAUDE}")
    asks: tuple[Ask, ...] = (plain, streamed, awaited, streamed_async)
    return {f"{short} {ask.__name__}": ask for ask in asks}


def responses(url: str) -> None:
    litellm.responses(
        model="openai/gpt-4o-mini",
        instructions=SYSTEM,
        input=QUESTION,
        api_base=f"{url}/v1",
        api_key=KEY,
    )


async def messages(url: str) -> None:
    await litellm.anthropic.messages.acreate(
        model="anthropic/claude-sonnet-4-5",
        system=[MARKED],
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=50,
        api_base=url,
        api_key=KEY,
    )


async def routed(url: str) -> None:
    deployment = {"model": "anthropic/claude-sonnet-4-5", "api_base": url, "api_key": KEY}
    router = litellm.Router([{"model_name": "any", "litellm_params": deployment}])
    await router.acompletion(model="any", messages=CACHED)


async def closed(url: str) -> None:
    """In the middle of its stream: what the first event told is kept. (One that is dropped waits
    for LiteLLM itself, which keeps the latest.)"""
    call = {
        "model": "anthropic/claude-sonnet-4-5",
        "messages": CACHED,
        "api_base": url,
        "api_key": KEY,
    }
    stream = await litellm.acompletion(**call, stream=True)
    await anext(stream)
    await stream.aclose()


class _Rerouted(httpx.HTTPTransport):
    """Leads to the emulator whatever the address: with an `api_base`, LiteLLM's paths of named
    caches are no more."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._to = httpx.URL(url)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(scheme="http", host=self._to.host, port=self._to.port)
        return super().handle_request(request)


def named_caches(url: str) -> None:
    """Of marked messages it makes a cache, the first time; each call reads it."""
    handler: Any = import_module("litellm.llms.custom_httpx.http_handler").HTTPHandler()
    handler.client = httpx.Client(transport=_Rerouted(url))
    early(model="gemini/gemini-2.5-flash", messages=CACHED, api_key=KEY, client=handler)


def mocked(url: str) -> None:
    """No request, hence no call: only the one before it counts."""
    early(model="openai/gpt-4o-mini", messages=PLAIN, mock_response="Behind the lake.")
    early(model="openai/gpt-4o-mini", messages=PLAIN, api_base=f"{url}/v1", api_key=KEY)


def retried(url: str) -> None:
    litellm.completion(
        model="anthropic/claude-sonnet-4-5",
        messages=CACHED,
        api_base=url,
        api_key=KEY,
        num_retries=1,
        max_retries=0,
    )


def fallback(url: str) -> None:
    litellm.completion(
        model="anthropic/claude-sonnet-4-5",
        messages=CACHED,
        api_base=url,
        api_key=KEY,
        fallbacks=["anthropic/claude-haiku-4-5"],
    )


@contextmanager
def traced(tracers: Any) -> Generator[None]:
    """With OpenInference's spans around `completion`."""
    theirs: Any = import_module("openinference.instrumentation.litellm").LiteLLMInstrumentor()
    theirs.instrument(tracer_provider=tracers)
    try:
        yield
    finally:
        theirs.uninstrument()


CASES: Final[Mapping[str, Ask]] = {
    **{
        name: ask
        for model, (base, call) in ROUTES.items()
        for name, ask in _cases(model, base, call).items()
    },
    **{ask.__name__: ask for ask in (responses, messages, routed, closed, named_caches, mocked)},
}
FALLBACKS: Final = {"retried": retried, "fallback": fallback}
