"""Metrics count every call under any trace sampling, so alerts use metrics (docs/sampling.md)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from openai import OpenAI
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler, TraceIdRatioBased

from tests.support.telemetry import Telemetry

CALLS = 40
PROMPT = (
    "Rule: a parcel that is more than five working days late may be sent again at no charge. " * 120
)


@pytest.mark.parametrize(
    "sampler", [ALWAYS_OFF, TraceIdRatioBased(0.01), ALWAYS_ON], ids=["0 %", "1 %", "100 %"]
)
def test_metrics_count_every_call_under_any_sampler(
    instrumented: Callable[..., Telemetry], emulator_url: str, sampler: Sampler
) -> None:
    telemetry = instrumented(sampler=sampler)
    with OpenAI(base_url=f"{emulator_url}/v1", api_key="none") as client:
        usages = [
            client.chat.completions.create(
                model="gpt-5.4", messages=[{"role": "user", "content": PROMPT}]
            ).usage
            for _ in range(CALLS)
        ]
    read = sum(
        (usage.prompt_tokens_details and usage.prompt_tokens_details.cached_tokens) or 0
        for usage in usages
        if usage
    )
    assert read
    assert telemetry.metric("promptcache.calls") == CALLS
    assert telemetry.metric("promptcache.call.duration") == CALLS
    assert telemetry.metric("promptcache.input.tokens") == sum(
        usage.prompt_tokens for usage in usages if usage
    )
    assert telemetry.metric("promptcache.read.tokens") == read
    assert (
        len(telemetry.spans) == CALLS if sampler is ALWAYS_ON else len(telemetry.spans) < CALLS / 2
    )


def test_the_sampling_page_refers_to_this_file() -> None:
    root = Path(__file__).parent.parent
    assert str(Path(__file__).relative_to(root)) in (root / "docs" / "sampling.md").read_text()
