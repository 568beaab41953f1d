"""The number of tokens from which on a prompt is cached: as documented, and as observed in this
process."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, final

from promptcache.common.generational_cache import GenerationalCache
from promptcache.model import Request, Usage
from promptcache.providers.cache_rules import CacheRule

_UNOBSERVED_MINIMUM_FACTOR: Final = 1.5
"""Until a cached prompt was observed, one counts as cached from this multiple of the documented
minimum on."""


@final
class ObservedMinimums:
    """The smallest prompts that were cached, by provider and model. Not thread-safe by itself."""

    def __init__(self) -> None:
        self._smallest_cached: GenerationalCache[Hashable, int] = GenerationalCache(512)

    def observe_and_lower_minimum(
        self, request: Request, rule: CacheRule, usage: Usage
    ) -> CacheRule:
        """Return the rule, its minimum lowered to the smallest prompt that was cached so far."""
        key = (request.provider, request.model)
        cached = (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
        smallest = self._smallest_cached.get(key)
        if cached and (smallest is None or cached < smallest):
            self._smallest_cached[key] = smallest = cached
        if smallest is None or smallest >= rule.minimum_tokens:
            return rule
        return rule._replace(minimum_tokens=smallest)

    def assumed_minimum_tokens(self, request: Request, rule: CacheRule) -> int:
        """Return from how many tokens on a prompt counts as cached if its usage does not show
        it."""
        if rule.bills_writes:
            return rule.minimum_tokens
        smallest = self._smallest_cached.get((request.provider, request.model))
        unobserved = round(_UNOBSERVED_MINIMUM_FACTOR * rule.minimum_tokens)
        if smallest is None:
            return unobserved
        return max(rule.minimum_tokens, min(smallest, unobserved))
