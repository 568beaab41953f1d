"""Put the chunks of a Chat Completions stream together again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from promptcache.common.coerce import as_list, as_mapping
from promptcache.harness.prompt_error import PromptError


def fold_chunks(chunks: Iterable[Any]) -> dict[str, Any]:
    """Return the completion whose stream consisted of `chunks`: its first choice.

    Raise PromptError if the stream did not end.
    """
    completion: dict[str, Any] = {}
    message: dict[str, Any] = {"role": "assistant"}
    calls: dict[int, dict[str, Any]] = {}
    is_finished = False
    for chunk in map(as_mapping, chunks):
        completion |= {name: chunk[name] for name in ("id", "model", "usage") if chunk.get(name)}
        for choice in map(as_mapping, as_list(chunk.get("choices"))):
            if choice.get("index") or 0:
                continue
            _add_delta(message, calls, dict(as_mapping(choice.get("delta"))))
            is_finished = is_finished or choice.get("finish_reason") is not None
    if not is_finished:
        raise PromptError("answer", "is no complete stream of chunks")
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return {**completion, "choices": [{"message": message}]}


def _add_delta(
    message: dict[str, Any], calls: dict[int, dict[str, Any]], delta: dict[str, Any]
) -> None:
    for name in ("content", "refusal", "reasoning_content"):
        if delta.get(name):
            message[name] = str(message.get(name) or "") + str(delta[name])
    for details in as_list(delta.get("reasoning_details")):
        message.setdefault("reasoning_details", []).append(details)
    for part in map(as_mapping, as_list(delta.get("tool_calls"))):
        index = int(part.get("index") or 0)
        call = calls.setdefault(index, {"type": "function", "function": {"arguments": ""}})
        if part.get("id"):
            call["id"] = part["id"]
        function = as_mapping(part.get("function"))
        if function.get("name"):
            call["function"]["name"] = function["name"]
        call["function"]["arguments"] += str(function.get("arguments") or "")
