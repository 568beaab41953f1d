"""Test, read and write plain JSON values."""

from __future__ import annotations

import json
from typing import Any, TypeGuard

JSONObject = dict[str, Any]


def is_object(value: Any) -> TypeGuard[JSONObject]:
    return isinstance(value, dict)


def is_array(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def as_object(value: Any) -> JSONObject:
    """Return `value` if it is a JSON object, else an empty object."""
    return value if is_object(value) else {}


def as_objects(value: Any) -> list[JSONObject]:
    """Return the objects in `value` if it is a JSON array, else an empty list."""
    return [item for item in value if is_object(item)] if is_array(value) else []


def content_text(content: Any) -> str:
    """Return the text of a message's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    return "\n".join(str(part["text"]) for part in as_objects(content) if part.get("text"))


def to_compact_json(value: Any) -> str:
    """Return JSON without spaces, with keys in their order. Malformed usage may contain NaN."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def to_json_bytes(value: Any) -> bytes:
    """Return the compact JSON of `value` in UTF-8. Lone surrogates are kept."""
    return to_compact_json(value).encode("utf-8", "surrogatepass")
