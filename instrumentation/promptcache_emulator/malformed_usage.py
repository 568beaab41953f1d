"""Replace the usage objects of a response by malformed ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from promptcache_emulator.json_util import is_json_array, is_json_object


def _change_all_numbers(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def walk(value: Any) -> Any:
        if is_json_object(value):
            return {key: walk(item) for key, item in value.items()}
        return change(value) if isinstance(value, int | float) else value

    return walk


def _remove_details(usage: Any) -> Any:
    return {key: None if is_json_object(value) else value for key, value in usage.items()}


USAGE_MALFORMATIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "null": lambda _: None,
    "empty": lambda _: {},
    "list": lambda _: [],
    "text": lambda _: "many",
    "negative": _change_all_numbers(lambda number: -number - 1),
    "string": _change_all_numbers(str),
    "float": _change_all_numbers(lambda number: number + 0.5),
    "bool": _change_all_numbers(bool),
    "nan": _change_all_numbers(lambda _: float("nan")),
    "huge": _change_all_numbers(lambda _: 10**30),
    "null-counts": _change_all_numbers(lambda _: None),
    "null-details": _remove_details,
    "zero": _change_all_numbers(lambda _: 0),
}
"""Name of a shape to the function that changes a usage object. `missing` removes the object."""


def make_usage_malformed(value: Any, shape: str, usage_keys: frozenset[str]) -> Any:
    """Return a copy of `value` in which every object under one of the keys has this shape."""
    if is_json_array(value):
        return [make_usage_malformed(item, shape, usage_keys) for item in value]
    if not is_json_object(value):
        return value
    changed: dict[str, Any] = {}
    for key, item in value.items():
        if key not in usage_keys or item is None:
            changed[key] = make_usage_malformed(item, shape, usage_keys)
        elif shape != "missing":
            changed[key] = USAGE_MALFORMATIONS[shape](item)
    return changed
