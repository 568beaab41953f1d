"""What goes in and comes out, before and after HTTP: one request, one answer, the rows that route them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from promptcache_emulator.cache import CachePlan, CacheResult
from promptcache_emulator.faults import Fault
from promptcache_emulator.json_util import JSONObject, to_json_bytes
from promptcache_emulator.profiles import CacheProfile


class ProviderError(Exception):
    """The provider answers with an HTTP error: `status`, and what it says."""

    def __init__(self, status: int, message: str, kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status, self.message, self.error_type = status, message, kind


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """One request. Header names are lower case; `cache_scope` is the credential; `path_pattern` has no query."""

    method: str
    path: str
    body: JSONObject
    headers: Mapping[str, str]
    query: Mapping[str, str]
    cache_scope: str
    fault: Fault
    path_params: Mapping[str, str] = field(default_factory=dict[str, str])


def _no_op() -> None:
    pass


@dataclass(slots=True)
class ProviderResponse:
    """One response: `body` (JSON, or bytes as they are), or a stream of `events` that `encode_event` turns into bytes.

    `commit` makes the cache entries; whoever sends the answer calls it with the first byte.
    """

    body: Any = None
    events: list[Any] | None = None
    encode_event: Callable[[Any], bytes] = bytes
    status: int = 200
    media_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict[str, str])
    commit: Callable[[], None] = _no_op
    error_event: Any = None
    """The event with which this wire reports an error in the middle of a stream."""

    def chunks(self) -> list[bytes]:
        """The body, in the pieces in which it is sent."""
        if self.events is not None:
            return [self.encode_event(event) for event in self.events]
        return [self.body if isinstance(self.body, bytes) else to_json_bytes(self.body)]


class EmulatorContext(Protocol):
    """What a provider's file needs of the emulator: time, rules, the cache, and a place to keep things by name."""

    resources: dict[str, Any]
    """What stays until it is deleted: named caches and batches."""

    @property
    def clock(self) -> Callable[[], float]: ...

    def store_value(self, name: str, value: Any) -> None:
        """Remembers a response under its id; the oldest are forgotten."""
        ...

    def stored_value(self, name: str) -> Any:
        """What `store_value` was given under this name, None where it is not known."""
        ...

    def profile_for(
        self, table: tuple[CacheProfile, ...], model: str, request: ProviderRequest
    ) -> CacheProfile:
        """The profile in force for this request."""
        ...

    def run_cache_plan(
        self, request: ProviderRequest, model: str, plan: CachePlan, output_tokens: int
    ) -> tuple[CacheResult, Callable[[], None]]:
        """What the request read and writes, and the commit of what it writes."""
        ...

    def record_request(
        self,
        request: ProviderRequest,
        model: str,
        plan: CachePlan,
        output_tokens: int,
        result: CacheResult,
    ) -> None:
        """Keeps the record of a request that did not ask the cache."""
        ...


RouteHandler = Callable[[EmulatorContext, ProviderRequest], ProviderResponse]


@dataclass(frozen=True, slots=True)
class Route:
    """One row: a method, a pattern for the whole path, and who answers. `usage` names where its usage stands."""

    method: str
    path_pattern: str
    handler: RouteHandler
    error_body: Callable[[ProviderError], JSONObject]

    def match(self, method: str, path: str) -> dict[str, str] | None:
        found = re.fullmatch(self.path_pattern, path) if method == self.method else None
        return found.groupdict() if found else None


def new_id(prefix: str, length: int = 24) -> str:
    """An identifier as the providers make them, never the same twice."""
    return prefix + secrets.token_hex(length)[:length]


def encode_sse(event: Any) -> bytes:
    """A server-sent event without a name; a string is sent as it is (`[DONE]`)."""
    return (
        b"data: " + (event.encode() if isinstance(event, str) else to_json_bytes(event)) + b"\n\n"
    )


def encode_named_sse(event: JSONObject) -> bytes:
    """A server-sent event named by the `type` of its data."""
    return b"event: " + str(event["type"]).encode() + b"\n" + encode_sse(event)
