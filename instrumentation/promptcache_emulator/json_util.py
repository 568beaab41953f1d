"""JSON as plain data: asking what it is, reading what may be absent, writing it down."""

from __future__ import annotations

import json
from typing import Any, TypeGuard

JSONObject = dict[str, Any]


def is_object(value: Any) -> TypeGuard[JSONObject]:
    return isinstance(value, dict)


def is_array(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def as_object(value: Any) -> JSONObject:
    """`value` if it is a JSON object, else an empty one: what is absent or null has no fields."""
    return value if is_object(value) else {}


def as_objects(value: Any) -> list[JSONObject]:
    """The objects of `value` if it is a JSON array, else none."""
    return [item for item in value if is_object(item)] if is_array(value) else []


def content_text(content: Any) -> str:
    """The text of a message's content, be it a string or parts."""
    if isinstance(content, str):
        return content
    return "\n".join(str(part["text"]) for part in as_objects(content) if part.get("text"))


def to_compact_json(value: Any) -> str:
    """JSON without blanks, in the order in which the client sent it. NaN passes: malformed usage may hold it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def to_json_bytes(value: Any) -> bytes:
    """The bytes of `to_compact_json`, lone surrogates included."""
    return to_compact_json(value).encode("utf-8", "surrogatepass")
