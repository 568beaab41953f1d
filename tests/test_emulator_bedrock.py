"""The emulated Bedrock runtime: Converse and InvokeModel for Claude and Nova, through boto3 and its own parsers."""

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

# Neither has type stubs, and nothing here needs any.
boto3: Any = import_module("boto3")
botocore: Any = import_module("botocore.exceptions")
config: Any = import_module("botocore.config")

NOW = 1_795_132_800.0  # 2026-11-20
TEXT = " ".join(f"Rule {number}: answer in {number % 7} words." for number in range(400))
JSON = dict[str, Any]
CLAUDE, NOVA = "us.anthropic.claude-sonnet-4-6-v1:0", "us.amazon.nova-pro-v1:0"
ARN = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{CLAUDE}"
POINT = {"cachePoint": {"type": "default", "ttl": "1h"}}
ASK: JSON = {
    "modelId": CLAUDE,
    "system": [{"text": TEXT}, POINT],
    "messages": [{"role": "user", "content": [{"text": "hi"}]}],
}
NATIVE: JSON = {
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
    made = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="AK",
        aws_secret_access_key="s",
        config=config.Config(retries={"max_attempts": 0}),
    )
    yield made
    made.close()


def usage_of(stream: Any) -> JSON:
    *_, last = stream
    found: JSON = last["metadata"]["usage"]
    return found


@pytest.mark.parametrize("model", [CLAUDE, ARN, NOVA])
def test_converse_counts_the_cache_beside_the_input(
    client: Any, engine: Emulator, model: str
) -> None:
    ask = ASK | {"modelId": model}
    first, second = client.converse(**ask)["usage"], client.converse(**ask)["usage"]
    assert first["cacheDetails"] == [{"ttl": "1h", "inputTokens": first["cacheWriteInputTokens"]}]
    assert first["cacheWriteInputTokens"] == second["cacheReadInputTokens"] > 1024
    assert (
        first["inputTokens"] + first["cacheWriteInputTokens"]
        == engine.records[0].result.input_tokens
    )
    assert engine.records[0].cache_scope == "AK"
    assert usage_of(client.converse_stream(**ask)["stream"]) == second


def test_tools_come_through_the_binary_stream(client: Any) -> None:
    spec = {
        "name": "forecast",
        "inputSchema": {"json": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
    ask: JSON = ASK | {
        "toolConfig": {"tools": [{"toolSpec": spec}, POINT], "toolChoice": {"any": {}}}
    }
    events = list(client.converse_stream(**ask)["stream"])
    assert events[1]["contentBlockStart"]["start"]["toolUse"]["name"] == "forecast"
    assert json.loads(events[2]["contentBlockDelta"]["delta"]["toolUse"]["input"]) == {
        "city": "text"
    }
    assert events[-2]["messageStop"]["stopReason"] == "tool_use"


def test_invoke_model_speaks_claude(client: Any) -> None:
    first = json.loads(client.invoke_model(modelId=CLAUDE, body=json.dumps(NATIVE))["body"].read())
    assert first["usage"]["cache_creation_input_tokens"] > 1024
    stream = client.invoke_model_with_response_stream(modelId=CLAUDE, body=json.dumps(NATIVE))[
        "body"
    ]
    events = [json.loads(event["chunk"]["bytes"]) for event in stream]
    assert (
        events[0]["message"]["usage"]["cache_read_input_tokens"]
        == first["usage"]["cache_creation_input_tokens"]
    )
    assert events[-1]["amazon-bedrock-invocationMetrics"]["cacheReadInputTokenCount"] > 1024


def test_invoke_model_speaks_nova(client: Any) -> None:
    body = json.dumps({key: ASK[key] for key in ("system", "messages")})
    first = json.loads(client.invoke_model(modelId=NOVA, body=body)["body"].read())["usage"]
    stream = client.invoke_model_with_response_stream(modelId=NOVA, body=body)["body"]
    *_, last = (json.loads(event["chunk"]["bytes"]) for event in stream)
    assert (
        last["metadata"]["usage"]["cacheReadInputTokenCount"]
        == first["cacheWriteInputTokenCount"]
        > 1000
    )


def test_anthropic_s_own_bedrock_client(url: str) -> None:
    made: Any = AnthropicBedrock(
        base_url=url, aws_region="us-east-1", aws_access_key="a", aws_secret_key="b"
    )
    ask = {key: NATIVE[key] for key in ("max_tokens", "messages", "system")} | {"model": CLAUDE}
    with made:
        assert made.messages.create(**ask).usage.cache_creation_input_tokens > 1024
        assert [event.type for event in made.messages.create(**ask, stream=True)][
            -1
        ] == "message_stop"


RAISED = [("429", "ClientError"), ("500", "ClientError"), ("reset", "ConnectionClosedError")]


@pytest.mark.parametrize(("fault", "raised"), RAISED)
def test_faults(client: Any, engine: Emulator, fault: str, raised: str) -> None:
    engine.faults.add(fault)
    with pytest.raises(getattr(botocore, raised)):
        client.converse_stream(**ASK)
    assert client.converse(**ASK)["usage"]


def test_error_in_the_middle_of_a_stream(client: Any, engine: Emulator) -> None:
    engine.faults.add("error-event=2")
    with (
        closing(client.converse_stream(**ASK)["stream"]) as stream,
        pytest.raises(botocore.EventStreamError),
    ):
        list(stream)


def test_refusals(client: Any) -> None:
    with pytest.raises(botocore.ClientError, match="must follow"):
        client.converse(**ASK | {"system": [POINT]})
    points = [{"text": "a"}, POINT] * 5
    with pytest.raises(botocore.ClientError, match="maximum of 4"):
        client.converse(**ASK | {"system": points})
