"""The hooks of LiteLLM, for the requests that it sends without the SDK of a provider.

All of these requests run through `post` of LiteLLM's two HTTP handlers: `completion`,
`acompletion`, `responses`, `anthropic_messages`, the router, and names that were imported before we
patched. The request and response bodies there are the provider's own, hence with all that the
provider reports. A response from LiteLLM's own cache or from a mock is no call, and does not run
through `post`. LiteLLM sends OpenAI's and Azure's chat models through the openai SDK, which has its
own hooks, and never through these handlers; so no call is recorded twice. Each request is a call of
its own: LiteLLM's retries and fallbacks may go to another model, region or account.

Parameter names were read in litellm 1.60 to 1.106, November 2026. Not observed: WebSockets
(realtime), the provider `aiohttp_openai`, the Rust bridge (`LITELLM_RUST`), and providers with a
wire format of their own (Cohere, Ollama ...).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple, final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from promptcache.common.coerce import JSONObject, as_mapping, as_str
from promptcache.common.safely import safely
from promptcache.patching.byte_stream import observe_stream
from promptcache.patching.cached_contents import (
    observe_cached_content_request,
    use_cached_content_hashes_as_prefix,
)
from promptcache.patching.endpoint import ProviderEndpoint, port_or_scheme_default
from promptcache.patching.event_decoder import parse_json_object
from promptcache.patching.flow import Flow, pass_through_flow
from promptcache.patching.hook import Hook
from promptcache.patching.request import credential_from_headers, start_invocation
from promptcache.patching.response_reader import read_complete_response
from promptcache.providers.anthropic import wire as anthropic
from promptcache.providers.bedrock import wire as bedrock
from promptcache.providers.google import wire as gemini
from promptcache.providers.google.cached_contents import cached_content_operation
from promptcache.providers.registry import PROVIDERS, iter_routes_of_all_providers
from promptcache.providers.wire_format import WireFormat, find_route
from promptcache.telemetry.foreign_spans import should_instrument
from promptcache.telemetry.handler import TelemetryHandler
from promptcache.telemetry.invocation import Invocation
from promptcache.telemetry.request_info import RequestInfo

ROUTES: Final = tuple(iter_routes_of_all_providers())
PROVIDER_NAMES: Final[Mapping[str, str]] = {
    name: row.name for row in PROVIDERS for name in row.litellm_names
}
"""LiteLLM's names of providers -> OpenTelemetry's, where the two differ."""
_BEDROCK_PATH: Final = re.compile(
    r"/model/([^/]+)/(converse|converse-stream|invoke|invoke-with-response-stream)$"
)
_BEDROCK_OPERATIONS: Final[Mapping[str, str]] = {
    "converse": "Converse",
    "converse-stream": "ConverseStream",
    "invoke": "InvokeModel",
    "invoke-with-response-stream": "InvokeModelWithResponseStream",
}
_VERTEX_MODEL_PATH: Final = re.compile(r"/models/([^/:]+):\w+$")


def _provider_of_call(
    handler: TelemetryHandler,
    wire_format: WireFormat,
    url: SplitResult,
    arguments: Mapping[str, Any],
    model: str | None = None,
) -> str:
    """Return the provider by the host, else by LiteLLM's name for it, else by the wire format."""
    details = as_mapping(getattr(arguments.get("logging_obj"), "model_call_details", None))
    name = as_str(details.get("custom_llm_provider")) or _guess_provider_by_url(wire_format, url)
    if name == "azure_ai" and wire_format is anthropic.MESSAGES:
        return handler.provider_for_host(
            url.hostname, "anthropic", model=model, ignore_registered_hosts=True
        )
    return handler.provider_for_host(url.hostname, PROVIDER_NAMES.get(name, name), model=model)


def _guess_provider_by_url(wire_format: WireFormat, url: SplitResult) -> str:
    if _BEDROCK_PATH.search(url.path):
        return "bedrock"
    if "/projects/" in url.path:
        return "vertex_ai"
    if wire_format is gemini.GENERATE_CONTENT:
        return "gemini"
    return wire_format.name.partition(".")[0]


@final
class _ParsedRequest(NamedTuple):
    """The parts of a request that identify the call."""

    wire_format: WireFormat
    model: str | None
    is_retrieval: bool
    body: JSONObject


