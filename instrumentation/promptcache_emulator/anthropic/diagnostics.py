"""Anthropic's own explanation of a cache miss: `cache_miss_reason`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from promptcache_emulator.prompt_layout import MESSAGES, SYSTEM, TOOLS, PromptLayout

_UNAVAILABLE: Final = {"type": "unavailable"}


@dataclass(frozen=True, slots=True)
class RequestFingerprint:
    """What Anthropic stores of a request to compare the next one with it."""

    model_and_speed: str
    prompt: PromptLayout
    cached_tokens: int

    def texts_at_level(self, level: int) -> list[str]:
        return [block.text for block in self.prompt.blocks if block.level == level]


def diagnose_miss(
    previous: RequestFingerprint | None, current: RequestFingerprint
) -> Mapping[str, Any] | None:
    """Return the `cache_miss_reason`, or None if the requests do not differ.

    Changes of thinking and tool_choice give `unavailable`.
    """
    if previous is None:
        return {"type": "previous_message_not_found"}
    messages = previous.texts_at_level(MESSAGES)
    has_changed = {
        "model_changed": current.model_and_speed != previous.model_and_speed,
        "tools_changed": current.texts_at_level(TOOLS) != previous.texts_at_level(TOOLS),
        "system_changed": current.texts_at_level(SYSTEM) != previous.texts_at_level(SYSTEM),
        "messages_changed": current.texts_at_level(MESSAGES)[: len(messages)] != messages,
    }
    reason = next((name for name, changed in has_changed.items() if changed), None)
    if reason:
        return {"type": reason, "cache_missed_input_tokens": previous.cached_tokens}
    return _UNAVAILABLE if current.prompt.salts != previous.prompt.salts else None
