"""Anthropic's cache: blocks, breakpoints and lookback, what invalidates which level, usage, and its own diagnosis."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from promptcache.emulator.cache import MESSAGES, SYSTEM, TOOLS, Outcome, Piece, Plan, Prompt, Write
from promptcache.emulator.plain import JSON, compact, obj, rows
from promptcache.emulator.profiles import Rules
from promptcache.emulator.wire import Refused

_MARK: Final = "cache_control"
_FORGETS: Final = re.compile(r"claude-(3|opus-4(-[01]|-2\d{7})?$|sonnet-4(-[05]|-2\d{7})?|.*haiku)")
"""Models that drop earlier thinking once the user speaks again; Opus from 4.5 and Sonnet from 4.6 on keep it."""


def family(model: str) -> str:
    """The bare model name of a Bedrock id, an ARN, or a Vertex id with its date."""
    found = re.search(r"claude-[a-z0-9-]+?(?=(-v\d+(:\d+)?)?$|@|$)", model)
    return found[0] if found else model


def prompt(body: JSON, model: str, betas: str = "") -> Prompt:
    """The request as the cache reads it: tools, then system, then messages (docs, "prompt caching", autumn 2026)."""
    tools = [_piece(tool, _tool_level(tool), "", whole=True) for tool in rows(body.get("tools"))]
    pieces = sorted(tools, key=lambda piece: piece.level)
    pieces += [_piece(block, SYSTEM, "") for block in blocks(body.get("system"))]
    for message in _remembered(rows(body.get("messages")), model):
        for index, block in enumerate(blocks(message.get("content"))):
            pieces.append(_piece(block, MESSAGES, "" if index else f"{message.get('role')}\n"))
    return Prompt(tuple(pieces), _salts(body, model, betas))


def _tool_level(tool: JSON) -> int:
    """Web search is not a definition among others: switching it leaves the tools cached, and nothing after them."""
    return SYSTEM if str(tool.get("type", "")).startswith("web_search") else TOOLS


def blocks(content: Any) -> list[JSON]:
    """The blocks of a system prompt or a message; a string is short for one text block."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else rows(content)


def _piece(block: JSON, level: int, head: str, *, whole: bool = False) -> Piece:
    bare = {key: value for key, value in block.items() if key != _MARK}
    plain = not whole and block.get("type") == "text" and not block.get("citations")
    text = head + (str(block.get("text", "")) if plain else compact(bare))
    mark = obj(block.get(_MARK)).get("ttl", "") if block.get(_MARK) else None
    heavy = (
        {"image": 1500, "document": 2000} if obj(block.get("source")).get("type") != "text" else {}
    )
    return Piece(text or " ", level, mark, weight=heavy.get(str(block.get("type"))))


def _remembered(messages: list[JSON], model: str) -> list[JSON]:
    """Messages as the model gets them: older models lose the thinking before the user's last own words."""
    if not _FORGETS.match(family(model)):
        return messages
    spoken = [
        index
        for index, message in enumerate(messages)
        if message.get("role") == "user" and not _answers(message)
    ]
    last = spoken[-1] if spoken else 0
    return [
        _unthought(message) if index < last else message for index, message in enumerate(messages)
    ]


def _unthought(message: JSON) -> JSON:
    kept = [
        block
        for block in blocks(message.get("content"))
        if "thinking" not in str(block.get("type"))
    ]
    return message | {"content": kept}


def _answers(message: JSON) -> bool:
    return any(block.get("type") == "tool_result" for block in rows(message.get("content")))


def _salts(body: JSON, model: str, betas: str) -> tuple[str, str, str]:
    """What invalidates from tools, from system, from messages on (the table of the docs, autumn 2026)."""
    config = obj(body.get("output_config"))
    text = compact([body.get("system"), body.get("messages")])
    tools = [model, betas]
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
    return compact(tools), compact(system), compact(messages)


def plan(prompt: Prompt, rules: Rules, top: Any = None) -> Plan:
    """Reads up to 20 positions back from each breakpoint (itself the first), writes at breakpoints alone.

    `top` is the request's own `cache_control`. Raises Refused where Anthropic answers 400: more than four
    breakpoints, a longer TTL after a shorter one, a last block that is marked otherwise.
    """
    marks = {
        index: piece.mark or rules.ttl
        for index, piece in enumerate(prompt.pieces)
        if piece.mark is not None
    }
    if top:
        _automatic(prompt, marks, obj(top).get("ttl") or rules.ttl)
    if len(marks) > rules.marks:
        raise Refused(
            400,
            f"A maximum of {rules.marks} blocks with cache_control may be provided. Found {len(marks)}.",
        )
    ordered = sorted(marks.items())
    if any(rules.seconds(a) < rules.seconds(b) for (_, a), (_, b) in pairwise(ordered)):
        raise Refused(
            400, "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block"
        )
    ends = prompt.ends
    seen = {
        ends[back]
        for index in marks
        for back in range(max(0, index - rules.lookback + 1), index + 1)
    }
    writes = [
        Write(ends[index], ttl, rules.seconds(ttl))
        for index, ttl in ordered
        if ends[index] >= rules.minimum
    ]
    return Plan(prompt, tuple(end for end in sorted(seen) if end >= rules.minimum), tuple(writes))


def _automatic(prompt: Prompt, marks: dict[int, str], ttl: str) -> None:
    """Top-level `cache_control`: a breakpoint on the last block that may carry one."""
    eligible = [
        index for index, piece in enumerate(prompt.pieces) if '"type":"thinking"' not in piece.text
    ]
    last = eligible[-1]
    if marks.get(last, ttl) != ttl:
        raise Refused(400, "the last block has a cache_control of another ttl than the request's")
    marks[last] = ttl


def usage(outcome: Outcome, output: int, thought: int, **more: Any) -> JSON:
    """`usage` of a message: input beside what was read and written (anthropic 2.11.0, types/usage.py)."""
    return {
        "input_tokens": outcome.uncached,
        "cache_creation_input_tokens": outcome.write,
        "cache_read_input_tokens": outcome.read,
        "cache_creation": {
            f"ephemeral_{ttl}_input_tokens": outcome.written.get(ttl, 0) for ttl in ("5m", "1h")
        },
        "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": thought},
        **more,
    }


@dataclass(frozen=True, slots=True)
class Print:
    """What Anthropic keeps of a request to compare the next one with."""

    model: str
    prompt: Prompt
    cached: int

    def level(self, level: int) -> list[str]:
        return [piece.text for piece in self.prompt.pieces if piece.level == level]


_UNNAMED: Final = {"type": "unavailable"}


def diagnose(earlier: Print | None, now: Print) -> Mapping[str, Any] | None:
    """Anthropic's `cache_miss_reason`, None where nothing diverged; thinking and tool_choice are `unavailable`."""
    if earlier is None:
        return {"type": "previous_message_not_found"}
    reasons = {
        "model_changed": now.model != earlier.model,
        "tools_changed": now.level(TOOLS) != earlier.level(TOOLS),
        "system_changed": now.level(SYSTEM) != earlier.level(SYSTEM),
        "messages_changed": now.level(MESSAGES)[: len(earlier.level(MESSAGES))]
        != earlier.level(MESSAGES),
    }
    changed = next((name for name, differs in reasons.items() if differs), None)
    if changed:
        return {"type": changed, "cache_missed_input_tokens": earlier.cached}
    return _UNNAMED if now.prompt.salts != earlier.prompt.salts else None
