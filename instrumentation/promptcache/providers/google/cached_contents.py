"""Google Gemini's named caches (`cachedContents`), on the Gemini API and Vertex AI.

Sources: google-genai 3.4.0 (types.py `CachedContent`, caches.py) and ai.google.dev (context caching, copy of 2026).
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
    """What a request does to named caches, None if nothing."""
    found = _CACHED_CONTENTS_PATH.search(path)
    return _OPERATIONS.get((method.upper(), found[1] is not None)) if found else None


def cached_content_in_path(path: str) -> str | None:
    """The name of the cache at `path`, as responses and later calls give it."""
    found = re.search(r"(?:projects/[^?]*/)?cachedContents/[^/?]+", path)
    return found[0] if found else None


def parse_cached_content(resource: JSONObject) -> CachedContentInfo:
    """What a response says of a cache."""
    tokens = as_number(as_mapping(resource.get("usageMetadata")).get("totalTokenCount"))
    named = as_str(resource.get("model"))
    return CachedContentInfo(
        name=as_str(resource.get("name")),
        model=model_in_path(named) if named else None,
        token_count=None if tokens is None else int(tokens),
        created_at=_parse_timestamp(resource.get("createTime")),
        expires_at=_parse_timestamp(resource.get("expireTime")),
        expire_time_text=as_str(resource.get("expireTime")),
    )


def _parse_timestamp(stamp: object) -> float | None:
    """Epoch seconds of an RFC 3339 time, of whose fraction Python reads at most six digits."""
    if not isinstance(stamp, str):
        return None
    try:
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", stamp)).timestamp()
    except ValueError:
        return None
