"""The provider's own reason of a miss, if the application asked for it and the response gives
one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from promptcache.diagnosis.miss_reasons import MISS_REASON_BY_PROVIDER_NAME, MISS_REASONS


def parse_provider_miss_reason(diagnostics: Mapping[str, Any] | None) -> str | None:
    """Return the provider's name of the reason in its diagnostics; None if there is none.

    OpenAI: `prompt_cache_diagnostics.reason`; Anthropic: `diagnostics.cache_miss_reason.type`.
    """
    if not diagnostics:
        return None
    inner: Any = diagnostics.get("cache_miss_reason") or diagnostics
    for name in ("reason", "type", "cache_miss_reason"):
        word = inner.get(name) if isinstance(inner, Mapping) else inner  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # a provider's own JSON
        if isinstance(word, str) and word in MISS_REASON_BY_PROVIDER_NAME:
            return word
    return None


def choose_more_specific_reason(provider_name: str, own_reason: str | None) -> str:
    """Return our reason if it is a more specific form of the provider's; else the provider's
    reason.

    `provider_name` is the provider's name of the reason, the result a key of `MISS_REASONS`.
    """
    reason = MISS_REASON_BY_PROVIDER_NAME[provider_name]
    if own_reason in reason.more_specific and own_reason in MISS_REASONS:
        return own_reason
    return reason.name
