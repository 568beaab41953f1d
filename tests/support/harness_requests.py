"""Answers for the harness, and questions to its requests."""

from __future__ import annotations

import json
from typing import Any

from promptcache.harness.json_guards import is_array, is_object

MARKERS = ("cache_control", "prompt_cache_breakpoint", "cachePoint")


def text_answer(wire: str, text: str) -> dict[str, Any]:
    """Return an answer of the assistant that consists of a text."""
    if wire in ("chat", "litellm"):
        return {"choices": [{"message": {"role": "assistant", "content": text}}]}
    if wire == "responses":
        part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": []}
        message = {"type": "message", "role": "assistant", "content": [part]}
        return {"object": "response", "output": [message]}
    if wire == "gemini":
        return {"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}}]}
    if wire == "converse":
        return {"output": {"message": {"role": "assistant", "content": [{"text": text}]}}}
    return {"type": "message", "content": [{"type": "text", "text": text}]}


def tool_answer(wire: str, *ids: str) -> dict[str, Any]:
    """Return an answer of the assistant that calls the tool `track` once for each id."""
    if wire in ("chat", "litellm"):
        function = {"name": "track", "arguments": "{}"}
        listed = [{"id": one, "type": "function", "function": function} for one in ids]
        message: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": listed}
        return {"choices": [{"message": message}]}
    if wire == "responses":
        item = {"type": "function_call", "name": "track", "arguments": "{}"}
        return {"object": "response", "output": [{**item, "call_id": one} for one in ids]}
    if wire == "gemini":
        parts: list[Any] = [
            {"functionCall": {"id": one, "name": "track", "args": {}}} for one in ids
        ]
        return {"candidates": [{"content": {"role": "model", "parts": parts}}]}
    if wire == "converse":
        uses: list[Any] = [
            {"toolUse": {"toolUseId": one, "name": "track", "input": {}}} for one in ids
        ]
        return {"output": {"message": {"role": "assistant", "content": uses}}}
    call: dict[str, Any] = {"type": "tool_use", "name": "track", "input": {}}
    return {"type": "message", "content": [{**call, "id": one} for one in ids]}


def items_of(arguments: Any) -> list[Any]:
    """Return the messages or items of a request."""
    if "body" in arguments:
        arguments = json.loads(arguments["body"])
    for name in ("input", "contents", "messages"):
        if name in arguments:
            return [*arguments[name]]
    raise AssertionError("no messages")


def count_markers(value: Any) -> int:
    if is_object(value):
        if "body" in value:
            return count_markers(json.loads(value["body"]))
        return sum((key in MARKERS) + count_markers(inner) for key, inner in value.items())
    return sum(map(count_markers, value)) if is_array(value) else 0


def without_markers(value: Any) -> Any:
    """Return a request without breakpoints."""
    if is_object(value):
        return {key: without_markers(inner) for key, inner in value.items() if key not in MARKERS}
    if not is_array(value):
        return value
    kept = (inner for inner in value if not (is_object(inner) and inner.keys() == {"cachePoint"}))
    return [without_markers(inner) for inner in kept]


def texts_of(value: Any) -> list[str]:
    """Return all texts and breakpoints (`|`) of a request, in order."""
    if isinstance(value, str):
        return [value]
    if is_array(value):
        return [text for inner in value for text in texts_of(inner)]
    if not is_object(value):
        return []
    texts = [text for key in _TEXT_KEYS if key in value for text in texts_of(value[key])]
    return [*texts, "|"] if set(MARKERS) & set(value) else texts


_TEXT_KEYS = (
    "content",
    "parts",
    "output",
    "text",
    "toolResult",
    "function_response",
    "response",
    "result",
    "error",
)
