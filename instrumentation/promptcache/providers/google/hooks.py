"""The hooks of google-genai.

Every request runs through `BaseApiClient`, except those of the Interactions API. Four transports
and the retries run below `request`, `request_streamed` and their async twins. The parameter names
are the same in google-genai 1.30 to 3.4 (read in November 2026). Interactions have their own client
stack: `_gaos.basesdk`, and in 2.0 a client that Stainless generated.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any, BinaryIO, Final, cast
from urllib.parse import urlsplit

from opentelemetry import context as otel

from promptcache.common.coerce import UNLIMITED_CHARS, JSONObject, as_mapping, as_str
from promptcache.common.safely import safely
from promptcache.patching.byte_stream import observe_stream
from promptcache.patching.cached_contents import (
    observe_cached_content_request,
    use_cached_content_hashes_as_prefix,
)
from promptcache.patching.endpoint import ProviderEndpoint, port_or_scheme_default
from promptcache.patching.event_decoder import parse_json_object
from promptcache.patching.flow import Flow, StepResult, pass_through_flow
from promptcache.patching.hook import Hook
from promptcache.patching.request import credential_from_headers, start_invocation
from promptcache.patching.response_reader import (
    PIECE_BYTES,
    ResponseReader,
    finish_after_reading,
    read_complete_response,
    read_content,
    read_pieces,
)
from promptcache.patching.stainless import StainlessHooks, StainlessSDK
from promptcache.providers.google import wire
from promptcache.providers.google.cached_contents import cached_content_operation
from promptcache.providers.wire_format import Route, find_route
from promptcache.telemetry.batch_results import BatchResultsInvocation
from promptcache.telemetry.foreign_spans import should_instrument
from promptcache.telemetry.handler import TelemetryHandler
from promptcache.telemetry.invocation import Invocation
from promptcache.telemetry.request_info import RequestInfo

VERTEX_PROVIDER: Final = "gcp.vertex_ai"
GEMINI_PROVIDER: Final = "gcp.gemini"
_INVOCATION_KEY: Final = otel.create_key("promptcache-gemini")


def provider_of_client(client: Any) -> str:
    """Return the provider that a client calls: Vertex AI or the Gemini API."""
    return VERTEX_PROVIDER if getattr(client, "vertexai", None) else GEMINI_PROVIDER


def _endpoint_of_url(
    handler: TelemetryHandler, url: str, default_provider: str
) -> ProviderEndpoint:
    parts = urlsplit(url)
    provider = handler.provider_for_host(parts.hostname, default_provider)
    return ProviderEndpoint(provider, parts.hostname, port_or_scheme_default(parts))


def _base_url(client: Any, options: object) -> str:
    """Return the base URL in the options of the call; without one, the base URL of the client."""
    for http_options in (options, getattr(client, "_http_options", None)):
        base_url = as_mapping(http_options).get("base_url") or getattr(
            http_options, "base_url", None
        )
        url = as_str(base_url)
        if url is not None:
            return url
    return ""


def _start_invocation(
    handler: TelemetryHandler,
    endpoint: ProviderEndpoint,
    route: Route,
    path: str,
    body: JSONObject,
    cache_scope: object,
) -> Invocation:
    """Start the invocation of a call that is about to be sent."""
    request_info = RequestInfo(
        wire_format=route.wire_format,
        provider=endpoint.provider,
        model=as_str(body.get("model")) or as_str(body.get("agent")) or wire.model_in_path(path),
        host=endpoint.host,
        port=endpoint.port,
        stream=":streamGenerateContent" in path or body.get("stream") is True,
        is_retrieval=route.is_retrieval,
    )
    invocation = start_invocation(handler, request_info, body, cache_scope)
    safely(use_cached_content_hashes_as_prefix, invocation, body)
    return invocation


def observe_request(handler: TelemetryHandler, client: Any, arguments: Mapping[str, Any]) -> Flow:
    """Observe one request and its response: an LLM call, or a request about cached contents."""
    if not should_instrument():
        return pass_through_flow()
    method, path = arguments["http_method"], arguments["path"]
    body = as_mapping(arguments["request_dict"])
    base_url = _base_url(client, arguments.get("http_options"))
    endpoint = _endpoint_of_url(handler, base_url, provider_of_client(client))
    operation = cached_content_operation(method, path)
    if operation is not None:
        return observe_cached_content_request(handler, operation, endpoint, path, body)
    route = find_route(wire.ROUTES, method, path)
    if route is None:
        return pass_through_flow()
    if route.is_batch_results:
        return _observe_batch_job(_start_batch_reading(handler, endpoint, route, path))
    cache_scope = [
        as_str(getattr(client, name, None)) for name in ("api_key", "project", "location")
    ]
    return _observe_generation(_start_invocation(handler, endpoint, route, path, body, cache_scope))


def _observe_generation(invocation: Invocation) -> Flow:
    # A stream's usage counters are cumulative. So only the first chunk, chunks with a finish reason
    # and the last chunk are parsed at once.
    context = otel.set_value(_INVOCATION_KEY, invocation, invocation.context)
    result, has_first_chunk, unparsed = StepResult(is_final=False), False, ""
    try:
        while not result.is_final:
            result = yield context
            body = as_str(getattr(result.result, "body", None), UNLIMITED_CHARS)
            if result.error is not None:
                invocation.fail(result.error)
            if body is None:
                continue
            if result.is_final or not has_first_chunk or '"finishReason"' in body:
                safely(invocation.on_event, _parse_body_with_service_tier(result.result, body))
                has_first_chunk, unparsed = True, ""
            else:
                unparsed = body
    finally:
        if unparsed:
            safely(invocation.on_event, parse_json_object(unparsed.encode()))
        end = invocation.finalize if result.is_abandoned else invocation.finish
        end()


def _parse_body_with_service_tier(response: Any, body: str) -> JSONObject:
    """Return the parsed body with the service tier from the response's header."""
    event = parse_json_object(body.encode())
    tier = as_mapping(getattr(response, "headers", None)).get(wire.SERVICE_TIER_HEADER)
    return {**event, wire.SERVICE_TIER_HEADER: tier} if tier else event


