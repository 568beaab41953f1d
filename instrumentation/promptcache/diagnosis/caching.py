"""How a call is cached: what a cache does belongs to provider and model, not to the wire format."""

from __future__ import annotations

from typing import Literal, TypeAlias

from promptcache.diagnosis.memory import PastCall
from promptcache.model import ParsedPrompt
from promptcache.providers.cache_rules import CacheRule

CachingMode: TypeAlias = Literal["automatic", "implicit", "explicit", "none"]


def caching_mode_of(prompt: ParsedPrompt, rule: CacheRule, *, has_breakpoints: bool) -> CachingMode:
    """Return how the request asks for caching, as far as the cache listens.

    An automatic cache behind Anthropic's wire needs no request. Claude behind OpenAI's wire does.
    """
    if not rule.bills_writes:
        return "automatic"
    if not rule.caches_on_request or prompt.caching_mode != "automatic":
        return prompt.caching_mode
    return "explicit" if has_breakpoints else "none"


def is_implicit(rule: CacheRule, mode: CachingMode) -> bool:
    """Return whether the provider bills cache writes and sets a breakpoint by itself."""
    return rule.bills_writes and mode in ("automatic", "implicit")


def find_readable_depth(
    call: PastCall, other: PastCall, shared_blocks: int, rule: CacheRule
) -> int:
    """Return how many of the common leading blocks `call` could read after `other`; 0 for none.

    Where writes are billed, an entry exists only at a breakpoint of `other`, and `call` looks for
    it only near its own breakpoints.
    """
    if not rule.bills_writes:
        return shared_blocks
    places, reach = _places_of_lookup(call, rule), rule.lookback or 1
    return max(
        (
            depth
            for depth in places_of_entries(other, rule)
            if depth <= shared_blocks and any(0 <= place - depth < reach for place in places)
        ),
        default=0,
    )


def places_of_entries(call: PastCall, rule: CacheRule) -> list[int]:
    """Return the depths at which a call left entries."""
    places = [*call.breakpoint_depths[-rule.max_breakpoints :]]
    if call.has_implicit_breakpoint:
        places.append(call.depth)
        if rule.marks_system:
            places.append(call.static_depth)
    return places


def _places_of_lookup(call: PastCall, rule: CacheRule) -> list[int]:
    """Return the depths at which a call looks for entries, without the lookback from them."""
    places = [*call.breakpoint_depths]
    if call.has_implicit_breakpoint:
        places.append(call.depth)
        if rule.marks_system:
            places.append(call.static_depth)
        if rule.lookback is None:
            places.extend(range(max(1, call.depth - rule.implicit_lookback), call.depth))
    return places
