"""Servers that speak Chat Completions but count in words of their own: chosen by path prefix or by header."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from promptcache_emulator.cache import CacheResult
from promptcache_emulator.json_util import JSONObject
from promptcache_emulator.wire import ProviderRequest

_INPUT_PRICE, _OUTPUT_PRICE = 1e-6, 4e-6


def _made_up_cost(usage: Mapping[str, int], result: CacheResult) -> float:
    """A made-up price: 1 USD per million tokens in, a tenth of it for cached ones, 4 USD out."""
    plain, cached = result.input_tokens - result.cache_read_tokens, result.cache_read_tokens
    return round(
        plain * _INPUT_PRICE
        + cached * _INPUT_PRICE / 10
        + usage["completion_tokens"] * _OUTPUT_PRICE,
        12,
    )


def _token_counts(usage: JSONObject) -> JSONObject:
    return {name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}


def _with_cached_tokens(usage: JSONObject, result: CacheResult) -> JSONObject:
    return _token_counts(usage) | {
        "prompt_tokens_details": {"cached_tokens": result.cache_read_tokens}
    }


def _deepseek(usage: JSONObject, result: CacheResult) -> JSONObject:
    hit = {
        "prompt_cache_hit_tokens": result.cache_read_tokens,
        "prompt_cache_miss_tokens": result.input_tokens - result.cache_read_tokens,
    }
    return _with_cached_tokens(usage, result) | hit


def _openrouter(usage: JSONObject, result: CacheResult) -> JSONObject:
    details = {
        "cached_tokens": result.cache_read_tokens,
        "cache_write_tokens": result.cache_write_tokens,
        "audio_tokens": 0,
    }
    cost = _made_up_cost(usage, result)
    return _token_counts(usage) | {
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": 0},
        "cost": cost,
        "is_byok": False,
        "cost_details": {"upstream_inference_cost": cost},
    }


def _xai(usage: JSONObject, result: CacheResult) -> JSONObject:
    return usage | {
        "cost_in_usd_ticks": round(_made_up_cost(usage, result) * 1e10),
        "num_sources_used": 0,
    }


def _groq(usage: JSONObject, result: CacheResult) -> JSONObject:
    times = {"queue_time": 0.02, "prompt_time": 0.001, "completion_time": 0.01, "total_time": 0.011}
    return _with_cached_tokens(usage, result) | times


USAGE_DIALECTS: Final[Mapping[str, Callable[[JSONObject, CacheResult], JSONObject]]] = {
    "deepseek": _deepseek,
    "moonshot": lambda usage, outcome: (
        _token_counts(usage) | {"cached_tokens": outcome.cache_read_tokens}
    ),
    "openrouter": _openrouter,
    "xai": _xai,
    "groq": _groq,
    "vllm": lambda usage, _: _token_counts(usage) | {"prompt_tokens_details": None},
    "vllm-details": _with_cached_tokens,
}
"""Usage as each server words it (providers' pages of autumn 2026)."""


def translate_usage(
    request: ProviderRequest, openai_usage: JSONObject, result: CacheResult
) -> JSONObject:
    """`openai_usage` (OpenAI's usage) in the words of the server that the request names, if it names one."""
    dialect = _dialect_name(request)
    return (
        USAGE_DIALECTS[dialect](openai_usage, result) if dialect in USAGE_DIALECTS else openai_usage
    )


def _dialect_name(request: ProviderRequest) -> str:
    return request.headers.get("x-emulator-usage") or request.path_params.get("dialect") or ""


def add_unrequested_usage(
    request: ProviderRequest, events: list[JSONObject | str], usage: JSONObject
) -> None:
    """Groq puts the usage of a stream into its last chunk under `x_groq`, asked or not (groq-python 1.7.0)."""
    if _dialect_name(request) == "groq":
        last = [event for event in events if isinstance(event, dict)][-1]
        last["x_groq"] = {"id": "req_emulated", "usage": usage}
