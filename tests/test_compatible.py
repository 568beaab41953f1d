"""Servers with OpenAI's wire format have their own provider names and usage fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import groq
import openai
import pytest

from promptcache import Settings
from promptcache_emulator.engine import Emulator
from tests.support.call_shapes import CHAT
from tests.support.telemetry import Telemetry

PROVIDERS = {
    "deepseek": "deepseek",
    "moonshot": "moonshot_ai",
    "openrouter": "openrouter",
    "xai": "x_ai",
    "groq": "groq",
    "vllm": "openai",
    "vllm-details": "openai",
}


@pytest.fixture
def client(emulator_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{emulator_url}/v1", api_key="secret-key", max_retries=0
    ) as openai_client:
        yield openai_client


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("server", PROVIDERS)
def test_usage_fields_of_each_server_are_parsed(
    server: str,
    stream: bool,
    client: openai.OpenAI,
    emulator: Emulator,
    instrumented: Callable[..., Telemetry],
) -> None:
    create: Any = client.chat.completions.create
    more: dict[str, Any] = (
        {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    )

    def send_call() -> None:
        response = create(**CHAT, **more, extra_headers={"x-emulator-usage": server})
        assert not stream or list(response)

    send_call()
    telemetry = instrumented(Settings(providers={"127.0.0.1": PROVIDERS[server]}))
    send_call()
    emulated_result, attributes = emulator.records[-1].result, telemetry.attributes
    assert attributes["gen_ai.provider.name"] == PROVIDERS[server]
    assert attributes["promptcache.input_tokens"] == emulated_result.input_tokens
    if server == "vllm":
        assert attributes["promptcache.outcome"] == "unreported"
        assert "promptcache.read_tokens" not in attributes
    else:
        assert attributes["promptcache.read_tokens"] == emulated_result.cache_read_tokens > 0
    reports_cost = server in {"openrouter", "xai"}
    assert (attributes.get("promptcache.cost.source") == "provider") is reports_cost


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_calls_of_the_groq_sdk_are_observed(
    stream: bool, emulator_url: str, emulator: Emulator, telemetry: Telemetry
) -> None:
    headers = {"x-emulator-usage": "groq"}
    with groq.Groq(base_url=emulator_url, api_key="k", default_headers=headers) as client:
        create: Any = client.chat.completions.create
        for _ in range(2):
            response = create(**{**CHAT, "model": "openai/gpt-oss-120b"}, stream=stream)
            assert not stream or list(response)
    attributes = telemetry.spans[-1].attributes or {}
    assert len(telemetry.spans) == 2
    assert attributes["gen_ai.provider.name"] == "groq"
    assert attributes["promptcache.read_tokens"] == emulator.records[-1].result.cache_read_tokens
