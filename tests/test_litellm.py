"""The HTTP handlers of LiteLLM, by stand-ins that send the same requests.

LiteLLM cannot be installed beside openai 3. `make frameworks` tests the real package.
"""

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
from promptcache.patching.request import credential_from_headers
from promptcache.providers.litellm import hooks as litellm
from promptcache.telemetry.foreign_spans import is_foreign_llm_span
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
async def handlers(
    emulator_url: str, emulator: Emulator, telemetry: Telemetry
) -> AsyncIterator[LiteLLM]:
    patcher = ModulePatcher()
    patcher.module = SimpleNamespace(HTTPHandler=HTTPHandler, AsyncHTTPHandler=AsyncHTTPHandler)
    metrics = MetricsRecorder(telemetry.meters.get_meter("promptcache"))
    patcher.install_or_reenable(
        litellm.HOOKS[HANDLER_MODULE],
        TelemetryHandler(Settings(), telemetry.tracers.get_tracer("promptcache"), metrics),
    )
    handlers = LiteLLM(emulator_url, emulator)
    yield handlers
    patcher.remove_or_disable()
    handlers.sync_handler.client.close()
    await handlers.async_handler.client.aclose()


@pytest.fixture
def telemetry() -> Telemetry:
    """Return providers for telemetry. No SDK is instrumented."""
    return Telemetry()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("handler", ["sync_handler", "async_handler"])
@pytest.mark.parametrize(
    "route",
    LITELLM_ROUTES,
    ids=lambda route: f"{route.name} {route.paths[0].rpartition('/')[2].partition('?')[0]}",
)
async def test_each_provider_is_reported_from_its_own_response(
    handlers: LiteLLM, telemetry: Telemetry, route: LiteLLMRoute, handler: str, stream: bool
) -> None:
    for _ in range(2):
        assert (
            type(await handlers.send(getattr(handlers, handler), route, stream=stream))
            is httpx.Response
        )
    first, second = (span.attributes or {} for span in telemetry.spans)
    assert [
        first["promptcache.read_tokens"],
        second["promptcache.read_tokens"],
    ] == handlers.cache_read_tokens
    assert (first["promptcache.outcome"], second["promptcache.outcome"]) == ("cold", "hit")
    assert second["gen_ai.provider.name"] == route.provider
    assert second["gen_ai.request.model"] == route.model
    assert second.get("gen_ai.request.stream", False) is stream
    assert second["server.port"] == int(handlers.url.rpartition(":")[2])
    assert second["promptcache.prefix.hash"]
    assert (telemetry.metric("promptcache.calls"), telemetry.metric("promptcache.read.tokens")) == (
        2,
        sum(handlers.cache_read_tokens),
    )


@pytest.mark.parametrize("handler", ["sync_handler", "async_handler"])
async def test_a_failure_is_raised_and_recorded_as_a_call(
    handlers: LiteLLM, telemetry: Telemetry, handler: str
) -> None:
    handlers.emulator.faults.add_fault("429")
    with pytest.raises(httpx.HTTPStatusError):
        await handlers.send(getattr(handlers, handler), LITELLM_ROUTES[2])
    assert (telemetry.attributes["error.type"], telemetry.attributes["promptcache.outcome"]) == (
        "429",
        "error",
    )
    handlers.emulator.faults.add_fault("reset")
    with pytest.raises(httpx.TransportError):
        await handlers.send(getattr(handlers, handler), LITELLM_ROUTES[2])
    assert (telemetry.spans[1].attributes or {})["error.type"] in {
        "RemoteProtocolError",
        "ReadError",
    }


@pytest.mark.parametrize(
    ("route", "last_event"),
    [(LITELLM_ROUTES[0], "[DONE]"), (LITELLM_ROUTES[2], "message_stop")],
    ids=["chat", "messages"],
)
def test_a_stream_ends_with_its_last_event_and_not_with_its_last_byte(
    handlers: LiteLLM, telemetry: Telemetry, route: LiteLLMRoute, last_event: str
) -> None:
    response = handlers.sync_handler.post(
        handlers.url + route.paths[1], json={**route.body, **route.stream_options}, stream=True
    )
    lines = response.iter_lines()
    assert any(last_event in line for line in lines)  # stops there
    assert (
        telemetry.attributes["promptcache.input_tokens"]
        == handlers.emulator.records[0].result.input_tokens
    )
    response.close()
    assert len(telemetry.spans) == 1


