"""Odd data made plain: what `marshal` and `json` refuse becomes something that both take.

A request body is plain data as a rule, but nothing stops an application from putting a string subclass, a sentinel, a
generator or a cycle into it. None of that may raise here, nothing is consumed, and no method of a foreign class is
called: an object of an unknown type counts as its type's name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

_MAX_DEPTH: Final = 200
_SCALAR_CONVERTERS: Final[tuple[tuple[Any, Callable[[Any], Any]], ...]] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (bytes | bytearray | memoryview, lambda value: {"bytes": bytes(value).hex()}),
)


def to_plain_json(value: Any, ancestor_ids: frozenset[int] = frozenset()) -> Any:
    """`value` as dicts, lists and scalars of exact types. A cycle and depth beyond 200 become a mark."""
    if value is None or isinstance(value, bool):
        return value
    for kind, exact in _SCALAR_CONVERTERS:
        if isinstance(value, kind):
            return exact(value)
    node: Any = value  # narrowed types of containers are unknown to a type checker
    if not isinstance(value, dict | list | tuple):
        return f"<{type(node).__module__}.{type(node).__qualname__}>"
    if id(node) in ancestor_ids or len(ancestor_ids) >= _MAX_DEPTH:
        return "<endless>"
    inside = ancestor_ids | {id(node)}
    if isinstance(value, dict):
        return {
            str(to_plain_json(key, inside)): to_plain_json(item, inside)
            for key, item in node.items()
        }
    return [to_plain_json(item, inside) for item in node]
