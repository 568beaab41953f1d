"""OpenAI's own explanation of a cache miss: `prompt_cache_diagnostics`.

Source: the diagnostics page of autumn 2026. OpenAI explains neither expiry nor breakpoints; then it
says `unavailable`.
"""

from __future__ import annotations

from promptcache_emulator.json_util import JSONObject
from promptcache_emulator.openai.stored_response import StoredResponse
from promptcache_emulator.prompt_layout import TOOLS, PromptLayout


def diagnose_miss(
    previous: StoredResponse | None, current: StoredResponse, cache_read_tokens: int
) -> JSONObject:
    """Return the first reason in OpenAI's order, and the tokens that could have been reused."""
    if previous is None:
        return {"type": "comparison_response_not_found"}
    equal_blocks = _count_equal_blocks(previous.prompt, current.prompt)
    shared = current.prompt.end_offsets[equal_blocks - 1] if equal_blocks else 0
    changes = _names_of_changed_salts(previous, current)
    if not changes and equal_blocks < len(previous.prompt.blocks):
        changes = ["input_changed"]
    if not changes:
        return {"type": "cache_hit" if cache_read_tokens else "unavailable"}
    reusable = shared if changes[0] == "input_changed" else 0
    return {
        "type": "cache_miss",
        "reason": changes[0],
        "cache_missed_tokens": previous.prompt.total_tokens - reusable,
        "comparison_reusable_tokens": shared,
    }


def _names_of_changed_salts(previous: StoredResponse, current: StoredResponse) -> list[str]:
    """Return the reasons for changed parameters, tools included, in OpenAI's order."""
    changes = [name for name, value in current.salts.items() if value != previous.salts.get(name)]
    has_new_tools = _tool_texts(previous.prompt) != _tool_texts(current.prompt)
    if has_new_tools and not {"tools_changed", "text_format_changed"} & set(changes):
        changes.append("tools_changed")
    return sorted(changes, key=list(current.salts).index)


def _tool_texts(prompt: PromptLayout) -> list[str]:
    return [block.text for block in prompt.blocks if block.level == TOOLS]


def _count_equal_blocks(previous: PromptLayout, current: PromptLayout) -> int:
    """Return the number of equal blocks at the beginning of both prompts."""
    count = 0
    for old, new in zip(previous.blocks, current.blocks, strict=False):
        if old.text != new.text:
            break
        count += 1
    return count
