"""Copy a value to plain JSON data that serialises to the same bytes everywhere."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final, cast

from promptcache.harness.json_guards import is_sequence
from promptcache.harness.prompt_error import PromptError

_HASH_CHARS: Final = 16
_MAX_DEPTH: Final = 100
"""The deepest nesting that a provider's parser accepts (protobuf's JSON parser, for one)."""


def freeze_json(
    value: object,
    path: str,
    *,
    sort_keys: bool,
    depth: int = _MAX_DEPTH,
    takes_bytes: bool = False,
) -> Any:
    """Return a deep copy of `value` that consists of dicts, lists, strings and numbers.

    Keys are sorted if `sort_keys`; lists keep their order. Raise PromptError, with the path of the
    value, for everything that has no order or no single text: sets, dates, NaN, keys that are no
    strings, objects. `takes_bytes` lets bytes pass, for SDKs that encode them themselves.
    """
    if depth == 0:
        raise PromptError(path, f"is nested deeper than {_MAX_DEPTH} levels, or contains itself")
    if isinstance(value, Mapping):
        entries = cast("Mapping[object, object]", value)
        return _freeze_mapping(
            entries, path, sort_keys=sort_keys, depth=depth, takes_bytes=takes_bytes
        )
    if is_sequence(value):
        items = value
        return [
            freeze_json(
                item,
                f"{path}[{index}]",
                sort_keys=sort_keys,
                depth=depth - 1,
                takes_bytes=takes_bytes,
            )
            for index, item in enumerate(items)
        ]
    if takes_bytes and isinstance(value, bytes):
        return bytes(value)
    return _freeze_scalar(value, path)


def canonical_json(value: object) -> str:
    """Return the JSON text of frozen data: no spaces, keys in their order."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def hash_json(value: object) -> str:
    """Return 16 hex digits of the hash of frozen data."""
    from hashlib import sha256  # here, since it takes longer to import than the rest

    return sha256(canonical_json(value).encode()).hexdigest()[:_HASH_CHARS]


def _freeze_mapping(
    entries: Mapping[object, object],
    path: str,
    *,
    sort_keys: bool,
    depth: int,
    takes_bytes: bool,
) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, entry in entries.items():
        if not isinstance(key, str):
            raise PromptError(path, f"has a key of type {type(key).__name__}; JSON keys are str")
        name = check_text(key, path)
        plain[name] = freeze_json(
            entry,
            f"{path}.{name}",
            sort_keys=sort_keys,
            depth=depth - 1,
            takes_bytes=takes_bytes,
        )
    return dict(sorted(plain.items())) if sort_keys else plain


def _freeze_scalar(value: object, path: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return check_text(value, path)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise PromptError(path, "is not a finite number; JSON has no text for it")
        return float(value)
    kind = type(value).__name__
    if isinstance(value, (set, frozenset)):
        raise PromptError(path, f"is a {kind}, which has no order; give a sorted list")
    raise PromptError(path, f"is of type {kind}, which has no single JSON text; give a str")


def check_text(text: str, path: str) -> str:
    """Return a plain `str`. Raise PromptError for a lone surrogate, which UTF-8 cannot express."""
    plain = str.__str__(text)  # an enum's own __str__ would return its name
    if not plain.isascii():
        try:
            plain.encode()
        except UnicodeEncodeError as error:
            raise PromptError(path, f"has a lone surrogate at {error.start}") from None
    return plain
