"""A call's request, as read from the final wire body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, final


@final
class Request(NamedTuple):
    """One request, after the SDK has prepared it.

    `wire_format_name` is the name of a `WireFormat`, `openai.chat` for one. `model` may come from
    the URL instead of the body. `body` is the wire body as plain data: it is never copied, so
    nothing may change it. `cache_scope` is a digest of the credential under a random key of this
    process: two requests can share a cache only if their scopes are equal. `started_at` is in epoch
    seconds.
    """

    wire_format_name: str
    provider: str
    operation: str
    model: str | None
    host: str | None
    port: int | None
    stream: bool
    body: Mapping[str, Any]
    cache_scope: bytes
    started_at: float
