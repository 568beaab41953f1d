"""google-genai: two services, hops of function calling, retries, and surrounding spans."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from importlib import import_module
from typing import Any

import pytest
from google import genai
from google.genai.types import HttpOptions
from google.oauth2.credentials import Credentials
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import ReadableSpan

from promptcache import PromptCacheInstrumentor
from promptcache_emulator.engine import Emulator
from tests.support.call_shapes import iterate, resolve
from tests.support.call_shapes_google import CALL, CLIENTS, GEMINI, client_options, function_calling
from tests.support.telemetry import Telemetry

pytestmark = pytest.mark.filterwarnings(
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"
)


def attributes_of(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


@pytest.fixture(params=CLIENTS)
async def client(request: pytest.FixtureRequest, emulator_url: str) -> AsyncIterator[Any]:
    async with CLIENTS[request.param](emulator_url) as client:
        yield client


@pytest.fixture
def vertex(emulator_url: str) -> Iterator[Any]:
    client = genai.Client(
        vertexai=True,
        project="p",
        location="us-central1",
        credentials=Credentials(token="secret-token"),  # type: ignore[no-untyped-call]  # google-auth is not typed
        http_options={"base_url": emulator_url},
    )
    yield client
    client.close()


def test_a_vertex_call_has_the_vertex_provider(vertex: Any, telemetry: Telemetry) -> None:
    vertex.models.generate_content(**CALL)
    assert telemetry.attributes["gen_ai.provider.name"] == "gcp.vertex_ai"
    assert telemetry.attributes["gen_ai.request.model"] == GEMINI
    assert telemetry.attributes["promptcache.cost.amount"] > 0


def test_cached_content_on_vertex_has_hash_and_storage_cost(
    vertex: Any, telemetry: Telemetry
) -> None:
    cache = vertex.caches.create(model=GEMINI, config={**CALL["config"], "ttl": "60s"})
    assert cache.name
    vertex.models.generate_content(
        model=GEMINI, contents="Hi.", config={"cached_content": cache.name}
    )
    created, called = telemetry.spans
    assert (
        attributes_of(created)["promptcache.prefix.hash"]
        == attributes_of(called)["promptcache.prefix.hash"]
    )
    vertex.caches.delete(name=cache.name)
    assert attributes_of(telemetry.spans[-1])["promptcache.cache.stored_usd"] >= 0


async def test_each_hop_of_function_calling_is_a_call(
    client: Any, emulator: Emulator, telemetry: Telemetry
) -> None:
    await function_calling(client)
    assert len(telemetry.spans) == len(emulator.records) == 2
    assert [attributes_of(span)["promptcache.input_tokens"] for span in telemetry.spans] == [
        record.result.input_tokens for record in emulator.records
    ]


@pytest.mark.parametrize("kind", CLIENTS)
async def test_retries_belong_to_one_call(
    kind: str, emulator_url: str, emulator: Emulator, telemetry: Telemetry
) -> None:
    emulator.faults.add_fault("500")
    options = client_options(emulator_url)
    options["http_options"]["retry_options"] = {
        "attempts": 3,
        "initial_delay": 0.01,
        "max_delay": 0.02,
    }
    client: Any = genai.Client(**options)
    await resolve((client.aio if kind == "async" else client).models.generate_content(**CALL))
    assert telemetry.attributes["http.request.resend_count"] == 1
    assert telemetry.span.status.is_unset
    await client.aio.aclose()
    client.close()


@pytest.mark.parametrize("operation", ["generate_content", "invoke_agent"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_surrounding_span_is_claimed_only_if_it_is_an_llm_span(
    operation: str, streamed: bool, client: Any, telemetry: Telemetry
) -> None:
    tracer = telemetry.tracers.get_tracer("theirs")
    with tracer.start_as_current_span("theirs", attributes={"gen_ai.operation.name": operation}):
        if streamed:
            _ = [
                item
                async for item in iterate(
                    await resolve(client.models.generate_content_stream(**CALL))
                )
            ]
        else:
            await resolve(client.models.generate_content(**CALL))
    theirs = next(span for span in telemetry.spans if span.name == "theirs")
    if operation == "generate_content":
        assert telemetry.spans == (theirs,)
        assert attributes_of(theirs)["promptcache.input_tokens"] > 0
        assert attributes_of(theirs)["gen_ai.response.finish_reasons"] == ("STOP",)
    else:
        ours = next(span for span in telemetry.spans if span is not theirs)
        assert ours.parent == theirs.context
        assert "promptcache.input_tokens" not in attributes_of(theirs)
    assert telemetry.metric("promptcache.calls") == 1


async def test_suppressed_calls_have_no_span(client: Any, telemetry: Telemetry) -> None:
    with suppress_instrumentation():
        await resolve(client.models.generate_content(**CALL))
        if hasattr(client, "interactions"):
            await resolve(client.interactions.create(model=GEMINI, input="Hi."))
    assert not telemetry.spans


async def test_counting_tokens_is_not_a_call(client: Any, telemetry: Telemetry) -> None:
    await resolve(client.models.count_tokens(model=GEMINI, contents="Hi."))
    assert not telemetry.spans


async def test_fetching_an_interaction_again_counts_nothing(
    client: Any, telemetry: Telemetry
) -> None:
    interaction = await resolve(client.interactions.create(model=GEMINI, input="Hi."))
    await resolve(client.interactions.get(interaction.id))
    assert telemetry.metric("promptcache.calls") == len(telemetry.spans) == 1


async def test_a_continued_interaction_has_an_incomplete_prefix(
    client: Any, telemetry: Telemetry
) -> None:
    interaction = await resolve(client.interactions.create(model=GEMINI, input="Hi."))
    await resolve(
        client.interactions.create(
            model=GEMINI, input="And?", previous_interaction_id=interaction.id
        )
    )
    assert [attributes_of(span)["promptcache.prefix.complete"] for span in telemetry.spans] == [
        True,
        False,
    ]


async def test_a_cancelled_call_is_an_error(
    emulator_url: str, emulator: Emulator, telemetry: Telemetry
) -> None:
    emulator.faults.add_fault("slow=30")
    async with CLIENTS["async"](emulator_url) as client:
        task = asyncio.create_task(client.models.generate_content(**CALL))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert telemetry.attributes["error.type"] == "CancelledError"
    assert telemetry.attributes["promptcache.outcome"] == "error"


def test_uninstrumenting_restores_the_sdk(telemetry: Telemetry) -> None:
    from google.genai._api_client import BaseApiClient

    assert inspect.isgeneratorfunction(BaseApiClient.request_streamed)
    assert inspect.iscoroutinefunction(BaseApiClient.async_request_streamed)
    assert inspect.signature(BaseApiClient.request) == inspect.signature(
        inspect.unwrap(BaseApiClient.request)
    )
    patched = BaseApiClient.request
    PromptCacheInstrumentor().uninstrument()
    assert BaseApiClient.request is inspect.unwrap(patched)


def test_an_abandoned_stream_reports_the_counts_of_its_latest_chunk(telemetry: Telemetry) -> None:
    first = {
        "candidates": [{"content": {"parts": [{"text": "It"}]}}],
        "usageMetadata": {"promptTokenCount": 900},
    }
    later = [
        {**first, "usageMetadata": {"promptTokenCount": 900, "candidatesTokenCount": count}}
        for count in (4, 7, 9)
    ]
    body = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in (first, *later))
    http: Any = import_module("google.genai._api_client").httpx

    def respond(request: Any) -> Any:
        return http.Response(200, content=body)

    options: Any = {"httpx_client": http.Client(transport=http.MockTransport(respond))}
    client: Any = genai.Client(api_key="k", http_options=options)
    stream = client.models.generate_content_stream(**CALL)
    for _ in range(3):
        next(stream)
    stream.close()
    assert telemetry.attributes["promptcache.output_tokens"] == 7
    assert telemetry.attributes["promptcache.stream.completed"] is False
    client.close()


def test_a_requested_tier_without_confirmation_has_no_price(
    emulator_url: str, telemetry: Telemetry
) -> None:
    client: Any = genai.Client(api_key="k", http_options=HttpOptions(base_url=emulator_url))
    client.models.generate_content(model=GEMINI, contents="Hi.", config={"service_tier": "flex"})
    client.close()
    assert telemetry.attributes["promptcache.cost.unknown"] == "tier"
