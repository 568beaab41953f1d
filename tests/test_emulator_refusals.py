"""Each error 400 of the providers' rules on prompt caches, with the provider's words."""

from __future__ import annotations

from typing import Any

import pytest

from promptcache_emulator.engine import Emulator
from tests.support.harness_world import BEDROCK_CLAUDE, CLAUDE, GPT, HANDBOOK, NOVA

JSON = dict[str, Any]
MARK: JSON = {"cache_control": {"type": "ephemeral"}}
HOUR: JSON = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
TEXT: JSON = {"type": "text", "text": "Text"}
TOOL: JSON = {"name": "track", "input_schema": {"type": "object"}}
ORDER = (
    "cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' "
    "cache_control block. Note that blocks are processed in the following order: `tools`, "
    "`system`, `messages`."
)
EMPTY = "text: cache_control cannot be set for empty text blocks"
NOT_PERMITTED = "cache_control: Extra inputs are not permitted"
IN_CACHE = (
    "CachedContent can not be used with GenerateContent request setting system_instruction, tools "
    "or tool_config. Proposed fix: move those values to CachedContent from GenerateContent request."
)


def user(*blocks: JSON) -> list[JSON]:
    return [{"role": "user", "content": [*blocks]}]


def thinking(kind: str) -> JSON:
    return {"type": kind, "thinking": "Hm.", "signature": "s", **MARK}


