"""A response of an emulated provider, before any HTTP library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from promptcache_emulator.json_util import to_json_bytes


def _do_nothing() -> None:
    pass


@dataclass(slots=True)
class ProviderResponse:
    """One response: a `body` (JSON or bytes), or `events` that `encode_event` turns into bytes.

    `commit` stores the cache entries of the request; the sender calls it with the first byte.
    `error_event` is the event with which the provider reports an error inside a stream.
    """

    body: Any = None
    events: list[Any] | None = None
    encode_event: Callable[[Any], bytes] = bytes
    status: int = 200
    media_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict[str, str])
    commit: Callable[[], None] = _do_nothing
    error_event: Any = None

    def chunks(self) -> list[bytes]:
        """Return the body as the list of byte strings in which it is sent."""
        if self.events is not None:
            return [self.encode_event(event) for event in self.events]
        return [self.body if isinstance(self.body, bytes) else to_json_bytes(self.body)]
