"""Answers for the harness, and questions to its requests."""

from __future__ import annotations

from typing import Any

from promptcache.harness.json_guards import is_array, is_object

MARKERS = ("cache_control", "prompt_cache_breakpoint")


def text_answer(wire: str, text: str) -> dict[str, Any]:
    if wire == "anthropic":
        return {"type": "message", "content": [{"type": "text", "text": text}]}
    if wire == "chat":
        return {"choices": [{"message": {"role": "assistant", "content": text}}]}
    part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": []}
    return {
        "object": "response",
        "output": [{"type": "message", "role": "assistant", "content": [part]}],
    }


def tool_answer(wire: str, *ids: str) -> dict[str, Any]:
    if wire == "anthropic":
        call: dict[str, Any] = {"type": "tool_use", "name": "track", "input": {}}
        return {"type": "message", "content": [{**call, "id": one} for one in ids]}
    if wire == "chat":
        function = {"name": "track", "arguments": "{}"}
        listed = [{"id": one, "type": "function", "function": function} for one in ids]
        return {
            "choices": [{"message": {"role": "assistant", "content": None, "tool_calls": listed}}]
        }
    items = [
        {"type": "function_call", "call_id": one, "name": "track", "arguments": "{}"} for one in ids
    ]
    return {"object": "response", "output": items}


def items_of(arguments: Any) -> list[Any]:
    return [*(arguments["input"] if "input" in arguments else arguments["messages"])]


def count_markers(value: Any) -> int:
    if is_object(value):
        return sum((key in MARKERS) + count_markers(inner) for key, inner in value.items())
    return sum(map(count_markers, value)) if is_array(value) else 0


def without_markers(value: Any) -> Any:
    if is_object(value):
        return {key: without_markers(inner) for key, inner in value.items() if key not in MARKERS}
    return [without_markers(inner) for inner in value] if is_array(value) else value


def texts_of(value: Any) -> list[str]:
    """Return all texts and marks of a request, in order."""
    if isinstance(value, str):
        return [value]
    if is_object(value):
        found = [text for key in ("content", "output", "text") for text in texts_of(value.get(key))]
        return [*found, "|"] if set(MARKERS) & set(value) else found
    return [text for inner in value for text in texts_of(inner)] if is_array(value) else []
