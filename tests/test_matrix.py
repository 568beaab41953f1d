"""Every call shape through the real SDKs is recorded once, and its result is unchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from promptcache_emulator.engine import Emulator
from tests.support.call_shapes import Shape
from tests.support.sdks import KITS, PLATFORMS, Kit
from tests.support.telemetry import Telemetry

CASES = [
    pytest.param(kit, kind, shape, id=f"{kit.name}-{kind}-{shape.name}")
    for kit in (*KITS, *PLATFORMS)
    for kind in kit.clients
    for shape in kit.shapes
]


# aiohttp 3.14 warns of a subclass that google-genai 3.4 makes.
@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
@pytest.mark.parametrize(("kit", "kind", "shape"), CASES)
async def test_a_call_is_recorded_once_and_its_result_is_unchanged(
    kit: Kit,
    kind: str,
    shape: Shape,
    emulator: Emulator,
    emulator_url: str,
    instrumented: Callable[..., Telemetry],
) -> None:
    async with kit.clients[kind](emulator_url) as client:
        await shape.use(client)
        expected = await shape.use(client)
        telemetry = instrumented()
        before = len(emulator.records)
        assert await shape.use(client) == expected
    # Another LLM span is the SDK's own: the parent of ours, which ended before the usage was known.
    llm_spans = [
        span
        for span in telemetry.spans
        if (span.attributes or {}).get("gen_ai.operation.name") == "chat"
    ]
    call_contexts = [end for span in telemetry.calls for end in (span.context, span.parent)]
    assert all(span.context in call_contexts for span in llm_spans)
    expected_results = [record.result for record in list(emulator.records)[before:]]
    assert len(telemetry.calls) == telemetry.metric("promptcache.calls") == len(expected_results)
    for span, expected_result in zip(telemetry.calls, expected_results, strict=True):
        attributes: Any = span.attributes
        assert span.kind is SpanKind.CLIENT
        assert attributes["gen_ai.provider.name"] == kit.providers.get(
            kind, attributes["gen_ai.provider.name"]
        )
        assert span.status.status_code is not StatusCode.ERROR
        if not (shape.reported and shape.cached):
            assert attributes["promptcache.outcome"] == "unreported"
            assert ("promptcache.input_tokens" in attributes) is shape.reported
            assert "promptcache.read_tokens" not in attributes
            continue
        assert attributes["promptcache.input_tokens"] == expected_result.input_tokens
        assert attributes["promptcache.read_tokens"] == expected_result.cache_read_tokens
        # Later turns of a thread send a suffix. The emulator stores no threads and reads no cache.
        assert (attributes["promptcache.outcome"] in {"hit", "partial"}) is (
            expected_result.cache_read_tokens > 0
        )
    if shape.reported and shape.cached:
        assert telemetry.metric("promptcache.read.tokens") == sum(
            expected_result.cache_read_tokens for expected_result in expected_results
        )
