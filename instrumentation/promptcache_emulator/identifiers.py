"""Random identifiers in the form that the providers use."""

from __future__ import annotations

import secrets


def new_id(prefix: str, length: int = 24) -> str:
    """Return `prefix` and `length` random hexadecimal digits."""
    return prefix + secrets.token_hex(length)[:length]
