"""Servers that speak Chat Completions but count in words of their own: chosen by path prefix or by header."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from promptcache.emulator.cache import Outcome
from promptcache.emulator.plain import JSON
from promptcache.emulator.wire import Incoming

_P_IN, _P_OUT = 1e-6, 4e-6


def _cost(usage: Mapping[str, int], outcome: Outcome) -> float:
    """A made-up price: 1 USD per million tokens in, a tenth of it for cached ones, 4 USD out."""
    plain, cached = outcome.input - outcome.read, outcome.read
    return round(plain * _P_IN + cached * _P_IN / 10 + usage["completion_tokens"] * _P_OUT, 12)


def _bare(usage: JSON) -> JSON:
    return {name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}


def _cached(usage: JSON, outcome: Outcome) -> JSON:
    return _bare(usage) | {"prompt_tokens_details": {"cached_tokens": outcome.read}}


def _deepseek(usage: JSON, outcome: Outcome) -> JSON:
    hit = {
        "prompt_cache_hit_tokens": outcome.read,
        "prompt_cache_miss_tokens": outcome.input - outcome.read,
    }
    return _cached(usage, outcome) | hit


def _openrouter(usage: JSON, outcome: Outcome) -> JSON:
    details = {
        "cached_tokens": outcome.read,
        "cache_write_tokens": outcome.write,
        "audio_tokens": 0,
    }
    cost = _cost(usage, outcome)
    return _bare(usage) | {
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": 0},
        "cost": cost,
        "is_byok": False,
        "cost_details": {"upstream_inference_cost": cost},
    }


def _xai(usage: JSON, outcome: Outcome) -> JSON:
    return usage | {"cost_in_usd_ticks": round(_cost(usage, outcome) * 1e10), "num_sources_used": 0}


def _groq(usage: JSON, outcome: Outcome) -> JSON:
    times = {"queue_time": 0.02, "prompt_time": 0.001, "completion_time": 0.01, "total_time": 0.011}
    return _cached(usage, outcome) | times


DIALECTS: Final[Mapping[str, Callable[[JSON, Outcome], JSON]]] = {
    "deepseek": _deepseek,
    "moonshot": lambda usage, outcome: _bare(usage) | {"cached_tokens": outcome.read},
    "openrouter": _openrouter,
    "xai": _xai,
    "groq": _groq,
    "vllm": lambda usage, _: _bare(usage) | {"prompt_tokens_details": None},
    "vllm-details": _cached,
}
"""Usage as each server words it (providers' pages of autumn 2026)."""


def usage(incoming: Incoming, plain: JSON, outcome: Outcome) -> JSON:
    """`plain` (OpenAI's usage) in the words of the server that the request names, if it names one."""
    dialect = _dialect(incoming)
    return DIALECTS[dialect](plain, outcome) if dialect in DIALECTS else plain


def _dialect(incoming: Incoming) -> str:
    return incoming.headers.get("x-emulator-usage") or incoming.params.get("dialect") or ""


def unasked(incoming: Incoming, events: list[JSON | str], usage: JSON) -> None:
    """Groq puts the usage of a stream into its last chunk under `x_groq`, asked or not (groq-python 1.7.0)."""
    if _dialect(incoming) == "groq":
        last = [event for event in events if isinstance(event, dict)][-1]
        last["x_groq"] = {"id": "req_emulated", "usage": usage}