def _start_batch_reading(
    handler: TelemetryHandler, endpoint: ProviderEndpoint, route: Route, path: str
) -> BatchResultsInvocation:
    return BatchResultsInvocation(
        handler,
        RequestInfo(
            wire_format=route.wire_format,
            provider=endpoint.provider,
            model=None,
            host=endpoint.host,
            port=endpoint.port,
            stream=False,
            batch_results_url=path.partition("?")[0],
        ),
    )


def _observe_batch_job(invocation: BatchResultsInvocation) -> Flow:
    """Observe a request for a batch job. A finished job has the results of inlined requests."""
    result = yield None
    body = as_str(getattr(result.result, "body", None), UNLIMITED_CHARS) or ""
    if '"inlinedResponses"' in body:
        safely(_read_batch_job, invocation, parse_json_object(body.encode()))
    invocation.finish()


def _read_batch_job(invocation: BatchResultsInvocation, job: JSONObject) -> None:
    invocation.request_info = invocation.request_info._replace(model=wire.model_of_batch(job))
    for result in wire.inlined_batch_results(job):
        invocation.on_event(as_mapping(result))
    invocation.on_last_byte()


def observe_download(handler: TelemetryHandler, client: Any, arguments: Mapping[str, Any]) -> Flow:
    """Observe the download of a file. It may hold the results of a batch."""
    path = arguments["path"]
    route = find_route(wire.ROUTES, "GET", path) if should_instrument() else None
    if route is None:
        return pass_through_flow()
    base_url = _base_url(client, arguments.get("http_options"))
    endpoint = _endpoint_of_url(handler, base_url, provider_of_client(client))
    invocation = _start_batch_reading(handler, endpoint, route, path)
    return _observe_batch_file(invocation, arguments.get("destination"))


