"""The emulator without its server: a clock, a cache, what the providers remember, and one way in, `handle`."""

from __future__ import annotations

import json
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final

from promptcache_emulator import profiles
from promptcache_emulator.cache import CachePlan, CacheResult, PrefixCache
from promptcache_emulator.faults import NO_FAULT, Fault, FaultQueue, malform_usage
from promptcache_emulator.json_util import JSONObject, is_object
from promptcache_emulator.profiles import CacheProfile
from promptcache_emulator.routes import ROUTES
from promptcache_emulator.wire import ProviderError, ProviderRequest, ProviderResponse, Route

_MAX_STORED_VALUES: Final = 4096
USAGE_KEYS: Final = frozenset({"usage", "usageMetadata", "amazon-bedrock-invocationMetrics"})


class Clock:
    """Epoch seconds that tests can move: frozen at `start` if that is given, else the real clock and an offset."""

    def __init__(self, start: float | None = None) -> None:
        self._start, self._offset = start, 0.0

    def __call__(self) -> float:
        return (time.time() if self._start is None else self._start) + self._offset

    def advance(self, seconds: float) -> None:
        self._offset += seconds


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """The truth about one request that reached a cache, to hold reports against. `written` is by TTL."""

    timestamp: float
    path: str
    model: str
    cache_scope: str
    result: CacheResult
    output_tokens: int
    plan: CachePlan

    def to_json(self) -> JSONObject:
        """The record as JSON, without the prompt, and with a digest for the credential."""
        who = blake2b(self.cache_scope.encode(), digest_size=4).hexdigest()
        shown = {
            "at": self.timestamp,
            "path": self.path,
            "model": self.model,
            "tenant": who,
            "output": self.output_tokens,
        }
        usage = self.result
        return shown | {
            "input": usage.input_tokens,
            "read": usage.cache_read_tokens,
            "write": usage.cache_write_tokens,
            "written": dict(usage.cache_write_by_ttl),
            "uncached": usage.uncached_tokens,
            "reusable": usage.reusable_tokens,
        }


