"""The emulated Bedrock runtime through boto3: Converse and InvokeModel for Claude and Nova."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from typing import Any

import pytest
from anthropic.lib.bedrock import AnthropicBedrock

from promptcache_emulator.clock import Clock
from promptcache_emulator.engine import Emulator
from promptcache_emulator.server import running_server

# boto3 and botocore have no type stubs.
boto3: Any = import_module("boto3")
botocore: Any = import_module("botocore.exceptions")
config: Any = import_module("botocore.config")

NOW = 1_795_132_800.0  # 2026-11-20
TEXT = " ".join(f"Rule {number}: answer in {number % 7} words." for number in range(400))
JSON = dict[str, Any]
CLAUDE, NOVA = "us.anthropic.claude-sonnet-4-6-v1:0", "us.amazon.nova-pro-v1:0"
ARN = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{CLAUDE}"
CACHE_POINT = {"cachePoint": {"type": "default", "ttl": "1h"}}
REQUEST: JSON = {
    "modelId": CLAUDE,
    "system": [{"text": TEXT}, CACHE_POINT],
    "messages": [{"role": "user", "content": [{"text": "hi"}]}],
}
CLAUDE_BODY: JSON = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 99,
    "messages": [{"role": "user", "content": "hi"}],
    "system": [{"type": "text", "text": TEXT, "cache_control": {"type": "ephemeral"}}],
}


@pytest.fixture
def engine() -> Emulator:
    return Emulator(Clock(NOW))


@pytest.fixture
def url(engine: Emulator) -> Iterator[str]:
    with running_server(engine) as base:
        yield base


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    client = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="AK",
        aws_secret_access_key="s",
        config=config.Config(retries={"max_attempts": 0}),
    )
    yield client
    client.close()


def usage_of_stream(stream: Any) -> JSON:
    *_, last = stream
    usage: JSON = last["metadata"]["usage"]
    return usage


@pytest.mark.parametrize(("model", "ttl"), [(CLAUDE, "1h"), (ARN, "1h"), (NOVA, "5m")])
def test_converse_reports_cached_tokens_apart_from_input_tokens(
    client: Any, engine: Emulator, model: str, ttl: str
) -> None:
    point = {"cachePoint": {"type": "default", "ttl": ttl}}
    request = REQUEST | {"modelId": model, "system": [{"text": TEXT}, point]}
    first, second = client.converse(**request)["usage"], client.converse(**request)["usage"]
    assert first["cacheDetails"] == [{"ttl": ttl, "inputTokens": first["cacheWriteInputTokens"]}]
    assert first["cacheWriteInputTokens"] == second["cacheReadInputTokens"] > 1024
    assert (
        first["inputTokens"] + first["cacheWriteInputTokens"]
        == engine.records[0].result.input_tokens
    )
    assert engine.records[0].cache_scope == "AK"
    assert usage_of_stream(client.converse_stream(**request)["stream"]) == second


def test_the_binary_stream_carries_tool_calls(client: Any) -> None:
    spec = {
        "name": "forecast",
        "inputSchema": {"json": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
    request: JSON = REQUEST | {
        "toolConfig": {"tools": [{"toolSpec": spec}, CACHE_POINT], "toolChoice": {"any": {}}}
    }
    events = list(client.converse_stream(**request)["stream"])
    assert events[1]["contentBlockStart"]["start"]["toolUse"]["name"] == "forecast"
    assert json.loads(events[2]["contentBlockDelta"]["delta"]["toolUse"]["input"]) == {
        "city": "text"
    }
    assert events[-2]["messageStop"]["stopReason"] == "tool_use"


def test_invoke_model_returns_the_claude_format(client: Any) -> None:
    first = json.loads(
        client.invoke_model(modelId=CLAUDE, body=json.dumps(CLAUDE_BODY))["body"].read()
    )
    assert first["usage"]["cache_creation_input_tokens"] > 1024
    stream = client.invoke_model_with_response_stream(modelId=CLAUDE, body=json.dumps(CLAUDE_BODY))[
        "body"
    ]
    events = [json.loads(event["chunk"]["bytes"]) for event in stream]
    assert (
        events[0]["message"]["usage"]["cache_read_input_tokens"]
        == first["usage"]["cache_creation_input_tokens"]
    )
    assert events[-1]["amazon-bedrock-invocationMetrics"]["cacheReadInputTokenCount"] > 1024


def test_invoke_model_returns_the_nova_format(client: Any) -> None:
    system = [{"text": TEXT}, {"cachePoint": {"type": "default"}}]
    body = json.dumps({"system": system, "messages": REQUEST["messages"]})
    first = json.loads(client.invoke_model(modelId=NOVA, body=body)["body"].read())["usage"]
    stream = client.invoke_model_with_response_stream(modelId=NOVA, body=body)["body"]
    *_, last = (json.loads(event["chunk"]["bytes"]) for event in stream)
    assert (
        last["metadata"]["usage"]["cacheReadInputTokenCount"]
        == first["cacheWriteInputTokenCount"]
        > 1000
    )


def test_the_bedrock_client_of_anthropic_is_served(url: str) -> None:
    client: Any = AnthropicBedrock(
        base_url=url, aws_region="us-east-1", aws_access_key="a", aws_secret_key="b"
    )
    request = {key: CLAUDE_BODY[key] for key in ("max_tokens", "messages", "system")} | {
        "model": CLAUDE
    }
    with client:
        assert client.messages.create(**request).usage.cache_creation_input_tokens > 1024
        assert [event.type for event in client.messages.create(**request, stream=True)][
            -1
        ] == "message_stop"


FAULTS = [("429", "ClientError"), ("500", "ClientError"), ("reset", "ConnectionClosedError")]


@pytest.mark.parametrize(("fault", "error_name"), FAULTS)
def test_a_fault_fails_one_call(client: Any, engine: Emulator, fault: str, error_name: str) -> None:
    engine.faults.add_fault(fault)
    with pytest.raises(getattr(botocore, error_name)):
        client.converse_stream(**REQUEST)
    assert client.converse(**REQUEST)["usage"]


def test_an_error_event_in_a_stream_raises(client: Any, engine: Emulator) -> None:
    engine.faults.add_fault("error-event=2")
    with (
        closing(client.converse_stream(**REQUEST)["stream"]) as stream,
        pytest.raises(botocore.EventStreamError),
    ):
        list(stream)


def test_invalid_cache_points_are_refused(client: Any) -> None:
    with pytest.raises(botocore.ClientError, match="must follow"):
        client.converse(**REQUEST | {"system": [CACHE_POINT]})
    points = [{"text": "a"}, CACHE_POINT] * 5
    with pytest.raises(botocore.ClientError, match="maximum of 4"):
        client.converse(**REQUEST | {"system": points})
