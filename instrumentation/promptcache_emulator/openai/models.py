"""Models, service tiers and output tokens of the OpenAI API."""

from __future__ import annotations

import re
from typing import Final

from promptcache_emulator.bounds import MAX_MODEL_LENGTH
from promptcache_emulator.errors import ProviderError
from promptcache_emulator.json_util import JSONObject, as_json_object
from promptcache_emulator.request import ProviderRequest
from promptcache_emulator.tokens import count_tokens

_MODEL_SNAPSHOTS: Final = {
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-5": "gpt-5-2025-08-07",
    "gpt-5-mini": "gpt-5-mini-2025-08-07",
    "o3": "o3-2025-04-16",
    "o4-mini": "o4-mini-2025-04-16",
}
_REPORTED_TIERS: Final = {"auto": "default", "fast": "priority"}
_REASONING_TOKENS: Final = {
    "none": 0,
    "minimal": 0,
    "low": 16,
    "medium": 32,
    "high": 64,
    "xhigh": 128,
}


def requested_model(request: ProviderRequest) -> str:
    """Return the model of the body or of the Azure deployment, whose name may contain it."""
    name = str(request.body.get("model") or request.path_params.get("deployment") or "")
    if not name:
        raise ProviderError(400, "you must provide a model parameter")
    if len(name) > MAX_MODEL_LENGTH:
        raise ProviderError(400, f"model: at most {MAX_MODEL_LENGTH} characters are allowed")
    found = re.search(r"(ft:)?(gpt-\d[\w.:-]*|o\d[\w.:-]*)", name)
    return found[0] if found and "deployment" in request.path_params else name


def snapshot_name(model: str) -> str:
    """Return the dated model name that the response reports."""
    return _MODEL_SNAPSHOTS.get(model, model)


def reported_tier(body: JSONObject) -> str:
    """Return the service tier that the response reports."""
    requested = str(body.get("service_tier") or "auto")
    return _REPORTED_TIERS.get(requested, requested)


def count_reasoning_tokens(model: str, body: JSONObject) -> int:
    """Return the reasoning tokens of the reply, by effort. Some models do not reason."""
    effort = body.get("reasoning_effort") or as_json_object(body.get("reasoning")).get("effort")
    if not re.match(r"(ft:)?(gpt-[5-9]|o\d)", model):
        return 0
    return _REASONING_TOKENS.get(str(effort or "medium"), 32)


def count_output_tokens(reply_tokens: int, reasoning_tokens: int) -> int:
    """Return the tokens of the reply, of the reasoning, and of the end of the turn."""
    return reply_tokens + reasoning_tokens + count_tokens("\n")
