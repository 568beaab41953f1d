"""Google Gemini's SDK: every request but those of the Interactions API passes `BaseApiClient`, whatever carries it.

Under `request`, `request_streamed` and their async twins lie four transports and the retries; the names of their
parameters are the same in google-genai 1.30 to 3.4 (read in November 2026). Interactions have a stack of their own
(`_gaos.basesdk`; in 2.0 that of the generator that openai and anthropic come from).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import urlsplit

from opentelemetry import context as otel

from promptcache.common.coerce import UNLIMITED_CHARS, JSONObject, as_mapping, as_str
from promptcache.common.safely import safely
from promptcache.patching.byte_stream import EXTENSION_KEY, observe_stream, parse_json_object
from promptcache.patching.cached_contents import (
    Endpoint,
    apply_cached_prefix,
    observe_cached_content_request,
)
from promptcache.patching.flow import Flow, StepResult
from promptcache.patching.request import cache_scope_key, start_invocation
from promptcache.patching.stainless import StainlessHooks, StainlessSDK
from promptcache.patching.wrapping import Hook
from promptcache.providers.google import cached_contents as gemini_caches
from promptcache.providers.google import wire as gemini
from promptcache.providers.wire_format import Route, find_route
from promptcache.telemetry.handler import RequestInfo, TelemetryHandler
from promptcache.telemetry.invocation import Invocation
from promptcache.telemetry.spans import should_instrument

VERTEX_PROVIDER: Final = "gcp.vertex_ai"
GEMINI_PROVIDER: Final = "gcp.gemini"
_INVOCATION_KEY: Final = otel.create_key("promptcache-gemini")
_PORTS: Final[Mapping[str, int]] = {"https": 443, "http": 80}


def provider_of_client(client: Any) -> str:
    """Whether a client speaks to Vertex AI or to the Gemini API."""
    return VERTEX_PROVIDER if getattr(client, "vertexai", None) else GEMINI_PROVIDER


def _endpoint(observer: TelemetryHandler, url: str, default: str) -> Endpoint:
    parts = urlsplit(url)
    return Endpoint(
        observer.provider_for_host(parts.hostname, default),
        parts.hostname,
        parts.port or _PORTS.get(parts.scheme),
    )


def _base_url(client: Any, options: object) -> str:
    """The address that a request goes to: the call's own, else the client's."""
    for given in (options, getattr(client, "_http_options", None)):
        url = as_str(as_mapping(given).get("base_url") or getattr(given, "base_url", None))
        if url is not None:
            return url
    return ""


def _start_invocation(
    observer: TelemetryHandler,
    endpoint: Endpoint,
    route: Route,
    path: str,
    body: JSONObject,
    cache_scope: object,
) -> Invocation:
    """The record of a call whose body is known before it is sent, opened and settled."""
    asked = RequestInfo(
        wire_format=route.wire_format,
        provider=endpoint.provider,
        model=as_str(body.get("model")) or as_str(body.get("agent")) or gemini.model_in_path(path),
        host=endpoint.host,
        port=endpoint.port,
        stream=":streamGenerateContent" in path or body.get("stream") is True,
        is_retrieval=route.is_retrieval,
    )
    record = start_invocation(observer, asked, body, cache_scope)
    safely(apply_cached_prefix, record, body)
    return record


def observe_request(observer: TelemetryHandler, client: Any, call: Mapping[str, Any]) -> Flow:
    """One request and its answer, plain or streamed: a call, or what is done to a named cache."""
    method, path, body = call["http_method"], call["path"], as_mapping(call["request_dict"])
    if not should_instrument():
        return _empty_flow()
    where = _endpoint(
        observer, _base_url(client, call.get("http_options")), provider_of_client(client)
    )
    operation = gemini_caches.cached_content_operation(method, path)
    if operation is not None:
        return observe_cached_content_request(observer, operation, where, path, body)
    route = find_route(gemini.ROUTES, method, path)
    if route is None:
        return _empty_flow()
    tenant = [as_str(getattr(client, name, None)) for name in ("api_key", "project", "location")]
    return _observe_generation(_start_invocation(observer, where, route, path, body, tenant))


def _empty_flow() -> Flow:
    yield None


def _observe_generation(invocation: Invocation) -> Flow:
    # The counts of a stream are cumulative: between its first chunk and its last, one is as good as the next.
    context = otel.set_value(_INVOCATION_KEY, invocation, invocation.context)
    ended, begun, latest = StepResult(is_final=False), False, ""
    try:
        while not ended.is_final:
            ended = yield context
            body = as_str(getattr(ended.result, "body", None), UNLIMITED_CHARS)
            if ended.error is not None:
                invocation.fail(ended.error)
            if body is not None and (ended.is_final or not begun or '"finishReason"' in body):
                safely(invocation.on_event, _with_service_tier(ended.result, body))
                begun, latest = True, ""
            elif body is not None:
                latest = body
    finally:
        if latest:
            safely(invocation.on_event, parse_json_object(latest.encode()))
        invocation.finish_or_defer(must_defer=ended.must_defer)


def _with_service_tier(response: Any, body: str) -> JSONObject:
    """A response with the tier that its header tells."""
    event = parse_json_object(body.encode())
    tier = as_mapping(getattr(response, "headers", None)).get(gemini.SERVICE_TIER_HEADER)
    return {**event, gemini.SERVICE_TIER_HEADER: tier} if tier else event


def count_attempt(observer: TelemetryHandler, client: Any, call: Mapping[str, Any]) -> Flow:
    """One attempt of a request; all after the first are resends."""
    record = cast("Invocation | None", otel.get_value(_INVOCATION_KEY))
    if record is not None:
        record.retries = 0 if record.retries is None else record.retries + 1
    yield None


def observe_interaction(observer: TelemetryHandler, sdk: Any, call: Mapping[str, Any]) -> Flow:
    """One request of the Interactions API, and its answer, read or yet to be read."""
    sent = call["request"]
    route = (
        find_route(gemini.INTERACTIONS_ROUTES, sent.method, sent.url.path)
        if should_instrument()
        else None
    )
    if route is None:
        yield None
        return
    default = VERTEX_PROVIDER if "aiplatform" in sent.url.host else GEMINI_PROVIDER
    body: JSONObject = parse_json_object(sent.content) if sent.method == "POST" else {}
    record = _start_invocation(
        observer,
        _endpoint(observer, str(sent.url), default),
        route,
        "",
        body,
        cache_scope_key(sent.headers),
    )
    ended = yield record.context
    response = ended.result
    if ended.error is not None:
        record.fail(ended.error)
    elif response.status_code >= 400:
        record.error_type = str(response.status_code)  # the SDK raises later, outside
    elif not response.is_closed:
        response.extensions[EXTENSION_KEY] = record
        observe_stream(response, record)
        return
    else:
        tier = response.headers.get(gemini.SERVICE_TIER_HEADER)
        safely(
            record.on_event,
            {
                **parse_json_object(response.content),
                **({gemini.SERVICE_TIER_HEADER: tier} if tier else {}),
            },
        )
    record.finish()


_REQUEST_PARAMETERS: Final = ("http_method", "path", "request_dict", "http_options")
HOOKS: Final[Mapping[str, tuple[Hook, ...]]] = {
    "google.genai._api_client": (
        Hook("BaseApiClient", "request", _REQUEST_PARAMETERS, observe_request),
        Hook("BaseApiClient", "async_request", _REQUEST_PARAMETERS, observe_request),
        Hook("BaseApiClient", "request_streamed", _REQUEST_PARAMETERS, observe_request),
        Hook("BaseApiClient", "async_request_streamed", _REQUEST_PARAMETERS, observe_request),
        Hook("BaseApiClient", "_request_once", ("http_request",), count_attempt),
        Hook("BaseApiClient", "_async_request_once", ("http_request",), count_attempt),
    ),
    "google.genai._gaos.basesdk": (
        Hook("BaseSDK", "do_request", ("request", "stream"), observe_interaction),
        Hook("AsyncBaseSDK", "do_request_async", ("request", "stream"), observe_interaction),
    ),
    "google.genai._interactions._base_client": StainlessHooks(
        StainlessSDK(gemini.INTERACTIONS_ROUTES, provider_of_client)
    ).hooks,
}
