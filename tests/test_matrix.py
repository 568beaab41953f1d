"""Every call shape through the real SDKs: seen once, ended once, untouched."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import openai
import pytest
from opentelemetry.trace import SpanKind

from promptcache.emulator.engine import Emulator

from .calls import OPENAI, Shape, done
from .conftest import Telemetry

CLIENTS = {"sync": openai.OpenAI, "async": openai.AsyncOpenAI}


@pytest.fixture(params=CLIENTS)
async def client(request: pytest.FixtureRequest, emulator_url: str) -> AsyncIterator[Any]:
    made = CLIENTS[request.param](base_url=f"{emulator_url}/v1", api_key="secret-key", max_retries=0)
    yield made
    await done(made.close())


@pytest.mark.parametrize("shape", OPENAI, ids=lambda shape: shape.name)
async def test_a_call_is_seen_once_and_untouched(
    shape: Shape, client: Any, emulator: Emulator, instrumented: Callable[..., Telemetry]
) -> None:
    await shape.use(client)
    without = await shape.use(client)
    telemetry = instrumented()
    assert await shape.use(client) == without
    truth = emulator.ledger[-1].outcome
    span, attributes = telemetry.span, telemetry.attributes
    assert span.kind is SpanKind.CLIENT
    assert span.status.is_unset
    assert telemetry.metric("promptcache.calls") == 1
    if not shape.reported:
        assert attributes["promptcache.outcome"] == "unreported"
        assert "promptcache.input_tokens" not in attributes
        return
    assert attributes["promptcache.input_tokens"] == truth.input
    assert attributes["promptcache.read_tokens"] == truth.read
    assert attributes["promptcache.outcome"] == "hit"
    assert telemetry.metric("promptcache.read.tokens") == truth.read
