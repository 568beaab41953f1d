"""Put the events of a Converse stream together again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from promptcache.common.coerce import as_mapping
from promptcache.harness.prompt_error import PromptError


def fold_converse_events(events: Iterable[Any]) -> dict[str, Any]:
    """Return the response whose stream consisted of `events`.

    Raise PromptError if the stream did not end.
    """
    blocks: dict[int, dict[str, Any]] = {}
    usage: Mapping[str, Any] = {}
    is_finished = False
    for event in map(as_mapping, events):
        start = as_mapping(event.get("contentBlockStart"))
        delta = as_mapping(event.get("contentBlockDelta"))
        if start:
            _start_block(blocks, int(start.get("contentBlockIndex") or 0), start)
        if delta:
            block = blocks.setdefault(int(delta.get("contentBlockIndex") or 0), {})
            _add_delta(block, as_mapping(delta.get("delta")))
        is_finished = is_finished or "messageStop" in event
        usage = as_mapping(as_mapping(event.get("metadata")).get("usage")) or usage
    if not is_finished:
        raise PromptError("answer", "is no complete stream of Converse events")
    content = [_with_parsed_input(blocks[index]) for index in sorted(blocks)]
    return {"output": {"message": {"role": "assistant", "content": content}}, "usage": usage}


def _start_block(blocks: dict[int, dict[str, Any]], index: int, start: Mapping[str, Any]) -> None:
    tool_use = as_mapping(as_mapping(start.get("start")).get("toolUse"))
    blocks[index] = {"toolUse": {**tool_use, "input": ""}} if tool_use else {}


def _add_delta(block: dict[str, Any], delta: Mapping[str, Any]) -> None:
    if "text" in delta:
        block["text"] = str(block.get("text") or "") + str(delta["text"])
    if tool_use := as_mapping(delta.get("toolUse")):
        block["toolUse"]["input"] += str(tool_use.get("input") or "")
    if reasoning := as_mapping(delta.get("reasoningContent")):
        held = block.setdefault("reasoningContent", {})
        if "redactedContent" in reasoning:
            held["redactedContent"] = reasoning["redactedContent"]
            return
        text = held.setdefault("reasoningText", {"text": ""})
        text["text"] += str(reasoning.get("text") or "")
        if "signature" in reasoning:
            text["signature"] = reasoning["signature"]


def _with_parsed_input(block: dict[str, Any]) -> dict[str, Any]:
    if "toolUse" not in block:
        return block
    tool_use = block["toolUse"]
    return {"toolUse": {**tool_use, "input": json.loads(tool_use["input"] or "{}")}}
