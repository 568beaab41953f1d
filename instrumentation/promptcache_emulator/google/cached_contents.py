"""Named caches of the Gemini API: `cachedContents`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from promptcache_emulator.bounds import bounded_float
from promptcache_emulator.context import EmulatorContext
from promptcache_emulator.errors import ProviderError
from promptcache_emulator.google.errors import error_body
from promptcache_emulator.google.paths import VERSION_PATH
from promptcache_emulator.google.prompt import prompt_blocks, select_gemini_profile
from promptcache_emulator.identifiers import new_id
from promptcache_emulator.json_util import JSONObject
from promptcache_emulator.prompt_layout import PromptBlock, PromptLayout
from promptcache_emulator.request import ProviderRequest
from promptcache_emulator.response import ProviderResponse
from promptcache_emulator.routing import Route

_DEFAULT_TTL_SECONDS: Final = 3600
_MAX_TTL_SECONDS: Final = 1e9


@dataclass(slots=True)
class CachedContent:
    """A named cache. `expires_at` is in epoch seconds; a read does not renew it."""

    resource: JSONObject
    cache_scope: str
    blocks: tuple[PromptBlock, ...]
    expires_at: float


def find_cached_content(
    context: EmulatorContext, request: ProviderRequest, name: str
) -> CachedContent:
    """Return the named cache.

    Raise ProviderError if it does not exist, has expired or belongs to another credential.
    """
    found: CachedContent | None = context.resources.get(_cached_content_key(name))
    if (
        found is None
        or found.cache_scope != request.cache_scope
        or found.expires_at <= context.clock()
    ):
        raise ProviderError(403, "CachedContent not found (or permission denied)")
    return found


def _cached_content_key(name: str) -> str:
    return f"cachedContents/{name.rpartition('/')[2]}"


def create_cached_content(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `POST cachedContents`. Refuse a prompt below the model's minimum, as Google does."""
    body = request.body
    model = str(body.get("model", "")).rpartition("/")[2]
    blocks = tuple(prompt_blocks(body))
    total = PromptLayout(blocks).total_tokens
    minimum = select_gemini_profile(context, request, model).min_tokens
    if total < minimum:
        raise ProviderError(
            400,
            f"Cached content is too small. total_token_count={total}, "
            f"min_total_token_count={minimum}",
        )
    path_without_version = request.path.partition("/")[2].partition("/")[2]
    name = f"{path_without_version}/{new_id('', 20)}"
    now = _format_timestamp(context.clock())
    display_name = {"displayName": body["displayName"]} if body.get("displayName") else {}
    resource: JSONObject = {
        "name": name,
        "model": body["model"],
        "createTime": now,
        "updateTime": now,
        **display_name,
        "usageMetadata": {"totalTokenCount": total},
    }
    expires_at = _requested_expiry(context, request) or context.clock() + _DEFAULT_TTL_SECONDS
    cached_content = CachedContent(resource, request.cache_scope, blocks, expires_at)
    context.store_resource(_cached_content_key(name), cached_content)
    return ProviderResponse(_add_expiry(cached_content))


def _requested_expiry(context: EmulatorContext, request: ProviderRequest) -> float | None:
    """Return when the cache expires, or None if the request does not say. Raise ValueError."""
    if ttl := request.body.get("ttl"):
        seconds = bounded_float(str(ttl).removesuffix("s"), "ttl", 0.0, _MAX_TTL_SECONDS)
        return context.clock() + seconds
    if expire_time := request.body.get("expireTime"):
        return datetime.fromisoformat(str(expire_time)).timestamp()
    return None


def _add_expiry(cached_content: CachedContent) -> JSONObject:
    expire_time = _format_timestamp(cached_content.expires_at)
    return cached_content.resource | {"expireTime": expire_time}


def _format_timestamp(epoch_seconds: float) -> str:
    return datetime.fromtimestamp(epoch_seconds, UTC).isoformat().replace("+00:00", "Z")


def get_or_update_cached_content(
    context: EmulatorContext, request: ProviderRequest
) -> ProviderResponse:
    """Answer `GET cachedContents/{name}`, and `PATCH`, which sets another lifetime."""
    cached_content = find_cached_content(context, request, request.path_params["name"])
    if request.method == "PATCH":
        cached_content.resource["updateTime"] = _format_timestamp(context.clock())
        cached_content.expires_at = _requested_expiry(context, request) or cached_content.expires_at
    return ProviderResponse(_add_expiry(cached_content))


def list_cached_contents(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `GET cachedContents`: the caches of this credential that have not expired."""
    caches = [
        resource
        for resource in context.resources.values()
        if isinstance(resource, CachedContent)
        and resource.cache_scope == request.cache_scope
        and resource.expires_at > context.clock()
    ]
    return ProviderResponse({"cachedContents": [_add_expiry(cache) for cache in caches]})


def delete_cached_content(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `DELETE cachedContents/{name}`."""
    name = request.path_params["name"]
    find_cached_content(context, request, name)
    del context.resources[_cached_content_key(name)]
    return ProviderResponse({})


_CACHES_PATH: Final = VERSION_PATH + r"/cachedContents"
_CACHE_PATH: Final = _CACHES_PATH + r"/(?P<name>[^/]+)"
ROUTES: Final[tuple[Route, ...]] = (
    Route("POST", _CACHES_PATH, create_cached_content, error_body),
    Route("GET", _CACHES_PATH, list_cached_contents, error_body),
    Route("GET", _CACHE_PATH, get_or_update_cached_content, error_body),
    Route("PATCH", _CACHE_PATH, get_or_update_cached_content, error_body),
    Route("DELETE", _CACHE_PATH, delete_cached_content, error_body),
)
