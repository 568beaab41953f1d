"""What goes in and comes out, before and after HTTP: one request, one answer, the rows that route them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from promptcache.emulator.cache import Outcome, Plan
from promptcache.emulator.faults import Fault
from promptcache.emulator.plain import JSON, dump
from promptcache.emulator.profiles import Rules


class Refused(Exception):  # noqa: N818 -- the provider says no; it is an answer, not a failure of ours
    """The provider answers with an HTTP error: `status`, and what it says."""

    def __init__(self, status: int, message: str, kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status, self.message, self.kind = status, message, kind


@dataclass(frozen=True, slots=True)
class Incoming:
    """One request. Header names are lower case; `tenant` is the credential; `path` has no query."""

    method: str
    path: str
    body: JSON
    headers: Mapping[str, str]
    query: Mapping[str, str]
    tenant: str
    fault: Fault
    params: Mapping[str, str] = field(default_factory=dict[str, str])


def _nothing() -> None:
    pass


@dataclass(slots=True)
class Answer:
    """One response: `body` (JSON, or bytes as they are), or a stream of `events` that `frame` turns into bytes.

    `commit` makes the cache entries; whoever sends the answer calls it with the first byte.
    """

    body: Any = None
    events: list[Any] | None = None
    frame: Callable[[Any], bytes] = bytes
    status: int = 200
    media: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict[str, str])
    commit: Callable[[], None] = _nothing
    breaks: Any = None
    """The event with which this wire reports an error in the middle of a stream."""

    def chunks(self) -> list[bytes]:
        """The body, in the pieces in which it is sent."""
        if self.events is not None:
            return [self.frame(event) for event in self.events]
        return [self.body if isinstance(self.body, bytes) else dump(self.body)]


class Host(Protocol):
    """What a provider's file needs of the emulator: time, rules, the cache, and a place to keep things by name."""

    named: dict[str, Any]
    """What stays until it is deleted: named caches and batches."""

    @property
    def clock(self) -> Callable[[], float]: ...

    def keep(self, name: str, value: Any) -> None:
        """Remembers a response under its id; the oldest are forgotten."""
        ...

    def kept(self, name: str) -> Any:
        """What `keep` was given under this name, None where it is not known."""
        ...

    def rules(self, table: tuple[Rules, ...], model: str, incoming: Incoming) -> Rules:
        """The profile in force for this request."""
        ...

    def settle(
        self, incoming: Incoming, model: str, plan: Plan, output: int
    ) -> tuple[Outcome, Callable[[], None]]:
        """What the request read and writes, and the commit of what it writes."""
        ...

    def note(
        self, incoming: Incoming, model: str, plan: Plan, output: int, outcome: Outcome
    ) -> None:
        """Keeps the record of a request that did not ask the cache."""
        ...


Handler = Callable[[Host, Incoming], Answer]


@dataclass(frozen=True, slots=True)
class Route:
    """One row: a method, a pattern for the whole path, and who answers. `usage` names where its usage stands."""

    method: str
    path: str
    handler: Handler
    refuse: Callable[[Refused], JSON]

    def match(self, method: str, path: str) -> dict[str, str] | None:
        found = re.fullmatch(self.path, path) if method == self.method else None
        return found.groupdict() if found else None


def unique(prefix: str, length: int = 24) -> str:
    """An identifier as the providers make them, never the same twice."""
    return prefix + secrets.token_hex(length)[:length]


def sse(event: Any) -> bytes:
    """A server-sent event without a name; a string is sent as it is (`[DONE]`)."""
    return b"data: " + (event.encode() if isinstance(event, str) else dump(event)) + b"\n\n"


def named_sse(event: JSON) -> bytes:
    """A server-sent event named by the `type` of its data."""
    return b"event: " + str(event["type"]).encode() + b"\n" + sse(event)
