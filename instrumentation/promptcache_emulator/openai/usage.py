"""Usage objects of the OpenAI API."""

from __future__ import annotations

from promptcache_emulator.cache import CacheResult
from promptcache_emulator.json_util import JSONObject
from promptcache_emulator.profiles import CacheProfile


def chat_usage(
    result: CacheResult, profile: CacheProfile, output_tokens: int, reasoning_tokens: int
) -> JSONObject:
    """Return `usage` of a chat completion. It has writes only if the model bills them."""
    details: JSONObject = {"cached_tokens": result.cache_read_tokens, "audio_tokens": 0}
    if profile.bills_writes:
        details["cache_write_tokens"] = result.cache_write_tokens
    return {
        "prompt_tokens": result.input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": result.input_tokens + output_tokens,
        "prompt_tokens_details": details,
        "completion_tokens_details": {
            "reasoning_tokens": reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def responses_usage(
    result: CacheResult, profile: CacheProfile, output_tokens: int, reasoning_tokens: int
) -> JSONObject:
    """Return `usage` of a response (openai 3.52.0, types/responses/response_usage.py)."""
    details: JSONObject = {
        "cached_tokens": result.cache_read_tokens,
        "cache_write_tokens": result.cache_write_tokens,
    }
    if profile.bills_writes:
        details["cache_write_tokens_details"] = {
            f"ttl_{ttl}_tokens": result.cache_write_by_ttl.get(ttl, 0) for ttl in ("30m", "12h")
        }
    return {
        "input_tokens": result.input_tokens,
        "input_tokens_details": details,
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning_tokens},
        "total_tokens": result.input_tokens + output_tokens,
    }
