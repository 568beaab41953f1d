from __future__ import annotations

import logging
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

import httpx

from tests.frameworks import CACHED_SYSTEM_BLOCK, KEY, QUESTION, SYSTEM, MakeCall

# Otherwise LiteLLM downloads prices and tokenizers.
os.environ.update({"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1"})
litellm: Final[Any] = import_module("litellm")
litellm.suppress_debug_info = True
for noisy in ("LiteLLM", "LiteLLM Router", "asyncio"):
    logging.getLogger(noisy).setLevel(logging.CRITICAL)
completion_before_instrumentation: Final = litellm.completion
"""The function as an application has it that imports the name before the instrumentation."""

CLAUDE: Final = "us.anthropic.claude-sonnet-4-6"
AWS: Final = {
    "aws_access_key_id": "a",
    "aws_secret_access_key": "b",
    "aws_region_name": "us-east-1",
}
PLAIN: Final = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
CACHED: Final = [
    {"role": "system", "content": [CACHED_SYSTEM_BLOCK]},
    {"role": "user", "content": QUESTION},
]
ROUTES: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "openai/gpt-4o-mini": ("/v1", {"messages": PLAIN, "api_key": KEY}),
    "deepseek/deepseek-chat": ("/v1", {"messages": PLAIN, "api_key": KEY}),
    "anthropic/claude-sonnet-4-6": ("", {"messages": CACHED, "api_key": KEY}),
    "gemini/gemini-2.5-flash": ("/v1beta", {"messages": PLAIN, "api_key": KEY}),
    f"bedrock/converse/{CLAUDE}": ("", {"messages": CACHED, **AWS}),
    f"bedrock/invoke/{CLAUDE}": ("", {"messages": CACHED, **AWS}),
}
"""Model -> base path of its provider, and arguments of the call."""
USAGE: Final = {"stream": True, "stream_options": {"include_usage": True}}


def _cases(model: str, base: str, call: Mapping[str, Any]) -> Mapping[str, MakeCall]:
    def arguments(url: str) -> dict[str, Any]:
        return {"model": model, "api_base": url + base, "max_retries": 0, **call}

    def plain(url: str) -> None:
        litellm.completion(**arguments(url))

    def streamed(url: str) -> None:
        stream = completion_before_instrumentation(**arguments(url), **USAGE)
        assert type(stream) is litellm.CustomStreamWrapper
        list(stream)

    async def awaited(url: str) -> None:
        await litellm.acompletion(**arguments(url))

    async def streamed_async(url: str) -> None:
        stream = await litellm.acompletion(**arguments(url), **USAGE)
        assert type(stream) is litellm.CustomStreamWrapper
        [chunk async for chunk in stream]

    short = model.removesuffix(f"/{CLAUDE}")
    calls: tuple[MakeCall, ...] = (plain, streamed, awaited, streamed_async)
    return {f"{short} {make_call.__name__}": make_call for make_call in calls}


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
        model="anthropic/claude-sonnet-4-6",
        system=[CACHED_SYSTEM_BLOCK],
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=50,
        api_base=url,
        api_key=KEY,
    )


async def routed(url: str) -> None:
    deployment = {"model": "anthropic/claude-sonnet-4-6", "api_base": url, "api_key": KEY}
    router = litellm.Router([{"model_name": "any", "litellm_params": deployment}])
    await router.acompletion(model="any", messages=CACHED)


async def closed(url: str) -> None:
    """Close a stream in the middle. The usage of its first event is kept.

    A stream that is dropped instead lives longer, since LiteLLM keeps the latest stream.
    """
    call = {
        "model": "anthropic/claude-sonnet-4-6",
        "messages": CACHED,
        "api_base": url,
        "api_key": KEY,
    }
    stream = await litellm.acompletion(**call, stream=True)
    await anext(stream)
    await stream.aclose()


class _EmulatorTransport(httpx.HTTPTransport):
    """Send every request to the emulator. With `api_base` LiteLLM has other paths for caches."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = httpx.URL(url)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(scheme="http", host=self._url.host, port=self._url.port)
        return super().handle_request(request)


def named_caches(url: str) -> None:
    """LiteLLM creates cached content from marked messages once, and each call reads it."""
    handler: Any = import_module("litellm.llms.custom_httpx.http_handler").HTTPHandler()
    handler.client = httpx.Client(transport=_EmulatorTransport(url))
    completion_before_instrumentation(
        model="gemini/gemini-2.5-flash", messages=CACHED, api_key=KEY, client=handler
    )


def mocked(url: str) -> None:
    """A mocked response makes no request and no call. Only the second call counts."""
    completion_before_instrumentation(
        model="openai/gpt-4o-mini", messages=PLAIN, mock_response="Behind the lake."
    )
    completion_before_instrumentation(
        model="openai/gpt-4o-mini", messages=PLAIN, api_base=f"{url}/v1", api_key=KEY
    )


def retried(url: str) -> None:
    litellm.completion(
        model="anthropic/claude-sonnet-4-6",
        messages=CACHED,
        api_base=url,
        api_key=KEY,
        num_retries=1,
        max_retries=0,
    )


def fallback(url: str) -> None:
    litellm.completion(
        model="anthropic/claude-sonnet-4-6",
        messages=CACHED,
        api_base=url,
        api_key=KEY,
        fallbacks=["anthropic/claude-haiku-4-5"],
    )


@contextmanager
def traced(tracers: Any) -> Generator[None]:
    """Add the spans of OpenInference around `completion`."""
    instrumentor: Any = import_module("openinference.instrumentation.litellm").LiteLLMInstrumentor()
    instrumentor.instrument(tracer_provider=tracers)
    try:
        yield
    finally:
        instrumentor.uninstrument()


CASES: Final[Mapping[str, MakeCall]] = {
    **{
        name: make_call
        for model, (base, call) in ROUTES.items()
        for name, make_call in _cases(model, base, call).items()
    },
    **{
        make_call.__name__: make_call
        for make_call in (responses, messages, routed, closed, named_caches, mocked)
    },
}
FALLBACKS: Final = {"retried": retried, "fallback": fallback}
