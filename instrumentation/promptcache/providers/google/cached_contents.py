"""Parse requests and responses about Gemini's cached contents, on the Gemini API and Vertex AI.

A cached content is a cache entry that the application creates, names and pays for by the hour.

Sources: google-genai 3.4.0 (types.py `CachedContent`, caches.py) and ai.google.dev (context
caching, copy of 2026).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from promptcache.common.coerce import JSONObject, as_mapping, as_number, as_str
from promptcache.model import CachedContentInfo
from promptcache.providers.google.wire import model_in_path

_CACHED_CONTENTS_PATH: Final = re.compile(r"(?:^|/)cachedContents(/[^/?]+)?(?:\?.*)?$")
_OPERATIONS: Final[Mapping[tuple[str, bool], str]] = {
    ("POST", False): "create_cache",
    ("GET", False): "list_caches",
    ("GET", True): "get_cache",
    ("PATCH", True): "update_cache",
    ("DELETE", True): "delete_cache",
}


def cached_content_operation(method: str, path: str) -> str | None:
    """Return the name of the operation that a request does on cached contents, None for others."""
    found = _CACHED_CONTENTS_PATH.search(path)
    return _OPERATIONS.get((method.upper(), found[1] is not None)) if found else None


def cached_content_in_path(path: str) -> str | None:
    """Return the name of the cached content in `path`, as responses and later calls spell it."""
    found = re.search(r"(?:projects/[^?]*/)?cachedContents/[^/?]+", path)
    return found[0] if found else None


def parse_cached_content(resource: JSONObject) -> CachedContentInfo:
    """Return the facts that a `CachedContent` resource reports."""
    tokens = as_number(as_mapping(resource.get("usageMetadata")).get("totalTokenCount"))
    model = as_str(resource.get("model"))
    return CachedContentInfo(
        name=as_str(resource.get("name")),
        model=model_in_path(model) if model else None,
        token_count=None if tokens is None else int(tokens),
        created_at=_parse_timestamp(resource.get("createTime")),
        expires_at=_parse_timestamp(resource.get("expireTime")),
        expire_time_text=as_str(resource.get("expireTime")),
    )


def _parse_timestamp(timestamp: object) -> float | None:
    """Return the epoch seconds of an RFC 3339 time. Python reads at most six decimals."""
    if not isinstance(timestamp, str):
        return None
    try:
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", timestamp)).timestamp()
    except ValueError:
        return None
