"""Turn the binary fields of a message into base64 text, and back."""

from __future__ import annotations

import binascii
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Callable, Collection
from typing import Any

from promptcache.harness.json_guards import is_array, is_object
from promptcache.harness.names import Message


def encode_bytes(message: Message, keys: Collection[str]) -> Message:
    """Return a copy in which the bytes under `keys` are base64 text."""
    return dict(_change(message, keys, _to_text))


def decode_bytes(message: Message, keys: Collection[str]) -> Message:
    """Return a copy in which the base64 texts under `keys` are bytes. Both alphabets are known."""
    return dict(_change(message, keys, _to_bytes))


def _to_text(value: object) -> object:
    return b64encode(value).decode() if isinstance(value, bytes) else value


def _to_bytes(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.replace("+", "-").replace("/", "_").rstrip("=")
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return value


def _change(value: Any, keys: Collection[str], change: Callable[[object], object]) -> Any:
    if is_object(value):
        return {
            key: change(inner) if key in keys else _change(inner, keys, change)
            for key, inner in value.items()
        }
    return [_change(inner, keys, change) for inner in value] if is_array(value) else value
