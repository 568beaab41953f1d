"""Name the place of a byte in JSON by the wire's own keys, never by those of the application."""

from __future__ import annotations

import re
from typing import Final

_PART: Final = re.compile(r'"(?:[^"\\]|\\.)*"(\s*:)?|[{}\[\],]')
_WIRE_KEYS: Final = frozenset(
    {
        "name",
        "description",
        "parameters",
        "input_schema",
        "inputSchema",
        "strict",
        "type",
        "text",
        "content",
        "cache_control",
        "arguments",
        "input",
        "response",
        "parametersJsonSchema",
        "parameters_json_schema",
    }
)
"""Keys of the providers' formats. A key below a schema's `properties` is a name of the user's."""
_NESTING_KEYS: Final = frozenset({"function", "toolSpec", "json"})
"""Keys whose object holds the keys that are worth naming."""


def key_at(text: str, offset: int) -> str | None:
    """Return the outermost key of the wire whose value holds the character `offset`."""
    path: list[str | None] = []
    for match in _PART.finditer(text, 0):
        if match.start() > offset:
            break
        part = match[0]
        if part in "{[":
            path.append(None)
        elif part in "}]" and path:
            path.pop()
        elif part == "," and path:
            path[-1] = None
        elif match[1] and path:
            path[-1] = part[1 : part.rindex('"')]
    named = [key for key in path if key is not None and key not in _NESTING_KEYS]
    return named[0] if named and named[0] in _WIRE_KEYS else None
