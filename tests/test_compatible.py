"""Servers that speak OpenAI's wire: their own names, their own usage fields, one meaning."""

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

HOSTS = {
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
    with openai.OpenAI(base_url=f"{emulator_url}/v1", api_key="secret-key", max_retries=0) as made:
        yield made


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("server", HOSTS)
def test_their_usage_fields(
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

    def ask() -> None:
        made = create(**CHAT, **more, extra_headers={"x-emulator-usage": server})
        assert not stream or list(made)

    ask()
    telemetry = instrumented(Settings(providers={"127.0.0.1": HOSTS[server]}))
    ask()
    truth, found = emulator.records[-1].result, telemetry.attributes
    assert found["gen_ai.provider.name"] == HOSTS[server]
    assert found["promptcache.input_tokens"] == truth.input_tokens
    if server == "vllm":
        assert found["promptcache.outcome"] == "unreported"
        assert "promptcache.read_tokens" not in found
    else:
        assert found["promptcache.read_tokens"] == truth.cache_read_tokens > 0
    billed = server in {"openrouter", "xai"}
    assert (found.get("promptcache.cost.source") == "provider") is billed


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_the_groq_sdk_shares_the_choke_point(
    stream: bool, emulator_url: str, emulator: Emulator, telemetry: Telemetry
) -> None:
    headers = {"x-emulator-usage": "groq"}
    with groq.Groq(base_url=emulator_url, api_key="k", default_headers=headers) as client:
        create: Any = client.chat.completions.create
        for _ in range(2):
            made = create(**{**CHAT, "model": "openai/gpt-oss-120b"}, stream=stream)
            assert not stream or list(made)
    found = telemetry.spans[-1].attributes or {}
    assert len(telemetry.spans) == 2
    assert found["gen_ai.provider.name"] == "groq"
    assert found["promptcache.read_tokens"] == emulator.records[-1].result.cache_read_tokens
