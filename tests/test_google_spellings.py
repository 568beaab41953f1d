"""Gemini's requests in the two spellings that an SDK lets through."""

from __future__ import annotations

from typing import Any

import pytest

from promptcache.model import ParsedPrompt, Request
from promptcache.providers.google.wire import GENERATE_CONTENT

CAMEL: dict[str, Any] = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "tools": [{"functionDeclarations": [{"name": "find"}, {"name": "list"}]}],
    "contents": [
        {
            "role": "user",
            "parts": [
                {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
                {"fileData": {"mimeType": "image/png", "fileUri": "gs://x"}},
            ],
        }
    ],
    "generationConfig": {"mediaResolution": "LOW", "thinkingConfig": {"thinkingBudget": 1}},
    "serviceTier": "flex",
    "cachedContent": "cachedContents/1",
}
SNAKE: dict[str, Any] = {
    "system_instruction": CAMEL["systemInstruction"],
    "tools": [{"function_declarations": CAMEL["tools"][0]["functionDeclarations"]}],
    "contents": [
        {
            "role": "user",
            "parts": [
                {"inline_data": {"mime_type": "image/png", "data": "AAAA"}},
                {"file_data": {"mime_type": "image/png", "file_uri": "gs://x"}},
            ],
        }
    ],
    "generation_config": {"media_resolution": "LOW", "thinking_config": {"thinkingBudget": 1}},
    "service_tier": "flex",
    "cached_content": "cachedContents/1",
}


def parse(body: dict[str, Any]) -> ParsedPrompt:
    request = Request("w", "gcp.gemini", "chat", "gemini-3", "h", 443, False, body, b"", 0.0)
    prompt = GENERATE_CONTENT.parse_prompt(request)
    assert prompt is not None
    return prompt


@pytest.mark.parametrize("body", [CAMEL, SNAKE])
def test_both_spellings_give_the_same_prompt(body: dict[str, Any]) -> None:
    prompt = parse(body)
    places = [(block.section, block.index, block.kind) for block in prompt.blocks]
    assert places == [
        ("system", 0, "text"),
        ("tools", 0, "function"),
        ("tools", 1, "function"),
        ("messages", 0, "image"),
        ("messages", 1, "image"),
    ]
    assert prompt.params == parse(CAMEL).params
    assert [param.name for param in prompt.params] == [
        "generationConfig.mediaResolution",
        "generationConfig.thinkingConfig",
        "serviceTier",
    ]
    assert prompt.server_state_id == "cachedContents/1"