ANTHROPIC: dict[str, tuple[JSON, str]] = {
    "five breakpoints": (
        {"messages": user(*[{**TEXT, **MARK}] * 5)},
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    "four breakpoints and the automatic one": (
        {"messages": user(*[{**TEXT, **MARK}] * 4, TEXT), **MARK},
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    "an hour after five minutes in a message": (
        {"messages": user({**TEXT, **MARK}, {**TEXT, **HOUR})},
        f"messages.0.content.1.{ORDER}",
    ),
    "an hour in the system prompt after five minutes in the tools": (
        {"tools": [{**TOOL, **MARK}], "system": [{**TEXT, **HOUR}]},
        f"system.0.{ORDER}",
    ),
    "an automatic hour after five minutes": (
        {"messages": user({**TEXT, **MARK}, TEXT), **HOUR},
        ORDER.removeprefix("cache_control.ttl: "),
    ),
    "another TTL on the block of the automatic breakpoint": (
        {"messages": user({**TEXT, **HOUR}), **MARK},
        "the last block has a cache_control of another ttl than the request's",
    ),
    "a breakpoint on an empty text": (
        {"messages": user(TEXT, {"type": "text", "text": "", **MARK})},
        f"messages.0.content.1.{EMPTY}",
    ),
    "a breakpoint on an empty system prompt": (
        {"system": [{"type": "text", "text": "", **MARK}]},
        f"system.0.{EMPTY}",
    ),
    "a breakpoint on thinking": (
        {"messages": [*user(TEXT), {"role": "assistant", "content": [thinking("thinking")]}]},
        f"messages.1.content.0.thinking.{NOT_PERMITTED}",
    ),
    "a breakpoint on redacted thinking": (
        {"messages": [{"role": "assistant", "content": [thinking("redacted_thinking")]}]},
        f"messages.0.content.0.redacted_thinking.{NOT_PERMITTED}",
    ),
    "a TTL that is not offered": (
        {"system": [{**TEXT, "cache_control": {"type": "ephemeral", "ttl": "30m"}}]},
        "system.0.cache_control.ttl: Input should be '5m' or '1h', not '30m'",
    ),
}
PREWARMING: dict[str, JSON] = {
    "stream": {"stream": True},
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    "an output format": {"output_config": {"format": {"type": "json_schema"}}},
    "a forced tool_choice": {"tools": [TOOL], "tool_choice": {"type": "any"}},
}


def refusal_of(path: str, body: JSON) -> str:
    """Return the message of a refused request. Fail if it is answered."""
    answer = Emulator().post_json(path, body)
    error = answer.get("error") or {"message": answer.get("message")}
    assert error["message"], answer
    return str(error["message"])


@pytest.mark.parametrize("name", ANTHROPIC)
def test_what_anthropic_refuses(name: str) -> None:
    more, words = ANTHROPIC[name]
    body = {"model": CLAUDE, "max_tokens": 50, "messages": user(TEXT), **more}
    assert refusal_of("/v1/messages", body) == words


@pytest.mark.parametrize("words", PREWARMING)
def test_what_anthropic_refuses_with_prewarming(words: str) -> None:
    body = {"model": CLAUDE, "max_tokens": 0, "messages": user(TEXT), **PREWARMING[words]}
    expected = f"max_tokens: 0 is not supported with {words}"
    assert refusal_of("/v1/messages", body) == expected


def test_anthropic_refuses_to_prewarm_in_a_batch() -> None:
    emulator = Emulator()
    params = {"model": CLAUDE, "max_tokens": 0, "messages": user(TEXT)}
    item = {"custom_id": "a", "params": params}
    batch = emulator.post_json("/v1/messages/batches", {"requests": [item]})
    path = f"/v1/messages/batches/{batch['id']}/results"
    response, _ = emulator.handle_request("GET", path, b"", {"authorization": "Bearer key"}, {})
    assert "max_tokens: 0 is not supported with a batch" in str(response.events or response.body)


def test_openai_offers_twelve_hours_in_responses_only() -> None:
    part = {"type": "text", "text": "Text", "prompt_cache_breakpoint": {"ttl": "12h"}}
    body = {"model": GPT, "messages": user(part)}
    words = "Invalid value: '12h'. Supported values are: '30m'."
    assert refusal_of("/v1/chat/completions", body) == words
    options = {"model": GPT, "messages": user(TEXT), "prompt_cache_options": {"ttl": "12h"}}
    assert refusal_of("/v1/chat/completions", options) == words
    hour = {"model": GPT, "input": "Hi", "prompt_cache_options": {"ttl": "1h"}}
    both = "Invalid value: '1h'. Supported values are: '30m' and '12h'."
    assert refusal_of("/v1/responses", hour) == both


def converse(model: str, point: JSON, **more: Any) -> str:
    body = {"messages": [{"role": "user", "content": [{"text": "Hi"}, *[point] * 5]}], **more}
    return refusal_of(f"/model/{model}/converse", body)


def test_bedrock_refuses_too_many_and_disordered_cache_points() -> None:
    point = {"cachePoint": {"type": "default"}}
    hour = {"cachePoint": {"type": "default", "ttl": "1h"}}
    system = [block for text in "abcde" for block in ({"text": text}, point)]
    assert converse(BEDROCK_CLAUDE, point, system=system).startswith("A maximum of 4 blocks")
    disordered = [{"text": "a"}, point, {"text": "b"}, hour]
    words = converse(BEDROCK_CLAUDE, hour, system=disordered)
    assert words == ORDER.removeprefix("cache_control.ttl: ")


def test_nova_takes_no_cache_point_behind_tools() -> None:
    spec = {"toolSpec": {"name": "track", "inputSchema": {"json": {"type": "object"}}}}
    point = {"cachePoint": {"type": "default"}}
    words = converse(NOVA, point, toolConfig={"tools": [spec, point]})
    assert "#/toolConfig/tools/1: extraneous key [cachePoint] is not permitted" in words


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (NOVA, "Extended TTL prompt caching is only supported for Anthropic models"),
        ("us.anthropic.claude-3-5-haiku-20241022-v1:0", "Extra inputs are not permitted"),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "Extra inputs are not permitted"),
        ("us.anthropic.claude-opus-4-1-20250805-v1:0", "Extra inputs are not permitted"),
    ],
)
def test_bedrock_offers_an_hour_from_claude_4_5_on(model: str, words: str) -> None:
    assert words in converse(model, {"cachePoint": {"type": "default", "ttl": "1h"}})


@pytest.mark.parametrize(
    "more",
    [
        {"systemInstruction": {"parts": [{"text": "Be kind."}]}},
        {"tools": [{"functionDeclarations": [{"name": "track"}]}]},
        {"toolConfig": {"functionCallingConfig": {"mode": "NONE"}}},
    ],
)
def test_gemini_refuses_a_named_cache_beside_what_belongs_into_it(more: JSON) -> None:
    emulator = Emulator()
    contents = [{"role": "user", "parts": [{"text": HANDBOOK}]}]
    model = "models/gemini-2.5-flash"
    cache = emulator.post_json("/v1beta/cachedContents", {"model": model, "contents": contents})
    body = {"contents": contents, "cachedContent": cache["name"], **more}
    answer = emulator.post_json(f"/v1beta/{model}:generateContent", body)
    assert answer["error"]["message"] == IN_CACHE


def test_gemini_refuses_a_cache_below_the_minimum() -> None:
    contents = [{"role": "user", "parts": [{"text": "Short."}]}]
    body = {"model": "models/gemini-2.5-flash", "contents": contents}
    words = refusal_of("/v1beta/cachedContents", body)
    assert words.startswith("Cached content is too small. total_token_count=")
    assert words.endswith("min_total_token_count=2048")
