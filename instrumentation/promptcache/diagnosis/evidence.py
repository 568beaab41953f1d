"""The facts from which a miss is explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from promptcache.diagnosis.cache_params import changed_invalidating_params
from promptcache.diagnosis.caching import CachingMode, caching_mode_of
from promptcache.diagnosis.compare import PromptDifference
from promptcache.diagnosis.memory import PastCall, PrefixNode
from promptcache.model import ParsedPrompt, Usage
from promptcache.providers.cache_rules import CacheRule


@final
@dataclass(slots=True)
class RelatedCall:
    """An earlier or concurrent call, compared with the present one.

    `shared_tokens` is the size of the common prefix, estimated from bytes. `nodes` is the path of
    the past call if the difference is a break. `added_share` is the part of the present prompt
    behind the common prefix (0..1) that is not in the earlier call.
    `cache_key_count` counts the different cache keys at the end of the common prefix.
    `reusable_and_uncertain_tokens` remembers what `missed_tokens.py` computed for a break.
    """

    past_call: PastCall
    difference: PromptDifference
    shared_tokens: int
    nodes: Sequence[PrefixNode] = ()
    added_share: float = 0.0
    cache_key_count: int = 1
    reusable_and_uncertain_tokens: tuple[int, int] | None = None


@final
@dataclass(slots=True)
class Evidence:
    """The present call and the facts about it that the explanations need.

    `minimum_tokens` is the size from which on a prompt is assumed to be cached.
    `concurrent_calls` have the same beginning and had no answer yet when this call was sent.
    `call_in_other_cache` is a call of the same conversation under another credential or host.
    `requests_this_minute` is counted only where the rule names a limit.
    """

    call: PastCall
    prompt: ParsedPrompt
    rule: CacheRule
    usage: Usage
    minimum_tokens: int
    related_calls: Sequence[RelatedCall] = ()
    concurrent_calls: Sequence[RelatedCall] = ()
    call_in_other_cache: PastCall | None = None
    requests_this_minute: int = 0
    new_message_blocks: int = 0

    @property
    def cache_read_tokens(self) -> int:
        """The reported cache read, 0 where the provider reported none."""
        return self.usage.cache_read_tokens or 0

    @property
    def caching_mode(self) -> CachingMode:
        """How the request asks for caching, as far as the cache listens."""
        has_breakpoints = bool(self.call.breakpoint_depths)
        return caching_mode_of(self.prompt, self.rule, has_breakpoints=has_breakpoints)

    def has_changed_params(self, related: RelatedCall) -> bool:
        """Return whether a parameter on which cache reuse depends differs from the related call."""
        return bool(
            changed_invalidating_params(self.call.cache_params, related.past_call.cache_params)
        )


@final
class CacheMiss(NamedTuple):
    """The tokens of one related call that the present call could have read but did not."""

    related_call: RelatedCall
    missed_tokens: int