def _parse_request(
    method: str, url: SplitResult, arguments: Mapping[str, Any]
) -> _ParsedRequest | None:
    """Return the parsed request; None if it is no LLM call."""
    if match := _BEDROCK_PATH.search(url.path):
        body, model = _request_body_as_json(arguments), as_str(unquote(match[1]))
        wire_format = bedrock.wire_format_of_operation(_BEDROCK_OPERATIONS[match[2]], model, body)
        return wire_format and _ParsedRequest(wire_format, model, False, body)
    route = find_route(ROUTES, method, url.path)
    # The body of any other request is not parsed.
    if route is None or route.is_batch_results:
        return None
    body, in_path = _request_body_as_json(arguments), _VERTEX_MODEL_PATH.search(url.path)
    model = as_str(body.get("model")) or (as_str(unquote(in_path[1])) if in_path else None)
    if not model and not route.is_retrieval:
        return None
    return _ParsedRequest(route.wire_format, model, route.is_retrieval, body)


def _request_body_as_json(arguments: Mapping[str, Any]) -> JSONObject:
    """Return the body as plain data. LiteLLM passes it in one of three parameters."""
    body = next(
        (arguments[name] for name in ("json", "data", "content") if arguments.get(name)), None
    )
    if isinstance(body, str):
        body = body.encode()
    return parse_json_object(body) if isinstance(body, bytes) else as_mapping(body)


def _start_invocation(
    handler: TelemetryHandler, method: str, arguments: Mapping[str, Any]
) -> Invocation | None:
    """Start the invocation of a request; return None if it is no LLM call."""
    url = urlsplit(str(arguments["url"]))
    request = _parse_request(method, url, arguments)
    if request is None:
        return None
    request_info = RequestInfo(
        request.wire_format,
        _provider_of_call(handler, request.wire_format, url, arguments, request.model),
        request.model,
        url.hostname,
        port_or_scheme_default(url),
        stream=bool(arguments.get("stream")),
        is_retrieval=request.is_retrieval,
    )
    headers = {
        str(name).lower(): str(value)
        for name, value in as_mapping(arguments.get("headers")).items()
    }
    body = request.body
    if "anthropic-beta" in headers:
        body = {anthropic.BETAS_FIELD: headers["anthropic-beta"].split(","), **body}
    cache_scope = credential_from_headers(headers) or next(
        iter(parse_qs(url.query).get("key", ())), ""
    )
    invocation = start_invocation(handler, request_info, body, cache_scope)
    safely(use_cached_content_hashes_as_prefix, invocation, request.body)
    return invocation


def observe_request(
    method: str, handler: TelemetryHandler, http_handler: Any, arguments: Mapping[str, Any]
) -> Flow:
    """Observe one request and its response.

    It is an LLM call, a request about cached contents, or a request that is not recorded.
    """
    if not should_instrument():
        return pass_through_flow()
    url = urlsplit(str(arguments["url"]))
    operation = cached_content_operation(method, url.path)
    if operation is not None:
        provider = _provider_of_call(handler, gemini.GENERATE_CONTENT, url, arguments)
        endpoint, body = (
            ProviderEndpoint(provider, url.hostname, port_or_scheme_default(url)),
            _request_body_as_json(arguments),
        )
        return observe_cached_content_request(handler, operation, endpoint, url.path, body)
    invocation = _start_invocation(handler, method, arguments)
    return pass_through_flow() if invocation is None else _observe_call(invocation)


def _observe_call(invocation: Invocation) -> Flow:
    result = yield invocation.own_context
    response = result.result
    if result.error is not None:
        status = getattr(getattr(result.error, "response", None), "status_code", None)
        invocation.error_type = str(status) if status else type(result.error).__name__
    else:
        tier = response.headers.get(gemini.SERVICE_TIER_HEADER)
        if tier:
            safely(invocation.on_event, {gemini.SERVICE_TIER_HEADER: tier})
        if not response.is_closed:
            observe_stream(response, invocation)
            return
        safely(read_complete_response, response, invocation)
    invocation.finish()


_OBSERVE_POST: Final[Callable[..., Flow]] = partial(observe_request, "POST")
_OBSERVE_GET: Final[Callable[..., Flow]] = partial(observe_request, "GET")
_POST_PARAMETERS: Final = ("url", "data", "json", "headers", "stream")
HOOKS: Final[Mapping[str, tuple[Hook, ...]]] = {
    "litellm.llms.custom_httpx.http_handler": tuple(
        hook
        for class_name in ("HTTPHandler", "AsyncHTTPHandler")
        for hook in (
            Hook(class_name, "post", _POST_PARAMETERS, _OBSERVE_POST),
            Hook(class_name, "get", ("url", "headers"), _OBSERVE_GET),
        )
    ),
}
"""The hooks of each module of LiteLLM."""
