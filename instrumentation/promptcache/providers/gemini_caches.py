"""Google Gemini's named caches (`cachedContents`), on the Gemini API and Vertex AI.

Sources: google-genai 3.4.0 (types.py `CachedContent`, caches.py) and ai.google.dev (context caching, copy of 2026).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from promptcache.model import NamedCache
from promptcache.providers.gemini import model
from promptcache.providers.wire import JSON, mapping, number, text

_NAMED: Final = re.compile(r"(?:^|/)cachedContents(/[^/?]+)?(?:\?.*)?$")
_OPERATIONS: Final[Mapping[tuple[str, bool], str]] = {
    ("POST", False): "create_cache",
    ("GET", False): "list_caches",
    ("GET", True): "get_cache",
    ("PATCH", True): "update_cache",
    ("DELETE", True): "delete_cache",
}


def cache_operation(method: str, path: str) -> str | None:
    """What a request does to named caches, None if nothing."""
    found = _NAMED.search(path)
    return _OPERATIONS.get((method.upper(), found[1] is not None)) if found else None


def cache_name(path: str) -> str | None:
    """The name of the cache at `path`, as responses and later calls give it."""
    found = re.search(r"(?:projects/[^?]*/)?cachedContents/[^/?]+", path)
    return found[0] if found else None


def named_cache(resource: JSON) -> NamedCache:
    """What a response says of a cache."""
    tokens = number(mapping(resource.get("usageMetadata")).get("totalTokenCount"))
    named = text(resource.get("model"))
    return NamedCache(
        name=text(resource.get("name")),
        model=model(named) if named else None,
        tokens=None if tokens is None else int(tokens),
        created=_moment(resource.get("createTime")),
        expires=_moment(resource.get("expireTime")),
        expire_time=text(resource.get("expireTime")),
    )


def _moment(stamp: object) -> float | None:
    """Epoch seconds of an RFC 3339 time, of whose fraction Python reads at most six digits."""
    if not isinstance(stamp, str):
        return None
    try:
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", stamp)).timestamp()
    except ValueError:
        return None
