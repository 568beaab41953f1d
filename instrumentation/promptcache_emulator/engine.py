"""The emulator without its HTTP server."""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from promptcache_emulator.cache import CacheResult, CommitWrites, PrefixCache
from promptcache_emulator.cache_plan import CachePlan
from promptcache_emulator.clock import Clock
from promptcache_emulator.errors import ProviderError
from promptcache_emulator.fault_queue import FaultQueue
from promptcache_emulator.faults import NO_FAULT, InjectedFault
from promptcache_emulator.json_util import JSONObject
from promptcache_emulator.malformed_usage import make_usage_malformed
from promptcache_emulator.profile_overrides import parse_profile_overrides
from promptcache_emulator.profiles import CacheProfile, select_profile
from promptcache_emulator.request import ProviderRequest
from promptcache_emulator.request_record import RequestRecord
from promptcache_emulator.response import ProviderResponse
from promptcache_emulator.retention import BoundedStore
from promptcache_emulator.routes import ROUTES
from promptcache_emulator.routing import Route

_MAX_STORED_VALUES: Final = 4096
_MAX_RESOURCES: Final = 1024
MAX_RETAINED_BYTES: Final = 256 << 20
"""Of the bodies whose responses are stored, and again of those that made resources."""
_LARGE_BODY_BYTES: Final = 1 << 20
_MAX_LARGE_RECORDS: Final = 16
"""Records hold their prompts: after a large one, only so many of the last records are kept."""
_MAX_PATHS: Final = 1024
_MAX_MESSAGE_LENGTH: Final = 500
OTHER_PATHS: Final = "_OTHER"
"""Counts the requests to all further paths once there are many."""
_MALFORMED: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a handler raises on a body of another shape than the provider's."""
_USAGE_KEYS: Final = frozenset({"usage", "usageMetadata", "amazon-bedrock-invocationMetrics"})
_ERROR_TYPES: Final = {
    429: "rate_limit_error",
    500: "server_error",
    503: "overloaded_error",
    529: "overloaded_error",
}


