"""Recognise the requests that call a model, and read them as promptcache reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

from promptcache.model import ParsedPrompt, Request
from promptcache.patching.request import credential_from_headers
from promptcache.prefix.hashing import InProcessHasher
from promptcache.providers.hosts import provider_for_host
from promptcache.providers.registry import import_provider_module, iter_routes_of_all_providers
from promptcache.providers.wire_format import Route, WireFormat, find_route
from promptcache_emulator.routes import ROUTES as EMULATED_ROUTES
from promptcache_testing.sent_request import SentRequest

_MODEL_IN_PATH: Final = re.compile(r"/(?:models?|deployments)/([^/:]+(?::\d+)?)")
_DEFAULT_PROVIDERS: Final = {
    "openai": "openai",
    "anthropic": "anthropic",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
}
"""The provider behind an unknown host, by the beginning of its wire format's name."""

_DIALECTS: Final = {
    "deepseek": "deepseek",
    "moonshot_ai": "moonshot",
    "openrouter": "openrouter",
    "x_ai": "xai",
    "groq": "groq",
}
"""The emulator's names for servers whose usage has other fields than OpenAI's."""


class LLMRequest(NamedTuple):
    """A request that calls a model. `prompt` is None if its body holds none."""

    wire_format: WireFormat
    request: Request
    prompt: ParsedPrompt | None


def provider_of(sent: SentRequest) -> str:
    """Return the provider that serves the host; "" if no provider is known for it."""
    return provider_for_host(sent.host, "", {})


def emulated_path(sent: SentRequest) -> str | None:
    """Return the path under which the emulator serves the request; None if it does not.

    A gateway may put segments before the provider's own path.
    """
    segments = sent.path.split("/")
    for first in range(1, len(segments)):
        path = "/" + "/".join(segments[first:])
        if any(route.match_request(sent.method, path) is not None for route in EMULATED_ROUTES):
            return path
    return None


def emulated_headers(sent: SentRequest) -> dict[str, str]:
    """Return the headers for the emulator, with the server whose usage it shall imitate."""
    dialect = _DIALECTS.get(provider_of(sent))
    return {**sent.headers, **({"x-emulator-usage": dialect} if dialect else {})}


@lru_cache(maxsize=1)
def _routes() -> tuple[Route, ...]:
    google = import_provider_module("google.wire")
    return (*iter_routes_of_all_providers(), *google.INTERACTIONS_ROUTES)


def find_llm_route(sent: SentRequest) -> Route | None:
    """Return the route of a request that calls a model."""
    route = find_route(_routes(), sent.method, sent.path)
    return None if route is None or route.is_retrieval or route.is_batch_results else route


def read_llm_request(
    sent: SentRequest, hasher: InProcessHasher, started_at: float
) -> LLMRequest | None:
    """Return the request as promptcache reads it; None if it calls no model."""
    route = find_llm_route(sent)
    body = _parse_object(sent.body)
    if route is None or body is None:
        return None
    wire_format = route.wire_format
    family = wire_format.name.partition(".")[0]
    in_path = _MODEL_IN_PATH.search(sent.path)
    model: Any = body.get("model") or (in_path[1] if in_path else None)
    credential = credential_from_headers(sent.headers) or sent.query.get("key", "")
    request = Request(
        wire_format_name=wire_format.name,
        provider=provider_of(sent) or _DEFAULT_PROVIDERS.get(family, ""),
        operation=wire_format.operation,
        model=model if isinstance(model, str) else None,
        host=sent.host,
        port=sent.port,
        stream=bool(body.get("stream")) or "stream" in sent.path.lower(),
        body=body,
        cache_scope=hasher.keyed_digest(credential),
        started_at=started_at,
    )
    return LLMRequest(wire_format, request, wire_format.parse_prompt(request))


def _parse_object(body: bytes) -> Mapping[str, Any] | None:
    try:
        parsed: Any = json.loads(body)
    except ValueError:
        return None
    return cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else None
