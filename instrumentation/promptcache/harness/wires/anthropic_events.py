"""Put the events of a Messages stream together again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from promptcache.common.coerce import as_mapping
from promptcache.harness.prompt_error import PromptError

_TEXT_FIELDS: Final[Mapping[str, str]] = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
}
"""Kinds of deltas, and the field of the block and of the delta that they extend."""


def fold_message_events(events: Iterable[Any]) -> dict[str, Any]:
    """Return the message whose stream consisted of `events`.

    Raise PromptError if the stream did not end: a part of an answer is no turn.
    """
    message: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    json_parts: dict[int, list[str]] = {}
    is_finished = False
    for event in map(as_mapping, events):
        kind = event.get("type")
        index = int(event.get("index") or 0)
        if kind == "message_start":
            message = dict(as_mapping(event.get("message")))
        elif kind == "content_block_start":
            blocks[index] = dict(as_mapping(event.get("content_block")))
        elif kind == "content_block_delta":
            _add_delta(blocks[index], as_mapping(event.get("delta")), json_parts, index)
        elif kind == "message_delta":
            message |= as_mapping(event.get("delta"))
            message["usage"] = {
                **as_mapping(message.get("usage")),
                **as_mapping(event.get("usage")),
            }
        is_finished = is_finished or kind == "message_stop"
    if not message or not is_finished:
        raise PromptError("answer", "is no complete stream of message events")
    for index, parts in json_parts.items():
        blocks[index]["input"] = json.loads("".join(parts) or "{}")
    return {**message, "content": [blocks[index] for index in sorted(blocks)]}


def _add_delta(
    block: dict[str, Any], delta: Mapping[str, Any], json_parts: dict[int, list[str]], index: int
) -> None:
    kind = str(delta.get("type"))
    if kind == "input_json_delta":
        json_parts.setdefault(index, []).append(str(delta.get("partial_json") or ""))
    elif kind == "citations_delta":
        block["citations"] = [*(block.get("citations") or ()), delta.get("citation")]
    elif kind in _TEXT_FIELDS:
        field = _TEXT_FIELDS[kind]
        block[field] = str(block.get(field) or "") + str(delta.get(field) or "")
