"""LiteLLM's HTTP handlers, by stand-ins that send what it sends: it cannot be installed beside openai 3 (`make
frameworks` has the real one)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import httpx
import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation

from promptcache import Settings
from promptcache.patching.patcher import ModulePatcher
from promptcache.patching.request import cache_scope_key
from promptcache.providers.litellm import hooks as litellm
from promptcache.telemetry.foreign_spans import is_llm_span
from promptcache.telemetry.handler import TelemetryHandler
from promptcache.telemetry.metrics import MetricsRecorder
from promptcache_emulator.engine import Emulator
from tests.support.call_shapes import SYSTEM
from tests.support.telemetry import Telemetry

CLAUDE: Final = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
MODULE: Final = "litellm.llms.custom_httpx.http_handler"


class HTTPHandler:
    """As LiteLLM's, in what we stand at."""

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
    """As LiteLLM's, in what we stand at."""

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
class Way:
    """One provider as LiteLLM calls it: paths plain and streamed, the body, LiteLLM's name, and what we say of it."""

    name: str
    paths: tuple[str, str]
    body: Mapping[str, Any]
    provider: str
    model: str
    streamed: Mapping[str, Any]
    named: bool = True

    @property
    def log(self) -> Any:
        return (
            SimpleNamespace(model_call_details={"custom_llm_provider": self.name})
            if self.named
            else None
        )


