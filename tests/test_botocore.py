"""Cases of botocore and aiobotocore: other services, other instrumentations, kinds of bodies."""

from __future__ import annotations

import gc
import inspect
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from importlib import import_module
from typing import Any, Final

import pytest
import wrapt
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from promptcache import PromptCacheInstrumentor
from promptcache_emulator.engine import Emulator
from tests.support.call_shapes import iterate, resolve
from tests.support.call_shapes_bedrock import (
    CLAUDE_CALL,
    CLIENTS,
    CONVERSE_CALL,
    CREDENTIALS,
    NOVA_CALL,
    boto3,
)
from tests.support.telemetry import Telemetry

botocore: Final[Any] = import_module("botocore.client")


def attributes_of(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


@pytest.fixture(params=CLIENTS)
async def client(request: pytest.FixtureRequest, emulator_url: str) -> AsyncIterator[Any]:
    async with CLIENTS[request.param](emulator_url) as bedrock_client:
        yield bedrock_client


async def test_a_client_that_existed_before_instrumentation_is_observed(
    client: Any, instrumented: Callable[..., Telemetry]
) -> None:
    telemetry = instrumented()
    await resolve(client.converse(**CONVERSE_CALL))
    assert telemetry.attributes["gen_ai.provider.name"] == "aws.bedrock"
    assert telemetry.attributes["gen_ai.request.model"] == CONVERSE_CALL["modelId"]
    assert telemetry.attributes["promptcache.cost.amount"] > 0
    assert telemetry.attributes["promptcache.prefix.breakpoints"] == ("system[0]",)


# Other instrumentations around the same call


async def read_stream(client: Any) -> None:
    async for _ in iterate((await resolve(client.converse_stream(**CONVERSE_CALL)))["stream"]):
        pass


async def read_body(client: Any) -> None:
    await resolve((await resolve(client.invoke_model(**CLAUDE_CALL)))["body"].read())


async def call_converse(client: Any) -> None:
    await resolve(client.converse(**CONVERSE_CALL))


@pytest.mark.parametrize("theirs_first", [False, True])
@pytest.mark.parametrize("use", [call_converse, read_stream, read_body])
async def test_the_llm_span_of_another_instrumentation_is_the_only_span(
    use: Callable[[Any], Any], theirs_first: bool, emulator_url: str
) -> None:
    telemetry = Telemetry()
    original = botocore.BaseClient._make_api_call

    def theirs(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        tracer = telemetry.tracers.get_tracer("theirs")
        span = tracer.start_span("theirs", attributes={"gen_ai.operation.name": "chat"})
        spans.append(span)
        with import_module("opentelemetry.trace").use_span(span):
            result = wrapped(*args, **kwargs)
        if use is call_converse:
            span.end()  # their span ends while their wrapper runs, possibly inside ours
        return result

    spans: list[Any] = []
    steps = [
        lambda: telemetry.instrument(),
        lambda: wrapt.wrap_function_wrapper(botocore.BaseClient, "_make_api_call", theirs),
    ]
    for step in reversed(steps) if theirs_first else steps:
        step()
    try:
        async with CLIENTS["sync"](emulator_url) as client:
            await use(client)
    finally:
        PromptCacheInstrumentor().uninstrument()
        botocore.BaseClient._make_api_call = original
    for span in spans:
        span.end()
    assert [span.name for span in telemetry.spans] == ["theirs"]
    assert attributes_of(telemetry.span)["promptcache.input_tokens"] > 1000
    assert telemetry.metric("promptcache.calls") == 1


async def test_the_span_of_an_agent_is_the_parent(client: Any, telemetry: Telemetry) -> None:
    tracer = telemetry.tracers.get_tracer("theirs")
    with tracer.start_as_current_span(
        "agent", attributes={"gen_ai.operation.name": "invoke_agent"}
    ):
        await resolve(client.converse(**CONVERSE_CALL))
    ours, agent = telemetry.spans
    assert ours.parent == agent.context


async def test_suppressed_calls_have_no_span(client: Any, telemetry: Telemetry) -> None:
    with suppress_instrumentation():
        await resolve(client.converse(**CONVERSE_CALL))
        await resolve((await resolve(client.invoke_model(**NOVA_CALL)))["body"].read())
    assert not telemetry.spans


# Failures


@pytest.mark.parametrize(
    ("status", "error"), [("429", "ThrottlingException"), ("500", "InternalServerException")]
)
async def test_a_refused_call_has_error_type_outcome_and_status(
    status: str, error: str, client: Any, emulator: Emulator, telemetry: Telemetry
) -> None:
    emulator.faults.add_fault(status)
    with pytest.raises(client.exceptions.ClientError):
        await resolve(client.converse(**CONVERSE_CALL))
    assert telemetry.attributes["error.type"] == error
    assert telemetry.attributes["promptcache.outcome"] == "error"
    assert telemetry.span.status.status_code is StatusCode.ERROR
    assert telemetry.span.status.description is None


async def test_a_connection_error_is_the_error_type(
    client: Any, emulator: Emulator, telemetry: Telemetry
) -> None:
    emulator.faults.add_fault("reset")
    with pytest.raises(import_module("botocore.exceptions").HTTPClientError) as broken:
        await resolve(client.converse(**CONVERSE_CALL))
    assert telemetry.attributes["error.type"] == type(broken.value).__name__


async def test_invalid_arguments_make_no_span(client: Any, telemetry: Telemetry) -> None:
    with pytest.raises(import_module("botocore.exceptions").ParamValidationError):
        await resolve(client.converse(modelId=3))
    assert not telemetry.spans


def test_retries_are_counted_in_one_call(
    emulator_url: str, emulator: Emulator, telemetry: Telemetry
) -> None:
    emulator.faults.add_fault("500")
    config = import_module("botocore.config").Config(retries={"max_attempts": 1})
    client = boto3.client(
        "bedrock-runtime", endpoint_url=emulator_url, config=config, **CREDENTIALS
    )
    client.converse(**CONVERSE_CALL)
    client.close()
    assert telemetry.attributes["http.request.resend_count"] == 1
    assert telemetry.span.status.is_unset


# Operations that are no model calls, and kinds of bodies


def test_other_services_and_operations_have_no_span(telemetry: Telemetry) -> None:
    stubber = import_module("botocore.stub").Stubber
    responses: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("s3", "list_buckets", {}),
        ("bedrock-runtime", "list_async_invokes", {"asyncInvokeSummaries": []}),
    )
    for service, operation, response in responses:
        client = boto3.client(service, **CREDENTIALS)
        with stubber(client) as stub:
            stub.add_response(operation, response)
            getattr(client, operation)()
        client.close()
    assert not telemetry.spans


async def test_a_model_with_an_unknown_body_format_has_no_span(
    client: Any, telemetry: Telemetry
) -> None:
    body = json.dumps({"prompt": "Hi.", "messages": [{"role": "user", "content": "Hi."}]})
    response = await resolve(
        client.invoke_model(modelId="meta.llama3-70b-instruct-v1:0", body=body)
    )
    assert await resolve(response["body"].read())
    assert not telemetry.spans


@pytest.mark.parametrize("kind", [bytes, bytearray, io.BytesIO])
async def test_request_bodies_of_all_types_are_observed(
    kind: Callable[[bytes], Any], emulator_url: str, telemetry: Telemetry
) -> None:
    body = kind(NOVA_CALL["body"].encode())
    async with CLIENTS["sync"](emulator_url) as client:
        client.invoke_model(modelId=NOVA_CALL["modelId"], body=body)["body"].read()
    assert telemetry.attributes["promptcache.input_tokens"] > 1000
    # promptcache must not read the application's open file, so the prompt stays unknown.
    assert ("promptcache.prefix.hash" in telemetry.attributes) is not isinstance(body, io.BytesIO)


async def test_a_dropped_body_ends_its_call_when_it_is_collected(
    client: Any, telemetry: Telemetry
) -> None:
    async def read_and_drop_body() -> None:
        body = (await resolve(client.invoke_model(**NOVA_CALL)))["body"]
        length = (
            int(body._content_length)
            if hasattr(body, "_content_length")
            else int(body._self_content_length)
        )
        await resolve(body.read(length))

    await read_and_drop_body()
    gc.collect()
    assert telemetry.attributes["promptcache.input_tokens"] > 1000
    assert telemetry.metric("promptcache.calls") == 1


def test_a_body_that_a_context_manager_closes_is_unreported(
    emulator_url: str, telemetry: Telemetry
) -> None:
    client = boto3.client("bedrock-runtime", endpoint_url=emulator_url, **CREDENTIALS)
    with client.invoke_model(**NOVA_CALL)["body"] as raw:
        assert type(raw).__module__.startswith("urllib3")
        assert not telemetry.spans
    client.close()
    assert telemetry.attributes["promptcache.outcome"] == "unreported"


def test_bytes_read_from_the_raw_stream_are_observed(
    emulator_url: str, telemetry: Telemetry
) -> None:
    client = boto3.client("bedrock-runtime", endpoint_url=emulator_url, **CREDENTIALS)
    response = client.invoke_model(**NOVA_CALL)
    response["body"] = io.BytesIO(
        response["body"]._raw_stream.read()
    )  # as OpenLLMetry and OpenInference do
    assert telemetry.attributes["promptcache.input_tokens"] > 1000
    client.close()


def test_an_error_of_the_raw_stream_is_the_error_type(
    emulator_url: str, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = boto3.client("bedrock-runtime", endpoint_url=emulator_url, **CREDENTIALS)
    body = client.invoke_model(**NOVA_CALL)["body"]

    raw: Any = body._raw_stream

    def raise_reset(raw: Any, amt: int | None = None) -> bytes:
        raise ConnectionResetError

    monkeypatch.setattr(raw.__class__, "read", raise_reset)
    with pytest.raises(ConnectionResetError):
        raw.read()
    assert telemetry.attributes["error.type"] == "ConnectionResetError"
    monkeypatch.undo()
    client.close()


def test_a_body_read_in_pieces_counts_once_and_restores_the_raw_stream(
    emulator_url: str, telemetry: Telemetry
) -> None:
    client = boto3.client("bedrock-runtime", endpoint_url=emulator_url, **CREDENTIALS)
    body = client.invoke_model(**NOVA_CALL)["body"]
    assert json.loads(b"".join(iter(lambda: body.read(100), b"")))
    assert telemetry.attributes["promptcache.input_tokens"] > 1000
    assert "read" not in vars(body._raw_stream), "the raw stream has its own method again"
    client.close()


async def test_an_event_is_observed_before_another_parser_ends_its_span(
    client: Any, telemetry: Telemetry
) -> None:
    span = telemetry.tracers.get_tracer("theirs").start_span(
        "theirs", attributes={"gen_ai.operation.name": "chat"}
    )
    stream = (await resolve(client.converse_stream(**CONVERSE_CALL)))["stream"]
    parse = stream._parse_event

    def end_span(event: Any) -> Any:
        if "metadata" in event:
            span.end()
        return event

    async def end_span_later(event: Any) -> Any:
        return end_span(await event)

    def parse_and_end_span(raw: Any) -> Any:
        """End the span inside the parser, as OpenLLMetry does."""
        event = parse(raw)
        return end_span_later(event) if inspect.isawaitable(event) else end_span(event)

    stream._parse_event = parse_and_end_span
    assert len([event async for event in iterate(stream)]) > 3
    assert (telemetry.span.name, telemetry.attributes["promptcache.input_tokens"] > 1000) == (
        "theirs",
        True,
    )


async def test_a_stream_can_be_read_after_uninstrumentation(
    client: Any, telemetry: Telemetry
) -> None:
    stream = (await resolve(client.converse_stream(**CONVERSE_CALL)))["stream"]
    PromptCacheInstrumentor().uninstrument()
    assert len([event async for event in iterate(stream)]) > 3
    del stream
    gc.collect()
    assert telemetry.metric("promptcache.calls") == 1


async def test_a_call_ends_with_the_last_byte_of_its_body(
    client: Any, telemetry: Telemetry
) -> None:
    body = (await resolve(client.invoke_model(**NOVA_CALL)))["body"]
    assert await resolve(body.read(0)) == b""
    while await resolve(body.read(64)):
        assert not telemetry.spans
    assert telemetry.attributes["promptcache.input_tokens"] > 1000
    assert await resolve(body.read()) == b""


def test_a_call_to_another_service_inside_a_call_is_ignored(
    emulator_url: str, telemetry: Telemetry
) -> None:
    client = boto3.client("bedrock-runtime", endpoint_url=emulator_url, **CREDENTIALS)
    other = boto3.client("dynamodb", endpoint_url=emulator_url, **CREDENTIALS)

    def call_dynamodb(**_: Any) -> None:
        with pytest.raises(other.exceptions.ClientError):
            other.list_tables()

    client.meta.events.register("before-call.bedrock-runtime.Converse", call_dynamodb)
    client.converse(**CONVERSE_CALL)
    assert telemetry.span.status.is_unset
    assert telemetry.attributes["promptcache.input_tokens"] > 1000
    client.close()
    other.close()