def _observe_batch_file(invocation: BatchResultsInvocation, destination: Any) -> Flow:
    """Read the content that the SDK returned, or the file that it wrote.

    Nothing is read if the SDK wrote into an object of the application.
    """
    result = yield None
    reader = ResponseReader(invocation, {})
    if isinstance(result.result, bytes):
        content = result.result
        finish_after_reading(invocation, len(content), partial(read_content, reader, content))
    elif _is_path(destination) and os.path.isfile(destination):
        # The application may move the file while a thread reads it.
        file = open(destination, "rb")  # noqa: SIM115  # the function that reads it closes it
        size = os.fstat(file.fileno()).st_size
        finish_after_reading(invocation, size, partial(_read_file, reader, file))
    else:
        invocation.finish()


def _is_path(destination: object) -> bool:
    return isinstance(destination, str) or hasattr(destination, "__fspath__")


def _read_file(reader: ResponseReader, file: BinaryIO) -> None:
    with file:
        read_pieces(reader, iter(lambda: file.read(PIECE_BYTES), b""))


def count_attempt(handler: TelemetryHandler, client: Any, arguments: Mapping[str, Any]) -> Flow:
    """Count one attempt of a request. Every attempt after the first is a retry."""
    invocation = cast("Invocation | None", otel.get_value(_INVOCATION_KEY))
    if invocation is not None:
        invocation.retries = 0 if invocation.retries is None else invocation.retries + 1
    yield None


def observe_interaction(handler: TelemetryHandler, sdk: Any, arguments: Mapping[str, Any]) -> Flow:
    """Observe one request of the Interactions API, and its response, which may be unread."""
    request, route = arguments["request"], None
    if should_instrument():
        route = find_route(wire.INTERACTIONS_ROUTES, request.method, request.url.path)
    if route is None:
        yield None
        return
    provider = VERTEX_PROVIDER if "aiplatform" in request.url.host else GEMINI_PROVIDER
    endpoint = _endpoint_of_url(handler, str(request.url), provider)
    body: JSONObject = parse_json_object(request.content) if request.method == "POST" else {}
    cache_scope = credential_from_headers(request.headers)
    invocation = _start_invocation(handler, endpoint, route, "", body, cache_scope)
    result = yield invocation.context
    response = result.result
    if result.error is not None:
        invocation.fail(result.error)
    elif response.status_code >= 400:
        # The SDK raises its error later, outside of this step.
        invocation.error_type = str(response.status_code)
    elif not response.is_closed:
        observe_stream(response, invocation)
        return
    else:
        safely(_read_interaction, invocation, response)
    invocation.finish()


def _read_interaction(invocation: Invocation, response: Any) -> None:
    """Read a response whose body is in memory: that of a mock transport may be a whole stream."""
    if "text/event-stream" in response.headers.get("content-type", ""):
        read_complete_response(response, invocation)
        return
    tier = response.headers.get(wire.SERVICE_TIER_HEADER)
    tier_field = {wire.SERVICE_TIER_HEADER: tier} if tier else {}
    invocation.on_event({**parse_json_object(response.content), **tier_field})


_REQUEST_PARAMETERS: Final = ("http_method", "path", "request_dict", "http_options")
HOOKS: Final[Mapping[str, tuple[Hook, ...]]] = {
    "google.genai._api_client": (
        Hook("BaseApiClient", "request", _REQUEST_PARAMETERS, observe_request),
        Hook("BaseApiClient", "async_request", _REQUEST_PARAMETERS, observe_request),
        Hook("BaseApiClient", "request_streamed", _REQUEST_PARAMETERS, observe_request),
        Hook("BaseApiClient", "async_request_streamed", _REQUEST_PARAMETERS, observe_request),
        Hook("BaseApiClient", "download_file", ("path",), observe_download, is_optional=True),
        Hook("BaseApiClient", "async_download_file", ("path",), observe_download, is_optional=True),
        Hook("BaseApiClient", "_request_once", ("http_request",), count_attempt),
        Hook("BaseApiClient", "_async_request_once", ("http_request",), count_attempt),
    ),
    "google.genai._gaos.basesdk": (
        Hook("BaseSDK", "do_request", ("request", "stream"), observe_interaction),
        Hook("AsyncBaseSDK", "do_request_async", ("request", "stream"), observe_interaction),
    ),
    "google.genai._interactions._base_client": StainlessHooks(
        StainlessSDK(wire.INTERACTIONS_ROUTES, provider_of_client)
    ).hooks,
}
"""The hooks of each module of the SDK."""