def test_a_partially_read_stream_reports_its_input_tokens(
    handlers: LiteLLM, telemetry: Telemetry
) -> None:
    route = LITELLM_ROUTES[2]
    response = handlers.sync_handler.post(
        handlers.url + route.paths[1], json={**route.body, "stream": True}, stream=True
    )
    next(response.iter_bytes())
    response.close()
    assert (
        telemetry.attributes["promptcache.input_tokens"]
        == handlers.emulator.records[0].result.input_tokens
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
def test_a_request_that_is_not_a_model_call_has_no_span(
    handlers: LiteLLM, telemetry: Telemetry, path: str, body: Any
) -> None:
    path = path.replace(CLAUDE.replace(":", "%3A"), "meta.llama3")
    with suppress(httpx.HTTPStatusError):
        handlers.sync_handler.post(handlers.url + path, json=body)
    assert not telemetry.spans


def test_the_body_of_another_request_is_not_parsed(
    handlers: LiteLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed_bodies: list[bytes] = []
    monkeypatch.setattr(litellm, "parse_json_object", parsed_bodies.append)
    with suppress(httpx.HTTPStatusError):
        handlers.sync_handler.post(f"{handlers.url}/v1/embeddings", data="{}")
    assert not parsed_bodies


async def test_suppressed_calls_have_no_telemetry(handlers: LiteLLM, telemetry: Telemetry) -> None:
    with suppress_instrumentation():
        await handlers.send(handlers.sync_handler, LITELLM_ROUTES[2])
    assert not telemetry.spans
    assert telemetry.metric("promptcache.calls") == 0


def test_cached_content_that_litellm_creates_is_recorded(
    handlers: LiteLLM, telemetry: Telemetry
) -> None:
    """LiteLLM lists the caches, and creates one from messages with a breakpoint."""
    body = {"model": "models/gemini-2.5-flash", "ttl": "600s", **GEMINI}
    handlers.sync_handler.get(f"{handlers.url}/v1beta/cachedContents?key=k")
    name = handlers.sync_handler.post(
        f"{handlers.url}/v1beta/cachedContents?key=k", json=body
    ).json()["name"]
    handlers.sync_handler.post(
        f"{handlers.url}{GEMINI_PATH}:generateContent?key=k",
        json={"contents": GEMINI["contents"], "cachedContent": name},
    )
    listed, created, call = telemetry.spans
    assert [span.name.partition(" ")[0] for span in (listed, created)] == [
        "list_caches",
        "create_cache",
    ]
    assert (call.attributes or {})["promptcache.prefix.hash"] == (created.attributes or {})[
        "promptcache.prefix.hash"
    ]
    assert telemetry.metric("promptcache.calls") == 1
    assert "k" not in {
        part for span in telemetry.spans for part in str(span.attributes).split("key=")[1:]
    }


def test_a_response_fetched_later_is_counted_once(handlers: LiteLLM, telemetry: Telemetry) -> None:
    body = {"model": "gpt-4o", "instructions": SYSTEM, "input": "Where?", "background": True}
    name = handlers.sync_handler.post(f"{handlers.url}/v1/responses", json=body).json()["id"]
    for _ in range(3):
        handlers.sync_handler.get(f"{handlers.url}/v1/responses/{name}")
    assert (
        telemetry.metric("promptcache.input.tokens")
        == handlers.emulator.records[0].result.input_tokens
    )


@pytest.mark.parametrize(
    ("litellm_provider", "url", "provider"),
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
def test_the_provider_follows_from_litellm_and_the_url(
    handlers: LiteLLM,
    telemetry: Telemetry,
    litellm_provider: str,
    url: str,
    provider: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={}))
    monkeypatch.setattr(handlers.sync_handler, "client", httpx.Client(transport=transport))
    logging_object = SimpleNamespace(
        model_call_details={"custom_llm_provider": litellm_provider or None}
    )
    handlers.sync_handler.post(
        url, json={"model": "m", "messages": [USER]}, logging_obj=logging_object
    )
    handlers.sync_handler.client.close()
    assert telemetry.attributes["gen_ai.provider.name"] == provider


@pytest.mark.parametrize(("tier", "factor"), [("standard", 1), ("flex", 0.5)])
def test_a_tier_in_a_header_decides_the_price(
    handlers: LiteLLM,
    telemetry: Telemetry,
    tier: str,
    factor: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = {"usageMetadata": {"promptTokenCount": 1_000_000}, "modelVersion": "gemini-2.5-flash"}
    headers = {"x-gemini-service-tier": tier}
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=body, headers=headers))
    monkeypatch.setattr(handlers.sync_handler, "client", httpx.Client(transport=transport))
    handlers.sync_handler.post(
        f"https://generativelanguage.googleapis.com{LITELLM_ROUTES[3].paths[0]}", json=GEMINI
    )
    handlers.sync_handler.client.close()
    assert telemetry.attributes["promptcache.cost.amount"] == pytest.approx(0.3 * factor)


def test_a_request_signature_is_not_part_of_the_cache_scope() -> None:
    signed = (
        "AWS4-HMAC-SHA256 Credential=AKIA1/20261121/us-east-1/bedrock/aws4_request, Signature={}"
    )
    one, other = (
        credential_from_headers({"authorization": signed.format(name)}) for name in ("a", "b")
    )
    assert one == other == "AKIA1"
    assert credential_from_headers({"authorization": "Bearer t"}) == "Bearer t"
    assert credential_from_headers({"x-api-key": "k"}) == "k"
    assert credential_from_headers({}) == ""


def test_the_private_span_kind_of_openinference_marks_an_llm_span() -> None:
    """OpenInference sets the kind of its span around `litellm.completion` only at the end."""

    def is_llm(kind: str) -> bool:
        span: Any = SimpleNamespace(
            attributes={}, _self_important_attributes={"openinference.span.kind": kind}
        )
        return is_foreign_llm_span(span)

    assert is_llm("LLM")
    assert not is_llm("CHAIN")
