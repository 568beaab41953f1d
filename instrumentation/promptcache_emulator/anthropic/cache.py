"""Anthropic's cache: breakpoints and lookback."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from promptcache_emulator.anthropic.cache_control_check import TTL_ORDER
from promptcache_emulator.cache_plan import CachePlan, CacheWrite
from promptcache_emulator.errors import ProviderError
from promptcache_emulator.json_util import as_json_object
from promptcache_emulator.profiles import CacheProfile
from promptcache_emulator.prompt_layout import PromptLayout


def plan_cache(
    prompt: PromptLayout, profile: CacheProfile, request_cache_control: Any = None
) -> CachePlan:
    """Return the plan of a request: it reads up to 20 blocks back and writes at breakpoints.

    The block of a breakpoint is the first of the 20. `request_cache_control` is the top-level
    `cache_control` of the request. Raise ProviderError where Anthropic answers 400: more than four
    breakpoints, a longer TTL after a shorter one, two TTLs on the last block.
    """
    breakpoints = {
        index: block.breakpoint_ttl or profile.ttl
        for index, block in enumerate(prompt.blocks)
        if block.breakpoint_ttl is not None
    }
    if request_cache_control:
        ttl = as_json_object(request_cache_control).get("ttl") or profile.ttl
        _add_automatic_breakpoint(prompt, breakpoints, ttl)
    _check_breakpoints(breakpoints, profile)
    ends, minimum = prompt.end_offsets, profile.min_tokens
    reads = {
        ends[position]
        for index in breakpoints
        for position in range(max(0, index - profile.lookback_blocks + 1), index + 1)
    }
    writes = [
        CacheWrite(ends[index], ttl, profile.ttl_seconds(ttl))
        for index, ttl in sorted(breakpoints.items())
        if ends[index] >= minimum
    ]
    return CachePlan(prompt, tuple(end for end in sorted(reads) if end >= minimum), tuple(writes))


def _check_breakpoints(breakpoints: dict[int, str], profile: CacheProfile) -> None:
    limit = profile.max_breakpoints
    if len(breakpoints) > limit:
        raise ProviderError(
            400,
            f"A maximum of {limit} blocks with cache_control may be provided. "
            f"Found {len(breakpoints)}.",
        )
    lifetimes = [profile.ttl_seconds(ttl) for _, ttl in sorted(breakpoints.items())]
    if any(earlier < later for earlier, later in pairwise(lifetimes)):
        raise ProviderError(400, TTL_ORDER)


def _add_automatic_breakpoint(prompt: PromptLayout, breakpoints: dict[int, str], ttl: str) -> None:
    """Add the breakpoint of a top-level `cache_control`, on the last block that may have one."""
    eligible = [
        index for index, block in enumerate(prompt.blocks) if '"type":"thinking"' not in block.text
    ]
    last = eligible[-1]
    if breakpoints.get(last, ttl) != ttl:
        raise ProviderError(
            400, "the last block has a cache_control of another ttl than the request's"
        )
    breakpoints[last] = ttl
