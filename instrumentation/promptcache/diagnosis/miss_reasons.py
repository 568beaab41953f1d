"""The reasons of a cache miss, with advice and the providers' own names for each.

Sources: notes on 20 providers (November 2026), OpenAI's diagnostics page (autumn 2026, nine
reasons) and anthropic 2.11.0 (`types/cache_miss_*.py`, six types). Our reasons include all of
theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, final


@final
class MissReason(NamedTuple):
    """One reason of a miss.

    `advice` is one sentence in which `{where}` is replaced by the location. `provider_names` are
    the names that providers use. `more_specific` lists our reasons that say the same more exactly.
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
        "The prefix is too short to be cached: put more stable, useful text first, or drop the "
        "marker.",
    ),
    MissReason(
        "cold_start",
        "This process used the prefix for the first time: prewarm it if the latency of the first "
        "answer matters.",
    ),
    MissReason(
        "ttl_expired",
        "The prefix expired between two uses: choose a longer TTL if it covers the gaps, or keep "
        "the prefix warm.",
    ),
    MissReason(
        "model_changed",
        "Keep one model (and snapshot) for a conversation: a cache belongs to one model.",
        ("model_changed",),
    ),
    MissReason(
        "tools_changed",
        "Keep one tool list for the whole conversation; forbid tools by tool_choice instead "
        "({where}).",
        ("tools_changed",),
        ("tools_reordered", "serialization_nondeterminism", "volatile_token"),
    ),
    MissReason("tools_reordered", "Send the tools in one fixed order, sorted by name ({where})."),
    MissReason(
        "serialization_nondeterminism",
        "The content is the same, but its bytes differ: serialise it with one key order and "
        "white space ({where}).",
    ),
    MissReason(
        "system_changed",
        "Move the changing part of the system prompt behind the static part, best to the end "
        "({where}).",
        ("system_changed",),
        ("volatile_token", "serialization_nondeterminism"),
    ),
    MissReason(
        "volatile_token",
        "Move this value into the last message: all tokens behind it are paid again ({where}).",
    ),
    MissReason(
        "history_rewritten",
        "Only append to the history; if it must shrink, shrink it rarely and in one step "
        "({where}).",
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
        "Keep this parameter for the whole conversation: its change invalidates the cached prefix.",
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
        "Set a breakpoint at the end of the static prefix: the last one is on changing content "
        "({where}).",
    ),
    MissReason(
        "lookback_exceeded",
        "Set a second breakpoint about every 15 blocks: the last cache write is too many blocks "
        "back ({where}).",
    ),
    MissReason(
        "too_many_breakpoints",
        "Set at most four breakpoints, and move the last one as the conversation grows.",
    ),
    MissReason(
        "concurrent_cold_race",
        "Send one request, wait for its first token, then send the others: all of them wrote the "
        "same prefix.",
    ),
    MissReason(
        "routing_overflow",
        "One key gets too many requests a minute: spread them over a few stable keys.",
    ),
    MissReason(
        "low_volume",
        "The prefix is used less often than its TTL: choose a longer TTL, or remove the marker.",
    ),
    MissReason(
        "write_never_read",
        "The cache write was never read: remove the marker, or set the breakpoint earlier.",
    ),
    MissReason(
        "scope_changed",
        "Another credential, workspace or region has another cache: keep a conversation on one.",
    ),
    MissReason(
        "batch_or_tier",
        "Batches and other service tiers have their own caches: keep one tier, and choose the "
        "TTL 1h in batches.",
        ("service_tier_changed",),
    ),
    MissReason(
        "unknown",
        "This process sees no difference and no expiry: watch the hit rate before you change "
        "anything.",
    ),
)

MISS_REASONS: Final[Mapping[str, MissReason]] = MappingProxyType(
    {reason.name: reason for reason in _TABLE}
)
MISS_REASON_BY_PROVIDER_NAME: Final[Mapping[str, MissReason]] = MappingProxyType(
    {name: reason for reason in _TABLE for name in reason.provider_names}
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
"""The reasons of changed parameters by name; the change of any other is `param_changed`."""


def format_advice(reason: str, section: str | None = None, index: int | None = None) -> str:
    """Return the advice for `reason`, with the location where it is known.

    The result is empty for an unknown reason, which a later version may have written.
    """
    where = section or ""
    if section and index is not None:
        where = f"{section}[{index}]"
    text = MISS_REASONS[reason].advice if reason in MISS_REASONS else ""
    return text.format(where=where) if where else text.replace(" ({where})", "")