STREAM: Final = {"stream": True}
USER: Final = {"role": "user", "content": "Where is my tent?"}
CHAT: Final = {"model": "deepseek-chat", "messages": [{"role": "system", "content": SYSTEM}, USER]}
MARKED: Final = {"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}
MESSAGES: Final = {"max_tokens": 50, "system": [MARKED], "messages": [USER]}
GEMINI: Final = {
    "system_instruction": {"parts": [{"text": SYSTEM}]},
    "contents": [{"role": "user", "parts": [{"text": USER["content"]}]}],
}
CONVERSE: Final = {
    "system": [{"text": SYSTEM}, {"cachePoint": {"type": "default"}}],
    "messages": [{"role": "user", "content": [{"text": USER["content"]}]}],
}
MODELS: Final = "/v1beta/models/gemini-2.5-flash"
BEDROCK: Final = f"/model/{CLAUDE.replace(':', '%3A')}"
WAYS: Final = (
    Way(
        "deepseek",
        ("/v1/chat/completions", "/v1/chat/completions"),
        CHAT,
        "deepseek",
        "deepseek-chat",
        STREAM | {"stream_options": {"include_usage": True}},
    ),
    Way(
        "azure",
        ("/v1/responses", "/v1/responses"),
        {"model": "gpt-4o", "instructions": SYSTEM, "input": "Where?"},
        "azure.ai.openai",
        "gpt-4o",
        STREAM,
    ),
    Way(
        "anthropic",
        ("/v1/messages", "/v1/messages"),
        MESSAGES | {"model": "claude-sonnet-4-5"},
        "anthropic",
        "claude-sonnet-4-5",
        STREAM,
    ),
    Way(
        "gemini",
        (f"{MODELS}:generateContent?key=k", f"{MODELS}:streamGenerateContent?alt=sse&key=k"),
        GEMINI,
        "gcp.gemini",
        "gemini-2.5-flash",
        {},
    ),
    Way(
        "bedrock",
        (f"{BEDROCK}/converse", f"{BEDROCK}/converse-stream"),
        CONVERSE,
        "aws.bedrock",
        CLAUDE,
        {},
        named=False,
    ),
    Way(
        "bedrock",
        (f"{BEDROCK}/invoke", f"{BEDROCK}/invoke-with-response-stream"),
        MESSAGES | {"anthropic_version": "bedrock-2023-05-31"},
        "aws.bedrock",
        CLAUDE,
        {},
    ),
)
HEADERS: Final = {"x-api-key": "secret-key", "anthropic-beta": "some-beta"}


class LiteLLM:
    """Both handlers, patched, before an emulator."""

    def __init__(self, url: str, emulator: Emulator) -> None:
        self.url, self.emulator = url, emulator
        self.sync, self.awaited = HTTPHandler(), AsyncHTTPHandler()

    async def send(
        self, handler: Any, way: Way, *, stream: bool = False, headers: Any = HEADERS
    ) -> Any:
        """What the handler returns, read to its end line by line as LiteLLM reads it."""
        body = dict(way.body) | (dict(way.streamed) if stream else {})
        url = self.url + way.paths[stream]
        more = {"stream": stream, "logging_obj": way.log}
        made = handler.post(url, data=json.dumps(body), headers=headers, **more)
        response = made if isinstance(made, httpx.Response) else await made
        if stream and handler is self.sync:
            assert list(response.iter_bytes(1024))
        elif stream:
            assert [chunk async for chunk in response.aiter_bytes()]
        return response

    @property
    def truth(self) -> list[int]:
        return [record.result.cache_read_tokens for record in self.emulator.records]


@pytest.fixture
async def lite(emulator_url: str, emulator: Emulator, bare: Telemetry) -> AsyncIterator[LiteLLM]:
    patches = ModulePatcher()
    patches.module = SimpleNamespace(HTTPHandler=HTTPHandler, AsyncHTTPHandler=AsyncHTTPHandler)
    meters = MetricsRecorder(bare.meters.get_meter("promptcache"))
    patches.install(
        litellm.HOOKS[MODULE],
        TelemetryHandler(Settings(), bare.tracers.get_tracer("promptcache"), meters),
    )
    made = LiteLLM(emulator_url, emulator)
    yield made
    patches.restore()
    made.sync.client.close()
    await made.awaited.client.aclose()


@pytest.fixture
def bare() -> Telemetry:
    """Where telemetry goes, with nothing else instrumented."""
    return Telemetry()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("handler", ["sync", "awaited"])
@pytest.mark.parametrize(
    "way", WAYS, ids=lambda way: f"{way.name} {way.paths[0].rpartition('/')[2].partition('?')[0]}"
)
async def test_every_provider_by_its_own_answer(
    lite: LiteLLM, bare: Telemetry, way: Way, handler: str, stream: bool
) -> None:
    for _ in range(2):
        assert type(await lite.send(getattr(lite, handler), way, stream=stream)) is httpx.Response
    first, second = (span.attributes or {} for span in bare.spans)
    assert [first["promptcache.read_tokens"], second["promptcache.read_tokens"]] == lite.truth
    assert (first["promptcache.outcome"], second["promptcache.outcome"]) == ("cold", "hit")
    assert second["gen_ai.provider.name"] == way.provider
    assert second["gen_ai.request.model"] == way.model
    assert second.get("gen_ai.request.stream", False) is stream
    assert second["server.port"] == int(lite.url.rpartition(":")[2])
    assert second["promptcache.prefix.hash"]
    assert (bare.metric("promptcache.calls"), bare.metric("promptcache.read.tokens")) == (
        2,
        sum(lite.truth),
    )


@pytest.mark.parametrize("handler", ["sync", "awaited"])
async def test_a_failure_is_the_applications_and_a_call(
    lite: LiteLLM, bare: Telemetry, handler: str
) -> None:
    lite.emulator.faults.add("429")
    with pytest.raises(httpx.HTTPStatusError):
        await lite.send(getattr(lite, handler), WAYS[2])
    assert (bare.attributes["error.type"], bare.attributes["promptcache.outcome"]) == (
        "429",
        "error",
    )
    lite.emulator.faults.add("reset")
    with pytest.raises(httpx.TransportError):
        await lite.send(getattr(lite, handler), WAYS[2])
    assert (bare.spans[1].attributes or {})["error.type"] in {"RemoteProtocolError", "ReadError"}


@pytest.mark.parametrize(
    ("way", "last"), [(WAYS[0], "[DONE]"), (WAYS[2], "message_stop")], ids=["chat", "messages"]
)
def test_a_stream_ends_with_its_last_event_where_nobody_asks_for_more_bytes(
    lite: LiteLLM, bare: Telemetry, way: Way, last: str
) -> None:
    response = lite.sync.post(
        lite.url + way.paths[1], json={**way.body, **way.streamed}, stream=True
    )
    lines = response.iter_lines()
    assert any(last in line for line in lines)  # stops there
    assert (
        bare.attributes["promptcache.input_tokens"] == lite.emulator.records[0].result.input_tokens
    )
    response.close()
    assert len(bare.spans) == 1


def test_a_stream_is_read_as_it_comes(lite: LiteLLM, bare: Telemetry) -> None:
    way = WAYS[2]
    response = lite.sync.post(
        lite.url + way.paths[1], json={**way.body, "stream": True}, stream=True
    )
    next(response.iter_bytes())
    response.close()
    assert (
        bare.attributes["promptcache.input_tokens"] == lite.emulator.records[0].result.input_tokens
    )


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "m", "input": "x"}),
        ("/v1/messages", {"to": "somebody else's messages"}),
        (f"{BEDROCK}/invoke", {"prompt": "a maker's body that no wire reads"}),
        ("/v1/messages/count_tokens", {"model": "m", "messages": [USER]}),
        ("/v1/chat/completions", ["not", "an", "object"]),
    ],
)
def test_what_is_no_call_to_a_model_is_left_alone(
    lite: LiteLLM, bare: Telemetry, path: str, body: Any
) -> None:
    path = path.replace(CLAUDE.replace(":", "%3A"), "meta.llama3")
    with suppress(httpx.HTTPStatusError):
        lite.sync.post(lite.url + path, json=body)
    assert not bare.spans


