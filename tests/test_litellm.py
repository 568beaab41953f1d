"""LiteLLM's HTTP handlers, by stand-ins that send what it sends: it cannot be installed beside openai 3 (`make
frameworks` has the real one)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

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
from tests.support.litellm_handlers import (
    BEDROCK_PATH,
    CLAUDE,
    GEMINI,
    GEMINI_PATH,
    HANDLER_MODULE,
    LITELLM_ROUTES,
    USER,
    AsyncHTTPHandler,
    HTTPHandler,
    LiteLLM,
    LiteLLMRoute,
)
from tests.support.telemetry import Telemetry


@pytest.fixture
async def lite(emulator_url: str, emulator: Emulator, bare: Telemetry) -> AsyncIterator[LiteLLM]:
    patches = ModulePatcher()
    patches.module = SimpleNamespace(HTTPHandler=HTTPHandler, AsyncHTTPHandler=AsyncHTTPHandler)
    meters = MetricsRecorder(bare.meters.get_meter("promptcache"))
    patches.install(
        litellm.HOOKS[HANDLER_MODULE],
        TelemetryHandler(Settings(), bare.tracers.get_tracer("promptcache"), meters),
    )
    made = LiteLLM(emulator_url, emulator)
    yield made
    patches.restore()
    made.sync_handler.client.close()
    await made.async_handler.client.aclose()


@pytest.fixture
def bare() -> Telemetry:
    """Where telemetry goes, with nothing else instrumented."""
    return Telemetry()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("handler", ["sync_handler", "async_handler"])
@pytest.mark.parametrize(
    "route",
    LITELLM_ROUTES,
    ids=lambda route: f"{route.name} {route.paths[0].rpartition('/')[2].partition('?')[0]}",
)
async def test_every_provider_by_its_own_answer(
    lite: LiteLLM, bare: Telemetry, route: LiteLLMRoute, handler: str, stream: bool
) -> None:
    for _ in range(2):
        assert type(await lite.send(getattr(lite, handler), route, stream=stream)) is httpx.Response
    first, second = (span.attributes or {} for span in bare.spans)
    assert [
        first["promptcache.read_tokens"],
        second["promptcache.read_tokens"],
    ] == lite.cache_read_tokens
    assert (first["promptcache.outcome"], second["promptcache.outcome"]) == ("cold", "hit")
    assert second["gen_ai.provider.name"] == route.provider
    assert second["gen_ai.request.model"] == route.model
    assert second.get("gen_ai.request.stream", False) is stream
    assert second["server.port"] == int(lite.url.rpartition(":")[2])
    assert second["promptcache.prefix.hash"]
    assert (bare.metric("promptcache.calls"), bare.metric("promptcache.read.tokens")) == (
        2,
        sum(lite.cache_read_tokens),
    )


@pytest.mark.parametrize("handler", ["sync_handler", "async_handler"])
async def test_a_failure_is_the_applications_and_a_call(
    lite: LiteLLM, bare: Telemetry, handler: str
) -> None:
    lite.emulator.faults.add("429")
    with pytest.raises(httpx.HTTPStatusError):
        await lite.send(getattr(lite, handler), LITELLM_ROUTES[2])
    assert (bare.attributes["error.type"], bare.attributes["promptcache.outcome"]) == (
        "429",
        "error",
    )
    lite.emulator.faults.add("reset")
    with pytest.raises(httpx.TransportError):
        await lite.send(getattr(lite, handler), LITELLM_ROUTES[2])
    assert (bare.spans[1].attributes or {})["error.type"] in {"RemoteProtocolError", "ReadError"}


@pytest.mark.parametrize(
    ("route", "last"),
    [(LITELLM_ROUTES[0], "[DONE]"), (LITELLM_ROUTES[2], "message_stop")],
    ids=["chat", "messages"],
)
def test_a_stream_ends_with_its_last_event_where_nobody_asks_for_more_bytes(
    lite: LiteLLM, bare: Telemetry, route: LiteLLMRoute, last: str
) -> None:
    response = lite.sync_handler.post(
        lite.url + route.paths[1], json={**route.body, **route.stream_options}, stream=True
    )
    lines = response.iter_lines()
    assert any(last in line for line in lines)  # stops there
    assert (
        bare.attributes["promptcache.input_tokens"] == lite.emulator.records[0].result.input_tokens
    )
    response.close()
    assert len(bare.spans) == 1


def test_a_stream_is_read_as_it_comes(lite: LiteLLM, bare: Telemetry) -> None:
    route = LITELLM_ROUTES[2]
    response = lite.sync_handler.post(
        lite.url + route.paths[1], json={**route.body, "stream": True}, stream=True
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
        (f"{BEDROCK_PATH}/invoke", {"prompt": "a maker's body that no wire reads"}),
        ("/v1/messages/count_tokens", {"model": "m", "messages": [USER]}),
        ("/v1/chat/completions", ["not", "an", "object"]),
    ],
)
def test_what_is_no_call_to_a_model_is_left_alone(
    lite: LiteLLM, bare: Telemetry, path: str, body: Any
) -> None:
    path = path.replace(CLAUDE.replace(":", "%3A"), "meta.llama3")
    with suppress(httpx.HTTPStatusError):
        lite.sync_handler.post(lite.url + path, json=body)
    assert not bare.spans


def test_what_else_passes_is_not_even_parsed(
    lite: LiteLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []
    monkeypatch.setattr(litellm, "parse_json_object", read.append)
    with suppress(httpx.HTTPStatusError):
        lite.sync_handler.post(f"{lite.url}/v1/embeddings", data="{}")
    assert not read


async def test_suppressed_means_unseen(lite: LiteLLM, bare: Telemetry) -> None:
    with suppress_instrumentation():
        await lite.send(lite.sync_handler, LITELLM_ROUTES[2])
    assert not bare.spans
    assert bare.metric("promptcache.calls") == 0


def test_a_named_cache_that_litellm_makes(lite: LiteLLM, bare: Telemetry) -> None:
    """It makes one of marked messages by itself, and looks for one before: both cost or show something."""
    body = {"model": "models/gemini-2.5-flash", "ttl": "600s", **GEMINI}
    lite.sync_handler.get(f"{lite.url}/v1beta/cachedContents?key=k")
    name = lite.sync_handler.post(f"{lite.url}/v1beta/cachedContents?key=k", json=body).json()[
        "name"
    ]
    lite.sync_handler.post(
        f"{lite.url}{GEMINI_PATH}:generateContent?key=k",
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
    name = lite.sync_handler.post(f"{lite.url}/v1/responses", json=body).json()["id"]
    for _ in range(3):
        lite.sync_handler.get(f"{lite.url}/v1/responses/{name}")
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
    monkeypatch.setattr(lite.sync_handler, "client", httpx.Client(transport=sent))
    log = SimpleNamespace(model_call_details={"custom_llm_provider": named or None})
    lite.sync_handler.post(url, json={"model": "m", "messages": [USER]}, logging_obj=log)
    lite.sync_handler.client.close()
    assert bare.attributes["gen_ai.provider.name"] == provider


@pytest.mark.parametrize(("tier", "factor"), [("standard", 1), ("flex", 0.5)])
def test_the_tier_that_only_a_header_tells(
    lite: LiteLLM, bare: Telemetry, tier: str, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"usageMetadata": {"promptTokenCount": 1_000_000}, "modelVersion": "gemini-2.5-flash"}
    headers = {"x-gemini-service-tier": tier}
    sent = httpx.MockTransport(lambda request: httpx.Response(200, json=answer, headers=headers))
    monkeypatch.setattr(lite.sync_handler, "client", httpx.Client(transport=sent))
    lite.sync_handler.post(
        f"https://generativelanguage.googleapis.com{LITELLM_ROUTES[3].paths[0]}", json=GEMINI
    )
    lite.sync_handler.client.close()
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
