"""Replace odd values in a request body, so that `marshal` and `json` accept it.

A request body is plain data as a rule, but an application may put a string subclass, a sentinel, a
generator or a cycle into it. None of these may raise here. Iterators are not consumed and no method
of a foreign class is called: an object of an unknown type is replaced by the name of its type.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable
from typing import Any, Final

_MAX_DEPTH: Final = 200
# From version 3 on, marshal writes back references: the bytes then depend on whether a string is
# interned.
_MARSHAL_VERSION: Final = 2
_SCALAR_CONVERTERS: Final[tuple[tuple[Any, Callable[[Any], Any]], ...]] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (bytes | bytearray | memoryview, lambda value: {"bytes": bytes(value).hex()}),
)


def sanitize_for_json(value: Any, ancestor_ids: frozenset[int] = frozenset()) -> Any:
    """Return `value` as dicts, lists and scalars of exact types.

    A cycle, and whatever lies deeper than 200 levels, becomes the string `<endless>`.
    `ancestor_ids` holds the ids of the containers around `value`.
    """
    if value is None or isinstance(value, bool):
        return value
    for kind, convert in _SCALAR_CONVERTERS:
        if isinstance(value, kind):
            return convert(value)
    node: Any = value  # pyright does not know the element types of a narrowed container
    if not isinstance(value, dict | list | tuple):
        return f"<{type(node).__module__}.{type(node).__qualname__}>"
    if id(node) in ancestor_ids or len(ancestor_ids) >= _MAX_DEPTH:
        return "<endless>"
    inside = ancestor_ids | {id(node)}
    if isinstance(value, dict):
        return {
            str(sanitize_for_json(key, inside)): sanitize_for_json(item, inside)
            for key, item in node.items()
        }
    return [sanitize_for_json(item, inside) for item in node]


def marshal_or_sanitize(data: Any) -> bytes:
    """Return bytes for any data: equal ones for equal data, in every process."""
    try:
        return marshal.dumps(data, _MARSHAL_VERSION)
    except ValueError:  # an unsupported type, a cycle or great depth
        return marshal.dumps(sanitize_for_json(data), _MARSHAL_VERSION)
