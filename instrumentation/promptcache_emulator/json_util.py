"""Test, read and write plain JSON values."""

from __future__ import annotations

import json
import math
from typing import Any, Final, Never, TypeGuard

JSONObject = dict[str, Any]

_MAX_DEPTH: Final = 100
"""Of arrays and objects in a body. Google's parser of protobuf JSON has the same limit."""


def parse_json_object(raw: bytes) -> JSONObject:
    """Return the JSON object of a request body; an empty body is an empty object.

    Raise ValueError if it is no JSON, no object, nested too deeply, or holds a number that is not
    finite.
    """
    try:
        value = json.loads(
            raw or b"{}", parse_float=_parse_finite_float, parse_constant=_refuse_nan_and_infinity
        )
    except RecursionError as error:
        raise ValueError("the body is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"the body is not JSON: {error}") from error
    if not is_json_object(value):
        raise ValueError("the body is not a JSON object")
    if _is_deeper_than(value, _MAX_DEPTH):
        raise ValueError("the body is nested too deeply")
    return value


def _parse_finite_float(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:20]} is out of range")
    return number


def _refuse_nan_and_infinity(text: str) -> Never:
    raise ValueError(f"{text} is no number")


def _is_deeper_than(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [item for parent in level for item in _child_values(parent)]
        if not level:
            return False
    return True


def _child_values(value: Any) -> list[Any]:
    items = value.values() if is_json_object(value) else value if is_json_array(value) else ()
    return [item for item in items if isinstance(item, dict | list)]


def is_json_object(value: Any) -> TypeGuard[JSONObject]:
    return isinstance(value, dict)


def is_json_array(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def as_json_object(value: Any) -> JSONObject:
    """Return `value` if it is a JSON object, else an empty object."""
    return value if is_json_object(value) else {}


def as_json_objects(value: Any) -> list[JSONObject]:
    """Return the objects in `value` if it is a JSON array, else an empty list."""
    return [item for item in value if is_json_object(item)] if is_json_array(value) else []


def content_text(content: Any) -> str:
    """Return the text of a message's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    return "\n".join(str(part["text"]) for part in as_json_objects(content) if part.get("text"))


def to_compact_json(value: Any) -> str:
    """Return JSON without spaces, with keys in their order. Malformed usage may contain NaN."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def to_json_bytes(value: Any) -> bytes:
    """Return the compact JSON of `value` in UTF-8. Lone surrogates are kept."""
    return to_compact_json(value).encode("utf-8", "surrogatepass")
