"""Stand-ins for LiteLLM's HTTP handlers, and the requests that LiteLLM sends through them.

LiteLLM cannot be installed beside openai 3. `make frameworks` tests the real package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import httpx

from promptcache_emulator.engine import Emulator
from tests.support.call_shapes import SYSTEM

CLAUDE: Final = "us.anthropic.claude-sonnet-4-6"
HANDLER_MODULE: Final = "litellm.llms.custom_httpx.http_handler"


class HTTPHandler:
    """LiteLLM's HTTP handler, reduced to the methods that promptcache wraps."""

    def __init__(self) -> None:
        self.client = httpx.Client(timeout=20)

    def post(
        self,
        url: str,
        data: Any = None,
        json: Any = None,
        params: Any = None,
        headers: Any = None,
        stream: bool = False,
        timeout: Any = None,
        content: Any = None,
        logging_obj: Any = None,
    ) -> httpx.Response:
        request = self.client.build_request(
            "POST", url, content=content or data, json=json, headers=headers
        )
        response = self.client.send(request, stream=stream)
        response.raise_for_status()
        return response

    def get(self, url: str, params: Any = None, headers: Any = None) -> httpx.Response:
        return self.client.get(url, headers=headers)


class AsyncHTTPHandler:
    """LiteLLM's async HTTP handler, reduced to the methods that promptcache wraps."""

    def __init__(self) -> None:
        self.client = httpx.AsyncClient(timeout=20)

    async def post(
        self,
        url: str,
        data: Any = None,
        json: Any = None,
        params: Any = None,
        headers: Any = None,
        stream: bool = False,
        logging_obj: Any = None,
        content: Any = None,
    ) -> httpx.Response:
        request = self.client.build_request(
            "POST", url, content=content or data, json=json, headers=headers
        )
        response = await self.client.send(request, stream=stream)
        response.raise_for_status()
        return response

    async def get(self, url: str, params: Any = None, headers: Any = None) -> httpx.Response:
        return await self.client.get(url, headers=headers)


@dataclass(frozen=True)
class LiteLLMRoute:
    """One route of LiteLLM to a provider.

    `paths` holds the path of a plain and of a streamed call, `name` LiteLLM's provider name.
    `provider` and `model` are the expected span attributes.
    """

    name: str
    paths: tuple[str, str]
    body: Mapping[str, Any]
    provider: str
    model: str
    stream_options: Mapping[str, Any]
    has_name: bool = True

    @property
    def log(self) -> Any:
        return (
            SimpleNamespace(model_call_details={"custom_llm_provider": self.name})
            if self.has_name
            else None
        )


STREAM_OPTION: Final = {"stream": True}
USER: Final = {"role": "user", "content": "Where is my tent?"}
CHAT: Final = {"model": "deepseek-chat", "messages": [{"role": "system", "content": SYSTEM}, USER]}
SYSTEM_WITH_BREAKPOINT: Final = {
    "type": "text",
    "text": SYSTEM,
    "cache_control": {"type": "ephemeral"},
}
MESSAGES: Final = {"max_tokens": 50, "system": [SYSTEM_WITH_BREAKPOINT], "messages": [USER]}
GEMINI: Final = {
    "system_instruction": {"parts": [{"text": SYSTEM}]},
    "contents": [{"role": "user", "parts": [{"text": USER["content"]}]}],
}
CONVERSE: Final = {
    "system": [{"text": SYSTEM}, {"cachePoint": {"type": "default"}}],
    "messages": [{"role": "user", "content": [{"text": USER["content"]}]}],
}
GEMINI_PATH: Final = "/v1beta/models/gemini-2.5-flash"
BEDROCK_PATH: Final = f"/model/{CLAUDE.replace(':', '%3A')}"
LITELLM_ROUTES: Final = (
    LiteLLMRoute(
        "deepseek",
        ("/v1/chat/completions", "/v1/chat/completions"),
        CHAT,
        "deepseek",
        "deepseek-chat",
        STREAM_OPTION | {"stream_options": {"include_usage": True}},
    ),
    LiteLLMRoute(
        "azure",
        ("/v1/responses", "/v1/responses"),
        {"model": "gpt-4o", "instructions": SYSTEM, "input": "Where?"},
        "azure.ai.openai",
        "gpt-4o",
        STREAM_OPTION,
    ),
    LiteLLMRoute(
        "anthropic",
        ("/v1/messages", "/v1/messages"),
        MESSAGES | {"model": "claude-sonnet-4-6"},
        "anthropic",
        "claude-sonnet-4-6",
        STREAM_OPTION,
    ),
    LiteLLMRoute(
        "gemini",
        (
            f"{GEMINI_PATH}:generateContent?key=k",
            f"{GEMINI_PATH}:streamGenerateContent?alt=sse&key=k",
        ),
        GEMINI,
        "gcp.gemini",
        "gemini-2.5-flash",
        {},
    ),
    LiteLLMRoute(
        "bedrock",
        (f"{BEDROCK_PATH}/converse", f"{BEDROCK_PATH}/converse-stream"),
        CONVERSE,
        "aws.bedrock",
        CLAUDE,
        {},
        has_name=False,
    ),
    LiteLLMRoute(
        "bedrock",
        (f"{BEDROCK_PATH}/invoke", f"{BEDROCK_PATH}/invoke-with-response-stream"),
        MESSAGES | {"anthropic_version": "bedrock-2023-05-31"},
        "aws.bedrock",
        CLAUDE,
        {},
    ),
)
HEADERS: Final = {"x-api-key": "secret-key", "anthropic-beta": "some-beta"}


class LiteLLM:
    """Both handlers, which send their calls to an emulator."""

    def __init__(self, url: str, emulator: Emulator) -> None:
        self.url, self.emulator = url, emulator
        self.sync_handler, self.async_handler = HTTPHandler(), AsyncHTTPHandler()

    async def send(
        self, handler: Any, route: LiteLLMRoute, *, stream: bool = False, headers: Any = HEADERS
    ) -> Any:
        """Send a call, read a stream_options response to its end, and return the response."""
        body = dict(route.body) | (dict(route.stream_options) if stream else {})
        url = self.url + route.paths[stream]
        more = {"stream": stream, "logging_obj": route.log}
        result = handler.post(url, data=json.dumps(body), headers=headers, **more)
        response = result if isinstance(result, httpx.Response) else await result
        if stream and handler is self.sync_handler:
            assert list(response.iter_bytes(1024))
        elif stream:
            assert [chunk async for chunk in response.aiter_bytes()]
        return response

    @property
    def cache_read_tokens(self) -> list[int]:
        return [record.result.cache_read_tokens for record in self.emulator.records]
