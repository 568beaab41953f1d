"""Usage objects of servers that speak Chat Completions with other usage fields than OpenAI.

The path prefix or the header `x-emulator-usage` names the server. Fields by the providers' pages of
autumn 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from promptcache_emulator.cache import CacheResult
from promptcache_emulator.json_util import JSONObject
from promptcache_emulator.request import ProviderRequest

_INPUT_USD_PER_TOKEN: Final = 1e-6
_OUTPUT_USD_PER_TOKEN: Final = 4e-6


def _invent_cost(usage: Mapping[str, int], result: CacheResult) -> float:
    """Return USD: 1 per million input tokens, a tenth of it if cached, 4 per million output."""
    cached = result.cache_read_tokens
    full_price = result.input_tokens - cached
    return round(
        full_price * _INPUT_USD_PER_TOKEN
        + cached * _INPUT_USD_PER_TOKEN / 10
        + usage["completion_tokens"] * _OUTPUT_USD_PER_TOKEN,
        12,
    )


def _token_counts(usage: JSONObject) -> JSONObject:
    return {name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}


def _add_cached_tokens(usage: JSONObject, result: CacheResult) -> JSONObject:
    details = {"cached_tokens": result.cache_read_tokens}
    return _token_counts(usage) | {"prompt_tokens_details": details}


def _deepseek_usage(usage: JSONObject, result: CacheResult) -> JSONObject:
    return _add_cached_tokens(usage, result) | {
        "prompt_cache_hit_tokens": result.cache_read_tokens,
        "prompt_cache_miss_tokens": result.input_tokens - result.cache_read_tokens,
    }


def _moonshot_usage(usage: JSONObject, result: CacheResult) -> JSONObject:
    return _token_counts(usage) | {"cached_tokens": result.cache_read_tokens}


def _openrouter_usage(usage: JSONObject, result: CacheResult) -> JSONObject:
    cost = _invent_cost(usage, result)
    return _token_counts(usage) | {
        "prompt_tokens_details": {
            "cached_tokens": result.cache_read_tokens,
            "cache_write_tokens": result.cache_write_tokens,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {"reasoning_tokens": 0},
        "cost": cost,
        "is_byok": False,
        "cost_details": {"upstream_inference_cost": cost},
    }


def _xai_usage(usage: JSONObject, result: CacheResult) -> JSONObject:
    ticks = round(_invent_cost(usage, result) * 1e10)
    return usage | {"cost_in_usd_ticks": ticks, "num_sources_used": 0}


def _groq_usage(usage: JSONObject, result: CacheResult) -> JSONObject:
    return _add_cached_tokens(usage, result) | {
        "queue_time": 0.02,
        "prompt_time": 0.001,
        "completion_time": 0.01,
        "total_time": 0.011,
    }


def _vllm_usage(usage: JSONObject, result: CacheResult) -> JSONObject:
    return _token_counts(usage) | {"prompt_tokens_details": None}


USAGE_DIALECTS: Final[Mapping[str, Callable[[JSONObject, CacheResult], JSONObject]]] = {
    "deepseek": _deepseek_usage,
    "moonshot": _moonshot_usage,
    "openrouter": _openrouter_usage,
    "xai": _xai_usage,
    "groq": _groq_usage,
    "vllm": _vllm_usage,
    "vllm-details": _add_cached_tokens,
}


def translate_usage_for_provider(
    request: ProviderRequest, openai_usage: JSONObject, result: CacheResult
) -> JSONObject:
    """Return the usage object of the server that the request names; without one, OpenAI's."""
    dialect = _usage_dialect_name(request)
    if dialect not in USAGE_DIALECTS:
        return openai_usage
    return USAGE_DIALECTS[dialect](openai_usage, result)


def _usage_dialect_name(request: ProviderRequest) -> str:
    return request.headers.get("x-emulator-usage") or request.path_params.get("dialect") or ""


def add_unrequested_usage(
    request: ProviderRequest, events: list[JSONObject | str], usage: JSONObject
) -> None:
    """Add the usage of a stream to its last chunk under `x_groq`, if the server is Groq.

    Groq does so even if the request does not ask for usage (groq-python 1.7.0).
    """
    if _usage_dialect_name(request) == "groq":
        last = [event for event in events if isinstance(event, dict)][-1]
        last["x_groq"] = {"id": "req_emulated", "usage": usage}
