"""A response is read while only its byte iterator is referenced."""

from __future__ import annotations

import openai

from tests.support.call_shapes import MODEL
from tests.support.telemetry import Telemetry


def test_an_unreferenced_response_is_read_completely(
    emulator_url: str, telemetry: Telemetry
) -> None:
    with openai.OpenAI(base_url=f"{emulator_url}/v1", api_key="k", max_retries=0) as client:
        create = client.chat.completions.with_raw_response.create
        chunks = create(
            model=MODEL, messages=[{"role": "user", "content": "Hi"}], stream=True
        ).http_response.iter_bytes()
        assert b"[DONE]" in b"".join(chunks)
    assert telemetry.attributes["promptcache.outcome"] == "unreported"
    assert telemetry.metric("promptcache.calls") == 1
