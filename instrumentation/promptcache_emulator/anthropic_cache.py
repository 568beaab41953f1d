"""Anthropic's cache: blocks, breakpoints and lookback, what invalidates which level, usage, and its own diagnosis."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from promptcache_emulator.cache import (
    MESSAGES,
    SYSTEM,
    TOOLS,
    CachePlan,
    CacheResult,
    CacheWrite,
    PromptBlock,
    PromptLayout,
)
from promptcache_emulator.json_util import JSONObject, as_object, as_objects, to_compact_json
from promptcache_emulator.profiles import CacheProfile
from promptcache_emulator.wire import ProviderError

_CACHE_CONTROL: Final = "cache_control"
_DROPS_EARLIER_THINKING: Final = re.compile(
    r"claude-(3|opus-4(-[01]|-2\d{7})?$|sonnet-4(-[05]|-2\d{7})?|.*haiku)"
)
"""Models that drop earlier thinking once the user speaks again; Opus from 4.5 and Sonnet from 4.6 on keep it."""


def bare_model_name(model: str) -> str:
    """The bare model name of a Bedrock id, an ARN, or a Vertex id with its date."""
    found = re.search(r"claude-[a-z0-9-]+?(?=(-v\d+(:\d+)?)?$|@|$)", model)
    return found[0] if found else model


def parse_prompt(body: JSONObject, model: str, beta_header: str = "") -> PromptLayout:
    """The request as the cache reads it: tools, then system, then messages (docs, "prompt caching", autumn 2026)."""
    tools = [
        _prompt_block(tool, _tool_level(tool), "", as_json=True)
        for tool in as_objects(body.get("tools"))
    ]
    pieces = sorted(tools, key=lambda piece: piece.level)
    pieces += [_prompt_block(block, SYSTEM, "") for block in content_blocks(body.get("system"))]
    for message in _without_dropped_thinking(as_objects(body.get("messages")), model):
        for index, block in enumerate(content_blocks(message.get("content"))):
            pieces.append(
                _prompt_block(block, MESSAGES, "" if index else f"{message.get('role')}\n")
            )
    return PromptLayout(tuple(pieces), _level_salts(body, model, beta_header))


def _tool_level(tool: JSONObject) -> int:
    """Web search is not a definition among others: switching it leaves the tools cached, and nothing after them."""
    return SYSTEM if str(tool.get("type", "")).startswith("web_search") else TOOLS


def content_blocks(content: Any) -> list[JSONObject]:
    """The blocks of a system prompt or a message; a string is short for one text block."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else as_objects(content)


def _prompt_block(
    block: JSONObject, level: int, header: str, *, as_json: bool = False
) -> PromptBlock:
    bare = {key: value for key, value in block.items() if key != _CACHE_CONTROL}
    plain = not as_json and block.get("type") == "text" and not block.get("citations")
    text = header + (str(block.get("text", "")) if plain else to_compact_json(bare))
    mark = (
        as_object(block.get(_CACHE_CONTROL)).get("ttl", "") if block.get(_CACHE_CONTROL) else None
    )
    heavy = (
        {"image": 1500, "document": 2000}
        if as_object(block.get("source")).get("type") != "text"
        else {}
    )
    return PromptBlock(text or " ", level, mark, fixed_tokens=heavy.get(str(block.get("type"))))


def _without_dropped_thinking(messages: list[JSONObject], model: str) -> list[JSONObject]:
    """Messages as the model gets them: older models lose the thinking before the user's last own words."""
    if not _DROPS_EARLIER_THINKING.match(bare_model_name(model)):
        return messages
    spoken = [
        index
        for index, message in enumerate(messages)
        if message.get("role") == "user" and not _has_tool_result(message)
    ]
    last = spoken[-1] if spoken else 0
    return [
        _without_thinking(message) if index < last else message
        for index, message in enumerate(messages)
    ]


def _without_thinking(message: JSONObject) -> JSONObject:
    kept = [
        block
        for block in content_blocks(message.get("content"))
        if "thinking" not in str(block.get("type"))
    ]
    return message | {"content": kept}


def _has_tool_result(message: JSONObject) -> bool:
    return any(block.get("type") == "tool_result" for block in as_objects(message.get("content")))


def _level_salts(body: JSONObject, model: str, beta_header: str) -> tuple[str, str, str]:
    """What invalidates from tools, from system, from messages on (the table of the docs, autumn 2026)."""
    config = as_object(body.get("output_config"))
    text = to_compact_json([body.get("system"), body.get("messages")])
    tools = [model, beta_header]
    system = [
        body.get("speed"),
        '"citations":{"enabled":true' in text,
        body.get("output_format"),
        config.get("format"),
    ]
    messages = [
        body.get("tool_choice"),
        body.get("thinking"),
        config.get("effort"),
        body.get("context_management"),
        '"type":"image"' in text,
    ]
    return to_compact_json(tools), to_compact_json(system), to_compact_json(messages)