class Emulator:
    """All providers behind one method, `handle_request`.

    `clock` returns epoch seconds. `overrides` applies to every cache profile, such as
    `minimum=2048,implicit=latest`. Raise ValueError for unknown overrides.
    """

    def __init__(self, clock: Callable[[], float] | None = None, overrides: str = "") -> None:
        self.clock = clock or Clock()
        self.cache = PrefixCache(self.clock)
        self.faults = FaultQueue()
        self.overrides = parse_profile_overrides(overrides)
        self.records: deque[RequestRecord] = deque(maxlen=1000)
        self.totals: Counter[str] = Counter()
        self.requests_by_path: Counter[str] = Counter()
        self.resources: dict[str, Any] = {}
        self._resource_sizes: dict[str, int] = {}
        self._stored_values: BoundedStore[Any] = BoundedStore(
            _MAX_STORED_VALUES, MAX_RETAINED_BYTES
        )
        self._body_size = 0

    def copy(self) -> Emulator:
        """Return an independent copy, to try another request against the same state."""
        other = Emulator(self.clock)
        other.cache, other.overrides = self.cache.copy(), self.overrides
        other.resources, other._resource_sizes = dict(self.resources), dict(self._resource_sizes)
        other._stored_values = self._stored_values.copy()
        return other

    def reset(self) -> None:
        """Clear everything except the clock and the overrides."""
        self.cache.clear()
        self.faults.clear()
        for collection in (
            self.records,
            self.totals,
            self.requests_by_path,
            self.resources,
            self._resource_sizes,
            self._stored_values,
        ):
            collection.clear()

    def store_resource(self, name: str, value: Any) -> None:
        """Store a cached content or a batch. Raise ProviderError if there are too many."""
        kept = sum(size for one, size in self._resource_sizes.items() if one in self.resources)
        if len(self.resources) >= _MAX_RESOURCES or kept + self._body_size > MAX_RETAINED_BYTES:
            raise ProviderError(429, "too many or too large resources; delete some")
        self.resources[name], self._resource_sizes[name] = value, self._body_size

    def store_value(self, name: str, value: Any) -> None:
        """Store a value, such as a response under its id. The oldest values are dropped."""
        self._stored_values.add(name, value, self._body_size)

    def stored_value(self, name: str) -> Any:
        """Return the value stored under this name, or None."""
        return self._stored_values.get(name)

    def profile_for(
        self, profiles: tuple[CacheProfile, ...], model: str, request: ProviderRequest
    ) -> CacheProfile:
        """Return the row in force, with the emulator's overrides, then those of the request."""
        requested = parse_profile_overrides(request.headers.get("x-emulator-rules", ""))
        return select_profile(profiles, model, self.clock(), self.overrides | requested)

    def run_cache_plan(
        self, request: ProviderRequest, model: str, plan: CachePlan, output_tokens: int
    ) -> tuple[CacheResult, CommitWrites]:
        """Run the plan against the cache and record the request.

        Return the tokens read and written, and the function that stores the entries.
        """
        result, commit = self.cache.plan_request(request.cache_scope, plan)
        self.record_request(request, model, plan, output_tokens, result)
        return result, commit

    def record_request(
        self,
        request: ProviderRequest,
        model: str,
        plan: CachePlan,
        output_tokens: int,
        result: CacheResult,
    ) -> None:
        """Record a request and add it to the totals."""
        self.records.append(
            RequestRecord(
                self.clock(), request.path, model, request.cache_scope, result, output_tokens, plan
            )
        )
        if self._body_size > _LARGE_BODY_BYTES:
            while len(self.records) > _MAX_LARGE_RECORDS:
                self.records.popleft()
        counts = {
            "input": result.input_tokens,
            "read": result.cache_read_tokens,
            "write": result.cache_write_tokens,
            "uncached": result.uncached_tokens,
        }
        self.totals.update(counts, settled=1, output=output_tokens)

    def handle_request(
        self,
        method: str,
        path: str,
        raw_body: bytes,
        headers: Mapping[str, str],
        query: Mapping[str, str],
    ) -> tuple[ProviderResponse, ProviderRequest]:
        """Answer one request. Header names are lower case.

        A request that the provider refuses becomes a response with an error status; it raises
        nothing.
        """
        self._count_request(f"{method} {path}")
        self._body_size = len(raw_body)
        cache_scope = cache_scope_of(headers, query)
        request = ProviderRequest(method, path, {}, headers, query, cache_scope, NO_FAULT)
        route, path_params = _find_route(method, path)
        if route is None:
            message = f"no such path: {method} {path}"
            return ProviderResponse({"error": {"message": message}}, status=404), request
        try:
            fault = self._take_fault(path, headers, raw_body)
            body = _parse_body(route, raw_body, headers)
            request = replace(request, fault=fault, path_params=path_params, body=body)
            return _apply_fault(self._call_handler(route, request), request), request
        except ProviderError as error:
            return _error_response(route, error), request

    def _count_request(self, name: str) -> None:
        known = name in self.requests_by_path or len(self.requests_by_path) < _MAX_PATHS
        self.requests_by_path[name if known else OTHER_PATHS] += 1

    def _take_fault(self, path: str, headers: Mapping[str, str], raw_body: bytes) -> InjectedFault:
        try:
            return self.faults.take_fault(path, headers, raw_body)
        except ValueError as error:
            raise ProviderError(400, f"x-emulator-fault: {error}") from error

    def _call_handler(self, route: Route, request: ProviderRequest) -> ProviderResponse:
        """Call the handler. A malformed request is refused, as a provider's validation does."""
        if status := request.fault.status:
            raise ProviderError(status, "a fault on demand", _ERROR_TYPES.get(status, "api_error"))
        try:
            return route.handler(self, request)
        except _MALFORMED as error:
            message = f"malformed request: {error!r}"[:_MAX_MESSAGE_LENGTH]
            raise ProviderError(400, message) from error

    def post_json(
        self,
        path: str,
        body: JSONObject,
        api_key: str = "key",
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Post a request in this process and commit its cache writes.

        Return the JSON body of the response, or the list of events of a stream.
        """
        lower_case = {name.lower(): value for name, value in (headers or {}).items()}
        all_headers = {"authorization": f"Bearer {api_key}"} | lower_case
        response, _ = self.handle_request("POST", path, json.dumps(body).encode(), all_headers, {})
        response.commit()
        return response.body if response.events is None else response.events


def cache_scope_of(headers: Mapping[str, str], query: Mapping[str, str]) -> str:
    """Return the credential. Of an AWS signature this is the access key only."""
    for name in ("x-api-key", "api-key", "x-goog-api-key", "authorization"):
        if value := headers.get(name):
            signature = re.match(r"AWS4-HMAC-SHA256 Credential=([^/]+)/", value)
            return signature[1] if signature else value.removeprefix("Bearer ")
    return query.get("key", "")


def _find_route(method: str, path: str) -> tuple[Route | None, dict[str, str]]:
    for route in ROUTES:
        if (path_params := route.match_request(method, path)) is not None:
            return route, path_params
    return None, {}


def _parse_body(route: Route, raw_body: bytes, headers: Mapping[str, str]) -> JSONObject:
    try:
        return route.parse_body(raw_body, headers)
    except ValueError as error:
        raise ProviderError(400, str(error)) from error


def _error_response(route: Route, error: ProviderError) -> ProviderResponse:
    is_retryable = error.status in {408, 409, 429} or error.status >= 500
    headers = {"retry-after-ms": "1"} if is_retryable else {}
    return ProviderResponse(route.error_body(error), status=error.status, headers=headers)


def _apply_fault(response: ProviderResponse, request: ProviderRequest) -> ProviderResponse:
    fault = request.fault
    if fault.usage_shape:
        response.body = make_usage_malformed(response.body, fault.usage_shape, _USAGE_KEYS)
        response.events = make_usage_malformed(response.events, fault.usage_shape, _USAGE_KEYS)
    last = fault.error_after_events
    if last is not None and response.events is not None and response.error_event is not None:
        response.events = [*response.events[:last], response.error_event]
    return response


def request_summary(emulator: Emulator) -> JSONObject:
    """Return the body of `GET /_emulator/requests`.

    It has the number of requests by path, sums over all requests, and the last hundred records.
    """
    last = [record.to_json() for record in list(emulator.records)[-100:]]
    names = ("settled", "input", "read", "write", "uncached", "output")
    return {
        "requests": emulator.requests_by_path.total(),
        "paths": dict(emulator.requests_by_path),
        "totals": {name: emulator.totals[name] for name in names},
        "last": last,
    }
