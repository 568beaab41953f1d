"""A request on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class SentRequest:
    """A request on the wire."""

    path: str
    body: bytes
    headers: Mapping[str, str]