class Emulator:
    """All providers behind one `handle`. `overrides` overrides every profile (`minimum=2048,implicit=latest`)."""

    def __init__(self, clock: Callable[[], float] | None = None, overrides: str = "") -> None:
        self.clock = clock or Clock()
        self.cache = PrefixCache(self.clock)
        self.faults = FaultQueue()
        self.overrides = profiles.parse_overrides(overrides)
        self.records: deque[RequestRecord] = deque(maxlen=1000)
        self.totals: Counter[str] = Counter()
        self.requests_by_path: Counter[str] = Counter()
        self.resources: dict[str, Any] = {}
        self._stored_values: dict[str, Any] = {}

    def copy(self) -> Emulator:
        """An independent copy of all that is held: what would have happened had another request been sent."""
        twin = Emulator(self.clock)
        twin.cache, twin.overrides = self.cache.copy(), self.overrides
        twin.resources, twin._stored_values = dict(self.resources), dict(self._stored_values)
        return twin

    def reset(self) -> None:
        """Forgets everything but the clock and the rules."""
        self.cache.clear()
        self.faults.clear()
        for held in (
            self.records,
            self.totals,
            self.requests_by_path,
            self.resources,
            self._stored_values,
        ):
            held.clear()

    def store_value(self, name: str, value: Any) -> None:
        """Remembers a response under its id; the oldest are forgotten."""
        self._stored_values[name] = value
        if len(self._stored_values) > _MAX_STORED_VALUES:
            del self._stored_values[next(iter(self._stored_values))]

    def stored_value(self, name: str) -> Any:
        """What `store_value` was given under this name, None where it is not known."""
        return self._stored_values.get(name)

    def profile_for(
        self, table: tuple[CacheProfile, ...], model: str, request: ProviderRequest
    ) -> CacheProfile:
        """The profile in force for this request: dated row, then overrides, then those of its own header."""
        own = profiles.parse_overrides(request.headers.get("x-emulator-rules", ""))
        return profiles.select_profile(table, model, self.clock(), self.overrides | own)

    def run_cache_plan(
        self, request: ProviderRequest, model: str, plan: CachePlan, output_tokens: int
    ) -> tuple[CacheResult, Callable[[], None]]:
        """Asks the cache, keeps the record. Returns what was read and written, and the commit of what is written."""
        outcome, commit = self.cache.look_up(request.cache_scope, plan)
        self.record_request(request, model, plan, output_tokens, outcome)
        return outcome, commit

    def record_request(
        self,
        request: ProviderRequest,
        model: str,
        plan: CachePlan,
        output_tokens: int,
        result: CacheResult,
    ) -> None:
        """Keeps the record of a request that did not ask the cache: what it names is there."""
        self.records.append(
            RequestRecord(
                self.clock(), request.path, model, request.cache_scope, result, output_tokens, plan
            )
        )
        counts = {
            "input": result.input_tokens,
            "read": result.cache_read_tokens,
            "write": result.cache_write_tokens,
            "uncached": result.uncached_tokens,
        }
        self.totals.update(counts, settled=1, output=output_tokens)

    def handle(
        self,
        method: str,
        path: str,
        raw_body: bytes,
        headers: Mapping[str, str],
        query: Mapping[str, str],
    ) -> tuple[ProviderResponse, ProviderRequest]:
        """Answers one request. `headers` have lower-case names. Never raises on a request that a provider refuses."""
        self.requests_by_path[f"{method} {path}"] += 1
        incoming = ProviderRequest(
            method, path, {}, headers, query, cache_scope_of(headers, query), NO_FAULT
        )
        route, params = _find_route(method, path)
        if route is None:
            return ProviderResponse(
                {"error": {"message": f"no such path: {method} {path}"}}, status=404
            ), incoming
        try:
            incoming = replace(
                incoming,
                fault=self._take_fault(path, headers, raw_body),
                path_params=params,
                body=_parse_body(raw_body),
            )
            return _apply_fault(self._call_handler(route, incoming), incoming), incoming
        except ProviderError as refused:
            return ProviderResponse(
                route.error_body(refused),
                status=refused.status,
                headers=_retry_headers(refused.status),
            ), incoming

    def _take_fault(self, path: str, headers: Mapping[str, str], raw_body: bytes) -> Fault:
        try:
            return self.faults.take(path, headers, raw_body)
        except ValueError as error:
            raise ProviderError(400, f"x-emulator-fault: {error}") from error

    def _call_handler(self, route: Route, request: ProviderRequest) -> ProviderResponse:
        """The provider's answer. What no handler could make sense of is refused, as a provider's validation would."""
        if status := request.fault.status:
            raise ProviderError(status, "a fault on demand", _ERROR_TYPES.get(status, "api_error"))
        try:
            return route.handler(self, request)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ProviderError(400, f"malformed request: {error!r}") from error

    def post(
        self,
        path: str,
        body: JSONObject,
        api_key: str = "key",
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """In-process: the JSON of the answer, or the list of its stream's events. Cache entries are made at once."""
        sent = {"authorization": f"Bearer {api_key}"} | {
            name.lower(): text for name, text in (headers or {}).items()
        }
        answer, _ = self.handle("POST", path, json.dumps(body).encode(), sent, {})
        answer.commit()
        return answer.body if answer.events is None else answer.events


_ERROR_TYPES: Final = {
    429: "rate_limit_error",
    500: "server_error",
    503: "overloaded_error",
    529: "overloaded_error",
}


def cache_scope_of(headers: Mapping[str, str], query: Mapping[str, str]) -> str:
    """The credential, in any of the places where the SDKs put it; of an AWS signature only the access key."""
    for name in ("x-api-key", "api-key", "x-goog-api-key", "authorization"):
        if value := headers.get(name):
            signed = re.match(r"AWS4-HMAC-SHA256 Credential=([^/]+)/", value)
            return signed[1] if signed else value.removeprefix("Bearer ")
    return query.get("key", "")


def _find_route(method: str, path: str) -> tuple[Route | None, dict[str, str]]:
    for route in ROUTES:
        if (params := route.match(method, path)) is not None:
            return route, params
    return None, {}


def _parse_body(raw_body: bytes) -> JSONObject:
    try:
        body = json.loads(raw_body or b"{}")
    except ValueError as error:
        raise ProviderError(400, f"the body is not JSON: {error}") from error
    if not is_object(body):
        raise ProviderError(400, "the body is not a JSON object")
    return body


def _retry_headers(status: int) -> dict[str, str]:
    return {"retry-after-ms": "1"} if status in {408, 409, 429} or status >= 500 else {}


def _apply_fault(response: ProviderResponse, request: ProviderRequest) -> ProviderResponse:
    fault = request.fault
    if fault.usage:
        response.body = malform_usage(response.body, fault.usage, USAGE_KEYS)
        response.events = malform_usage(response.events, fault.usage, USAGE_KEYS)
    if (
        fault.error_event is not None
        and response.events is not None
        and response.error_event is not None
    ):
        response.events = [*response.events[: fault.error_event], response.error_event]
    return response


def request_summary(emulator: Emulator) -> JSONObject:
    """The counters of `GET /_emulator/requests`: requests by path, sums over all of them, the last hundred records."""
    last = [record.to_json() for record in list(emulator.records)[-100:]]
    names = ("settled", "input", "read", "write", "uncached", "output")
    totals = {name: emulator.totals[name] for name in names}
    return {
        "requests": emulator.requests_by_path.total(),
        "paths": dict(emulator.requests_by_path),
        "totals": totals,
        "last": last,
    }