def plan_cache(
    prompt: PromptLayout, profile: CacheProfile, request_cache_control: Any = None
) -> CachePlan:
    """Reads up to 20 positions back from each breakpoint (itself the first), writes at breakpoints alone.

    `request_cache_control` is the request's own `cache_control`. Raises Refused where Anthropic answers 400: more than four
    breakpoints, a longer TTL after a shorter one, a last block that is marked otherwise.
    """
    marks = {
        index: piece.breakpoint_ttl or profile.ttl
        for index, piece in enumerate(prompt.blocks)
        if piece.breakpoint_ttl is not None
    }
    if request_cache_control:
        _add_automatic_breakpoint(
            prompt, marks, as_object(request_cache_control).get("ttl") or profile.ttl
        )
    if len(marks) > profile.marks:
        raise ProviderError(
            400,
            f"A maximum of {profile.marks} blocks with cache_control may be provided. Found {len(marks)}.",
        )
    ordered = sorted(marks.items())
    if any(profile.ttl_seconds(a) < profile.ttl_seconds(b) for (_, a), (_, b) in pairwise(ordered)):
        raise ProviderError(
            400, "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block"
        )
    ends = prompt.end_offsets
    seen = {
        ends[back]
        for index in marks
        for back in range(max(0, index - profile.lookback + 1), index + 1)
    }
    writes = [
        CacheWrite(ends[index], ttl, profile.ttl_seconds(ttl))
        for index, ttl in ordered
        if ends[index] >= profile.minimum
    ]
    return CachePlan(
        prompt, tuple(end for end in sorted(seen) if end >= profile.minimum), tuple(writes)
    )


def _add_automatic_breakpoint(prompt: PromptLayout, breakpoints: dict[int, str], ttl: str) -> None:
    """Top-level `cache_control`: a breakpoint on the last block that may carry one."""
    eligible = [
        index for index, piece in enumerate(prompt.blocks) if '"type":"thinking"' not in piece.text
    ]
    last = eligible[-1]
    if breakpoints.get(last, ttl) != ttl:
        raise ProviderError(
            400, "the last block has a cache_control of another ttl than the request's"
        )
    breakpoints[last] = ttl


def usage_body(
    result: CacheResult, output_tokens: int, thinking_tokens: int, **more: Any
) -> JSONObject:
    """`usage_body` of a message: input beside what was read and written (anthropic 2.11.0, types/usage.py)."""
    return {
        "input_tokens": result.uncached_tokens,
        "cache_creation_input_tokens": result.cache_write_tokens,
        "cache_read_input_tokens": result.cache_read_tokens,
        "cache_creation": {
            f"ephemeral_{ttl}_input_tokens": result.cache_write_by_ttl.get(ttl, 0)
            for ttl in ("5m", "1h")
        },
        "output_tokens": output_tokens,
        "output_tokens_details": {"thinking_tokens": thinking_tokens},
        **more,
    }


@dataclass(frozen=True, slots=True)
class PromptFingerprint:
    """What Anthropic keeps of a request to compare the next one with."""

    model: str
    prompt: PromptLayout
    cached_tokens: int

    def texts_at_level(self, level: int) -> list[str]:
        return [piece.text for piece in self.prompt.blocks if piece.level == level]


_UNAVAILABLE: Final = {"type": "unavailable"}


def diagnose_miss(
    previous: PromptFingerprint | None, current: PromptFingerprint
) -> Mapping[str, Any] | None:
    """Anthropic's `cache_miss_reason`, None where nothing diverged; thinking and tool_choice are `unavailable`."""
    if previous is None:
        return {"type": "previous_message_not_found"}
    reasons = {
        "model_changed": current.model != previous.model,
        "tools_changed": current.texts_at_level(TOOLS) != previous.texts_at_level(TOOLS),
        "system_changed": current.texts_at_level(SYSTEM) != previous.texts_at_level(SYSTEM),
        "messages_changed": current.texts_at_level(MESSAGES)[
            : len(previous.texts_at_level(MESSAGES))
        ]
        != previous.texts_at_level(MESSAGES),
    }
    changed = next((name for name, differs in reasons.items() if differs), None)
    if changed:
        return {"type": changed, "cache_missed_input_tokens": previous.cached_tokens}
    return _UNAVAILABLE if current.prompt.salts != previous.prompt.salts else None
