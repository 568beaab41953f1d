"""`CacheTracker` counts any provider's usage as the instrumentation does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptcache import CacheTracker, PromptError
from promptcache.harness.names import Wire
from tests.support.harness_world import CLAUDE, GPT, World, support_prompt

ANTHROPIC = {"input_tokens": 100, "cache_read_input_tokens": 900, "cache_creation_input_tokens": 0}
CHAT = {"prompt_tokens": 1000, "prompt_tokens_details": {"cached_tokens": 900}}
RESPONSES = {
    "input_tokens": 1000,
    "input_tokens_details": {"cached_tokens": 900},
    "output_tokens": 5,
    "total_tokens": 1005,
}
GEMINI = {"promptTokenCount": 1000, "cachedContentTokenCount": 900, "totalTokenCount": 1000}
CONVERSE = {"inputTokens": 100, "cacheReadInputTokens": 900, "cacheWriteInputTokens": 0}


ANSWERS: list[Any] = [
    ANTHROPIC,
    CHAT,
    RESPONSES,
    GEMINI,
    CONVERSE,
    {"type": "message", "usage": ANTHROPIC},
    {"object": "chat.completion", "choices": [], "usage": CHAT},
    {"object": "response", "output": [], "usage": RESPONSES},
    {"candidates": [], "usageMetadata": GEMINI},
    {"output": {}, "stopReason": "end_turn", "usage": CONVERSE},
    [
        {"type": "message_start", "message": {"usage": {**ANTHROPIC, "output_tokens": 1}}},
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ],
    [{"choices": [{"delta": {"content": "a"}}]}, {"choices": [], "usage": CHAT}],
    [
        {"type": "response.created", "response": {"usage": None}},
        {"type": "response.completed", "response": {"usage": RESPONSES}},
    ],
    [{"candidates": [{}]}, {"candidates": [{}], "usageMetadata": GEMINI}],
    [{"messageStart": {}}, {"messageStop": {}}, {"metadata": {"usage": CONVERSE}}],
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_every_shape_of_usage_is_understood(answer: Any) -> None:
    tracker = CacheTracker()
    assert tracker.record(answer)
    assert (tracker.calls, tracker.hits, tracker.misses) == (1, 1, 0)
    assert (tracker.input_tokens, tracker.read_tokens) == (1000, 900)
    assert tracker.hit_rate == 0.9


def test_the_hit_rate_is_of_tokens_and_not_of_calls() -> None:
    tracker = CacheTracker()
    tracker.record({"prompt_tokens": 2006, "prompt_tokens_details": {"cached_tokens": 1920}})
    assert tracker.hit_rate == pytest.approx(0.957129, abs=1e-6)
    tracker.record({"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 0}})
    assert (tracker.hits, tracker.misses) == (1, 1)
    assert tracker.hit_rate == pytest.approx(1920 / 2016)


def test_an_unreported_count_is_not_zero() -> None:
    tracker = CacheTracker()
    tracker.record({"prompt_tokens": 1000})
    assert (tracker.calls, tracker.hits, tracker.misses) == (1, 0, 0)
    assert tracker.hit_rate is None
    tracker.record(CHAT)
    assert tracker.hit_rate == 0.9


def test_a_response_without_usage_is_not_counted() -> None:
    tracker = CacheTracker()
    answers: tuple[Any, ...] = ({"type": "message"}, {"choices": []}, {}, [], {"unknown": 1})
    assert [tracker.record(answer) for answer in answers] == [False] * 5
    assert (tracker.calls, tracker.hit_rate, tracker.saved_usd) == (0, None, None)


NO_RESPONSES: list[Any] = [iter([1]), object(), 5, None]


@pytest.mark.parametrize("answer", NO_RESPONSES)
def test_what_is_no_response_is_refused(answer: Any) -> None:
    with pytest.raises(PromptError, match="answer: is"):
        CacheTracker().record(answer)


def test_a_saving_needs_a_price_and_may_be_negative() -> None:
    tracker = CacheTracker()
    usage = {**ANTHROPIC, "output_tokens": 0}
    tracker.record({"type": "message", "model": "no-such-model", "usage": usage})
    assert tracker.saved_usd is None
    tracker.record({"type": "message", "model": "claude-sonnet-4-6", "usage": usage})
    # 3 USD for a million tokens; a read costs a tenth.
    assert tracker.saved_usd == pytest.approx(900 * 2.7e-6)
    assert (tracker.calls, tracker.priced_calls) == (2, 1)
    written = {
        "input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 9000,
        "output_tokens": 0,
    }
    tracker.record({"type": "message", "model": "claude-sonnet-4-6", "usage": written})
    assert tracker.saved_usd == pytest.approx(900 * 2.7e-6 - 9000 * 0.75e-6)


def test_the_caller_names_provider_and_model_where_the_response_cannot() -> None:
    tracker = CacheTracker(provider="aws.bedrock", model="anthropic.claude-sonnet-4-6")
    tracker.record({**CONVERSE, "outputTokens": 0})
    assert tracker.priced_calls == 1


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_hit_rate_is_never_above_one(total: int, cached: int, written: int) -> None:
    details = {"cached_tokens": cached, "cache_write_tokens": written}
    tracker = CacheTracker()
    tracker.record({"prompt_tokens": total, "prompt_tokens_details": details})
    assert tracker.hit_rate is None or 0 <= tracker.hit_rate <= 1


@pytest.mark.parametrize(("wire", "model"), [("anthropic", CLAUDE), ("chat", GPT)])
def test_the_counts_of_a_chat_are_those_of_the_provider(wire: Wire, model: str) -> None:
    world = World()
    chat = support_prompt().chat(wire=wire, model=model)
    for number in range(5):
        world.turn(chat, f"Question {number}")
    totals = world.emulator.totals
    assert chat.stats.input_tokens == totals["input"]
    assert chat.stats.read_tokens == totals["read"]
    assert chat.stats.write_tokens == totals["write"]
    assert chat.stats.saved_usd is not None
    assert chat.stats.saved_usd > 0
