"""Say in the words of production where the cache broke and what to do."""

from __future__ import annotations

from typing import Final

from promptcache.diagnosis.miss_reasons import format_advice
from promptcache.model import Verdict
from promptcache_testing.ideal_cache import TOKENS_PER_BYTE
from promptcache_testing.recorded_call import RecordedCall

_HINTS: Final = {
    "key_order": "its keys have another order",
    "whitespace": "only white space differs",
    "unicode": "only the Unicode form differs",
    "form": "the same text in another wrapping",
    "reordered": "the same tools in another order",
    "truncated": "earlier messages are gone",
    "compacted": "earlier messages were summarised",
}
"""Hints that say how a block changed. Every other hint says what kind of value is there."""


def describe_place(verdict: Verdict, key: str | None = None) -> str:
    """Return the place of a break: `tools[3]` (`description`, byte 212, looks like a `version`)."""
    if verdict.section is None:
        return verdict.hint or "a parameter"
    place = verdict.section if verdict.index is None else f"{verdict.section}[{verdict.index}]"
    details = [f"`{key}`"] if key else []
    if verdict.offset is not None and verdict.hint not in ("key_order", "form", "reordered"):
        details.append(f"byte {verdict.offset}")
    if verdict.hint:
        details.append(_HINTS.get(verdict.hint, f"looks like a `{verdict.hint}`"))
    return f"`{place}`" + (f" ({', '.join(details)})" if details else "")


def describe_break(call: RecordedCall) -> str:
    """Return two lines on a call that broke the prefix: what and where, and what to do."""
    verdict = call.turn
    place = describe_place(verdict, call.changed_key)
    text = f"call {call.number} ({call.place}): {verdict.reason}: {place}"
    if verdict.missed_tokens:
        text += f"; {verdict.missed_tokens // TOKENS_PER_BYTE:,} bytes lose the cache"
    return text + f"\n  {format_advice(verdict.reason or '', verdict.section, verdict.index)}"
