"""Why a cache misses: the vocabulary of reasons, what to do about each, and the providers' own words for them.

Source: reference notes on 20 providers (November 2026); OpenAI's diagnostics page (autumn 2026, nine reasons) and
anthropic 2.11.0 (`types/cache_miss_*.py`, six types). Our vocabulary is a superset of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, final


@final
class MissReason(NamedTuple):
    """One reason: its name, one sentence of advice (`{where}` stands for the place), and what providers call it.

    `more_specific` names reasons of ours that say the same more exactly.
    """

    name: str
    advice: str
    provider_names: tuple[str, ...] = ()
    more_specific: tuple[str, ...] = ()


_TABLE: Final = (
    MissReason(
        "caching_not_requested",
        "Ask for caching: mark the end of the static prefix, or set the cache key.",
    ),
    MissReason(
        "below_minimum",
        "The prefix is too short to be cached: put more stable, useful text first, or drop the marker.",
    ),
    MissReason(
        "cold_start",
        "First use of this prefix here; prewarm it if the first answer's latency matters.",
    ),
    MissReason(
        "ttl_expired",
        "The prefix lapsed between two uses: take a longer TTL if the gaps fit into it, or keep it warm.",
    ),
    MissReason(
        "model_changed",
        "Keep one model (and snapshot) for a conversation: a cache belongs to one model.",
        ("model_changed",),
    ),
    MissReason(
        "tools_changed",
        "Keep one tool list for the whole conversation; forbid tools by tool_choice instead ({where}).",
        ("tools_changed",),
        ("tools_reordered", "serialization_nondeterminism", "volatile_token"),
    ),
    MissReason("tools_reordered", "Send the tools in one fixed order, sorted by name ({where})."),
    MissReason(
        "serialization_nondeterminism",
        "Same content in other bytes: serialise it once, with one key order and white space ({where}).",
    ),
    MissReason(
        "system_changed",
        "Move what changes in the system prompt behind the static part, best to the end ({where}).",
        ("system_changed",),
        ("volatile_token", "serialization_nondeterminism"),
    ),
    MissReason(
        "volatile_token",
        "Move this value into the last message: everything behind it is paid again ({where}).",
    ),
    MissReason(
        "history_rewritten",
        "Only append to the history; if it must shrink, shrink it rarely and at once ({where}).",
        ("messages_changed", "input_changed"),
        ("volatile_token", "serialization_nondeterminism", "image_changed", "system_changed"),
    ),
    MissReason(
        "context_compacted",
        "Compaction rewrites the prefix: do it rarely, at a natural break.",
        ("context_compacted",),
        ("history_rewritten",),
    ),
    MissReason(
        "image_changed",
        "Send an image always or never, in the same detail and the same form ({where}).",
    ),
    MissReason(
        "param_changed",
        "Hold this parameter for the whole conversation: its change takes the prefix out of the cache.",
        ("text_format_changed", "reasoning_effort_changed", "verbosity_changed"),
    ),
    MissReason(
        "cache_key_changed",
        "Use one stable cache key per shared prefix, never a request id.",
        ("prompt_cache_key_changed",),
        ("per_user_key_or_prefix",),
    ),
    MissReason(
        "per_user_key_or_prefix",
        "A key per user splits a prefix that all users share: drop the key, or share it.",
    ),
    MissReason(
        "breakpoint_missing_on_static",
        "Set a breakpoint at the end of the static prefix: the last one stands on changing content ({where}).",
    ),
    MissReason(
        "lookback_exceeded",
        "Set a second breakpoint about every 15 blocks: the last write lies too far back ({where}).",
    ),
    MissReason(
        "too_many_breakpoints", "Keep at most four breakpoints and move the last one along."
    ),
    MissReason(
        "concurrent_cold_race",
        "Send one request, wait for its first token, then fan out: all wrote the same prefix.",
    ),
    MissReason(
        "routing_overflow",
        "Too many requests a minute for one key: spread them over a few stable keys.",
    ),
    MissReason(
        "low_volume",
        "The prefix is used more rarely than it lives: take a longer TTL or do not mark it.",
    ),
    MissReason(
        "write_never_read",
        "What was written was never read: remove the marker, or let the breakpoint end earlier.",
    ),
    MissReason(
        "scope_changed",
        "Another credential, workspace or region has another cache: keep a conversation on one.",
    ),
    MissReason(
        "batch_or_tier",
        "Batches and other service tiers have caches of their own: hold the tier, take 1h in batches.",
        ("service_tier_changed",),
    ),
    MissReason(
        "unknown",
        "Nothing differs and nothing lapsed that this process can see: watch the rate, do not guess.",
    ),
)

MISS_REASONS: Final[Mapping[str, MissReason]] = MappingProxyType(
    {cause.name: cause for cause in _TABLE}
)
BY_PROVIDER_NAME: Final[Mapping[str, MissReason]] = MappingProxyType(
    {word: cause for cause in _TABLE for word in cause.provider_names}
)

REASON_OF_PARAM: Final[Mapping[str, str]] = MappingProxyType(
    {
        "prompt_cache_key": "cache_key_changed",
        "session_id": "cache_key_changed",
        "service_tier": "batch_or_tier",
        "serviceTier": "batch_or_tier",
        "context_management": "context_compacted",
        "images": "image_changed",
    }
)
"""Parameters whose change has a name of its own; every other is `param_changed`."""


def format_advice(reason: str, section: str | None = None, index: int | None = None) -> str:
    """What to do about `reason`, naming the place where it is known; empty for a reason of a later version."""
    place = section or ""
    if section and index is not None:
        place = f"{section}[{index}]"
    text = MISS_REASONS[reason].advice if reason in MISS_REASONS else ""
    return text.format(where=place) if place else text.replace(" ({where})", "")
