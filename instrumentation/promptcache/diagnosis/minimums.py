"""How short a prompt may be and still be cached: what is documented, and what was seen here."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, final

from promptcache.common.generational_cache import GenerationalCache
from promptcache.model import Request, Usage
from promptcache.providers.cache_rules import CacheRule

_UNOBSERVED_MINIMUM_FACTOR: Final = 1.5
"""From so many times the documented minimum on, a prompt is taken to have been cached before any was seen to be."""


@final
class ObservedMinimums:
    """The smallest prompts that were seen to be cached, by provider and model. Not thread-safe by itself."""

    def __init__(self) -> None:
        self._smallest_cached: GenerationalCache[Hashable, int] = GenerationalCache(512)

    def with_observed_minimum(self, request: Request, known: CacheRule, usage: Usage) -> CacheRule:
        """The rule, with the minimum lowered to what this call and those before it showed to be cached."""
        key = (request.provider, request.model)
        cached, least = (
            (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0),
            self._smallest_cached.get(key),
        )
        if cached and (least is None or cached < least):
            self._smallest_cached[key] = least = cached
        return (
            known._replace(minimum_tokens=least)
            if least is not None and least < known.minimum_tokens
            else known
        )

    def effective_minimum(self, request: Request, known: CacheRule) -> int:
        """From how many tokens on a prompt is believed to be cached where no usage says that it was."""
        if known.bills_writes:
            return known.minimum_tokens
        least, doubted = (
            self._smallest_cached.get((request.provider, request.model)),
            round(_UNOBSERVED_MINIMUM_FACTOR * known.minimum_tokens),
        )
        return doubted if least is None else max(known.minimum_tokens, min(least, doubted))
