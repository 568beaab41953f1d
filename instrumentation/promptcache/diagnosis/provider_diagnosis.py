"""The provider's own word on a miss, where the application asked for it and the response gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from promptcache.diagnosis.miss_reasons import BY_PROVIDER_NAME, MISS_REASONS


def provider_reason(verdict: Mapping[str, Any] | None) -> str | None:
    """The reason in a provider's diagnosis, None where it gives none.

    OpenAI: `prompt_cache_diagnostics.reason`; Anthropic: `diagnostics.cache_miss_reason.type`.
    """
    if not verdict:
        return None
    inner: Any = verdict.get("cache_miss_reason") or verdict
    for name in ("reason", "type", "cache_miss_reason"):
        word = inner.get(name) if isinstance(inner, Mapping) else inner  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # a provider's own JSON
        if isinstance(word, str) and word in BY_PROVIDER_NAME:
            return word
    return None


def merge_reasons(theirs: str, ours: str | None) -> str:
    """The reason to give when the provider says `theirs`: ours where it says the same more exactly."""
    cause = BY_PROVIDER_NAME[theirs]
    return (
        ours
        if ours is not None and ours in cause.more_specific and ours in MISS_REASONS
        else cause.name
    )
