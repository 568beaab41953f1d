"""Turn untrusted JSON into values of the expected type.

Everything that a server sends or an application passes may have another shape than documented.
These functions never raise: a value of the wrong type becomes None or empty.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

JSONObject = Mapping[str, Any]

MAX_PLAUSIBLE_COUNT: Final = 10**12
"""No call has more tokens than this. A larger number is malformed."""

MAX_NAME_CHARS: Final = 1024
"""Longest accepted name or id. The ids of gateways that pack an address into the id have 300
characters."""

UNLIMITED_CHARS: Final = sys.maxsize
"""The limit for a text that is a whole body."""


def as_mapping(value: object) -> JSONObject:
    """Return `value` if it is a mapping, else an empty one."""
    # Nearly all values are plain dicts. `type is` recognises a dict ten times as fast as
    # `isinstance(..., Mapping)`.
    if type(value) is dict or isinstance(value, Mapping):
        return cast("JSONObject", value)
    return {}


def as_list(value: object) -> list[Any]:
    """Return a list or tuple as a list, else an empty list. Iterators are not consumed."""
    return list(cast("Iterable[Any]", value)) if isinstance(value, (list, tuple)) else []


def as_str(value: object, max_chars: int = MAX_NAME_CHARS) -> str | None:
    """Return a string of 1 to `max_chars` characters, None for anything else.

    A longer string becomes None and is not truncated: the first part of an id or of a model's name
    would name another object. Exporters reject lone surrogates, so each becomes `?`.
    """
    if not isinstance(value, str) or not 0 < len(value) <= max_chars:
        return None
    return (
        value
        if type(value) is str and value.isascii()
        else str.encode(value, errors="replace").decode()
    )


def as_number(value: object) -> float | None:
    """Return a finite number from 0 to `MAX_PLAUSIBLE_COUNT`, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not 0 <= value < MAX_PLAUSIBLE_COUNT:
        return None
    return float(value)


def as_count(value: object) -> int | None:
    """Return a whole number from 0 to `MAX_PLAUSIBLE_COUNT`, None for anything else: no API reports
    half a token."""
    if type(value) is int:  # nearly all are
        return value if 0 <= value < MAX_PLAUSIBLE_COUNT else None
    found = as_number(value)
    return int(found) if found is not None and found.is_integer() else None


def flatten(value: object, max_depth: int = 4) -> dict[str, Any]:
    """Return the leaves of nested mappings by their dotted names, without nulls."""
    leaves: dict[str, Any] = {}
    _collect_leaves(leaves, as_mapping(value), "", max_depth)
    return leaves


def _collect_leaves(
    leaves: dict[str, Any], fields: JSONObject, prefix: str, max_depth: int
) -> None:
    for name, entry in fields.items():
        is_plain = entry is None or type(entry) is int
        if not is_plain and max_depth and (inner := as_mapping(entry)):
            _collect_leaves(leaves, inner, f"{prefix}{name}.", max_depth - 1)
        elif entry is not None:
            leaves[f"{prefix}{name}"] = entry