def test_what_else_passes_is_not_even_parsed(
    lite: LiteLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []
    monkeypatch.setattr(litellm, "parse_json_object", read.append)
    with suppress(httpx.HTTPStatusError):
        lite.sync.post(f"{lite.url}/v1/embeddings", data="{}")
    assert not read


async def test_suppressed_means_unseen(lite: LiteLLM, bare: Telemetry) -> None:
    with suppress_instrumentation():
        await lite.send(lite.sync, WAYS[2])
    assert not bare.spans
    assert bare.metric("promptcache.calls") == 0


def test_a_named_cache_that_litellm_makes(lite: LiteLLM, bare: Telemetry) -> None:
    """It makes one of marked messages by itself, and looks for one before: both cost or show something."""
    body = {"model": "models/gemini-2.5-flash", "ttl": "600s", **GEMINI}
    lite.sync.get(f"{lite.url}/v1beta/cachedContents?key=k")
    name = lite.sync.post(f"{lite.url}/v1beta/cachedContents?key=k", json=body).json()["name"]
    lite.sync.post(
        f"{lite.url}{MODELS}:generateContent?key=k",
        json={"contents": GEMINI["contents"], "cachedContent": name},
    )
    listed, made, asked = bare.spans
    assert [span.name.partition(" ")[0] for span in (listed, made)] == [
        "list_caches",
        "create_cache",
    ]
    assert (asked.attributes or {})["promptcache.prefix.hash"] == (made.attributes or {})[
        "promptcache.prefix.hash"
    ]
    assert bare.metric("promptcache.calls") == 1
    assert "k" not in {
        part for span in bare.spans for part in str(span.attributes).split("key=")[1:]
    }


def test_a_response_fetched_later_counts_once(lite: LiteLLM, bare: Telemetry) -> None:
    body = {"model": "gpt-4o", "instructions": SYSTEM, "input": "Where?", "background": True}
    name = lite.sync.post(f"{lite.url}/v1/responses", json=body).json()["id"]
    for _ in range(3):
        lite.sync.get(f"{lite.url}/v1/responses/{name}")
    assert bare.metric("promptcache.input.tokens") == lite.emulator.records[0].result.input_tokens


@pytest.mark.parametrize(
    ("named", "url", "provider"),
    [
        ("azure_ai", "https://x.services.ai.azure.com/anthropic/v1/messages", "anthropic"),
        ("azure_ai", "https://x.example/chat/completions", "azure.ai.inference"),
        ("openai", "https://openrouter.ai/api/v1/chat/completions", "openrouter"),
        ("hosted_vllm", "http://gpu:8000/v1/chat/completions", "hosted_vllm"),
        ("", "http://gpu:8000/v1/chat/completions", "openai"),
        (
            "",
            "https://x.example/v1/projects/p/locations/l/publishers/google/models/m:generateContent",
            "gcp.vertex_ai",
        ),
        ("", "http://x.example/v1beta/models/m:generateContent", "gcp.gemini"),
    ],
)
def test_whose_models_they_are(
    lite: LiteLLM,
    bare: Telemetry,
    named: str,
    url: str,
    provider: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = httpx.MockTransport(lambda request: httpx.Response(200, json={}))
    monkeypatch.setattr(lite.sync, "client", httpx.Client(transport=sent))
    log = SimpleNamespace(model_call_details={"custom_llm_provider": named or None})
    lite.sync.post(url, json={"model": "m", "messages": [USER]}, logging_obj=log)
    lite.sync.client.close()
    assert bare.attributes["gen_ai.provider.name"] == provider


@pytest.mark.parametrize(("tier", "factor"), [("standard", 1), ("flex", 0.5)])
def test_the_tier_that_only_a_header_tells(
    lite: LiteLLM, bare: Telemetry, tier: str, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"usageMetadata": {"promptTokenCount": 1_000_000}, "modelVersion": "gemini-2.5-flash"}
    headers = {"x-gemini-service-tier": tier}
    sent = httpx.MockTransport(lambda request: httpx.Response(200, json=answer, headers=headers))
    monkeypatch.setattr(lite.sync, "client", httpx.Client(transport=sent))
    lite.sync.post(f"https://generativelanguage.googleapis.com{WAYS[3].paths[0]}", json=GEMINI)
    lite.sync.client.close()
    assert bare.attributes["promptcache.cost.amount"] == pytest.approx(0.3 * factor)


def test_a_signature_is_no_tenant() -> None:
    signed = (
        "AWS4-HMAC-SHA256 Credential=AKIA1/20261121/us-east-1/bedrock/aws4_request, Signature={}"
    )
    one, other = (cache_scope_key({"authorization": signed.format(name)}) for name in ("a", "b"))
    assert one == other == "AKIA1"
    assert cache_scope_key({"authorization": "Bearer t"}) == "Bearer t"
    assert cache_scope_key({"x-api-key": "k"}) == "k"
    assert cache_scope_key({}) == ""


def test_the_kind_that_openinference_keeps_to_itself() -> None:
    """Its span around `litellm.completion` says only at its end what kind it is."""

    def describes(kind: str) -> bool:
        span: Any = SimpleNamespace(
            attributes={}, _self_important_attributes={"openinference.span.kind": kind}
        )
        return is_llm_span(span)

    assert describes("LLM")
    assert not describes("CHAIN")
