"""LiteLLM: what it sends by itself, without a provider's SDK, passes the `post` of its two HTTP handlers.

`completion`, `acompletion`, `responses`, `anthropic_messages`, the router and names imported before us all end there,
with the provider's own body and its own answer, hence with all that the provider reports; what LiteLLM answers from its
own cache or from a mock does not get there, and is no call. OpenAI's and Azure's chat models go through the openai SDK,
where we stand anyway, and never through these handlers: no call is seen twice. Each request that LiteLLM sends is a
call: its retries and fallbacks may go to another model, region or account.

Parameter names read in litellm 1.60 to 1.106, November 2026. Not seen: its sockets (realtime), its `aiohttp_openai`
provider, its Rust bridge (`LITELLM_RUST`), and providers with a wire of their own (Cohere, Ollama ...).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple, final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from promptcache.common.coerce import JSONObject, as_mapping, as_str
from promptcache.common.safely import safely
from promptcache.patching.byte_stream import (
    EXTENSION_KEY,
    observe_stream,
    parse_json_object,
    read_buffered_response,
)
from promptcache.patching.cached_contents import (
    Endpoint,
    apply_cached_prefix,
    observe_cached_content_request,
)
from promptcache.patching.flow import Flow
from promptcache.patching.request import cache_scope_key, start_invocation
from promptcache.patching.wrapping import Hook
from promptcache.providers.anthropic import wire as anthropic
from promptcache.providers.bedrock import wire as bedrock
from promptcache.providers.google import cached_contents as gemini_caches
from promptcache.providers.google import wire as gemini
from promptcache.providers.registry import PROVIDERS, load_routes
from promptcache.providers.wire_format import WireFormat, find_route
from promptcache.telemetry.handler import RequestInfo, TelemetryHandler
from promptcache.telemetry.invocation import Invocation
from promptcache.telemetry.spans import should_instrument

ROUTES: Final = tuple(load_routes())
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
_PORTS: Final[Mapping[str, int]] = {"https": 443, "http": 80}
_VERTEX_MODEL_PATH: Final = re.compile(r"/models/([^/:]+):\w+$")


def _provider_name(
    observer: TelemetryHandler, wire: WireFormat, url: SplitResult, call: Mapping[str, Any]
) -> str:
    """Who serves the call: its host where that is known, else as LiteLLM has it, else whose wire it is."""
    details: JSONObject = as_mapping(getattr(call.get("logging_obj"), "model_call_details", None))
    named = as_str(details.get("custom_llm_provider")) or _guess_provider(wire, url)
    if named == "azure_ai" and wire is anthropic.MESSAGES:
        return observer.provider_for_host(url.hostname, "anthropic", client_decides=True)
    return observer.provider_for_host(url.hostname, PROVIDER_NAMES.get(named, named))


def _guess_provider(wire: WireFormat, url: SplitResult) -> str:
    if _BEDROCK_PATH.search(url.path):
        return "bedrock"
    vertex = "/projects/" in url.path
    return (
        "vertex_ai"
        if vertex
        else "gemini"
        if wire is gemini.GENERATE_CONTENT
        else wire.name.partition(".")[0]
    )


@final
class _ParsedRequest(NamedTuple):
    """What a request asks: of which model, in which wire, and whether for an earlier response again."""

    wire: WireFormat
    model: str | None
    fetch: bool
    body: JSONObject


def _parse_request(method: str, url: SplitResult, call: Mapping[str, Any]) -> _ParsedRequest | None:
    if served := _BEDROCK_PATH.search(url.path):
        body, model = _request_body(call), as_str(unquote(served[1]))
        wire = bedrock.wire_format_of(_BEDROCK_OPERATIONS[served[2]], model, body)
        return wire and _ParsedRequest(wire, model, False, body)
    route = find_route(ROUTES, method, url.path)
    if route is None or route.is_batch_results:
        return None  # whatever else passes here is not even parsed
    body, in_path = _request_body(call), _VERTEX_MODEL_PATH.search(url.path)
    named = as_str(body.get("model")) or (in_path and as_str(unquote(in_path[1])))
    return (
        _ParsedRequest(route.wire_format, named, route.is_retrieval, body)
        if named or route.is_retrieval
        else None
    )


def _request_body(call: Mapping[str, Any]) -> JSONObject:
    """The body as plain data, whichever way LiteLLM hands it to its handler."""
    given = next((call[name] for name in ("json", "data", "content") if call.get(name)), None)
    if isinstance(given, str):
        given = given.encode()
    return parse_json_object(given) if isinstance(given, bytes) else as_mapping(given)


def _start_invocation(
    observer: TelemetryHandler, method: str, call: Mapping[str, Any]
) -> Invocation | None:
    """The record of a request if it is a call to a model."""
    url = urlsplit(str(call["url"]))
    found = _parse_request(method, url, call)
    if found is None:
        return None
    wire, model, fetch, body = found
    asked = RequestInfo(
        wire,
        _provider_name(observer, wire, url, call),
        model,
        url.hostname,
        url.port or _PORTS.get(url.scheme),
        stream=bool(call.get("stream")),
        is_retrieval=fetch,
    )
    headers = {
        str(name).lower(): str(value) for name, value in as_mapping(call.get("headers")).items()
    }
    betas = (
        {anthropic.BETAS_FIELD: headers["anthropic-beta"].split(",")}
        if "anthropic-beta" in headers
        else {}
    )
    tenant = cache_scope_key(headers) or next(iter(parse_qs(url.query).get("key", ())), "")
    record = start_invocation(observer, asked, {**betas, **body} if betas else body, tenant)
    safely(apply_cached_prefix, record, body)
    return record


def observe_request(
    method: str, observer: TelemetryHandler, http_handler: Any, call: Mapping[str, Any]
) -> Flow:
    """One request and its answer: a call, or what is done to a named cache, or nothing of ours."""
    if not should_instrument():
        return _empty_flow()
    url = urlsplit(str(call["url"]))
    operation = gemini_caches.cached_content_operation(method, url.path)
    if operation is not None:
        where = Endpoint(
            _provider_name(observer, gemini.GENERATE_CONTENT, url, call),
            url.hostname,
            url.port or _PORTS.get(url.scheme),
        )
        return observe_cached_content_request(
            observer, operation, where, url.path, _request_body(call)
        )
    record = _start_invocation(observer, method, call)
    return _empty_flow() if record is None else _observe_call(record)


def _empty_flow() -> Flow:
    yield None


def _observe_call(invocation: Invocation) -> Flow:
    ended = yield invocation.context if invocation.has_own_span else None
    response = ended.result
    if ended.error is not None:
        status = getattr(getattr(ended.error, "response", None), "status_code", None)
        invocation.error_type = str(status) if status else type(ended.error).__name__
    else:
        tier = response.headers.get(gemini.SERVICE_TIER_HEADER)
        if tier:
            safely(invocation.on_event, {gemini.SERVICE_TIER_HEADER: tier})
        if not response.is_closed:
            response.extensions[EXTENSION_KEY] = invocation
            safely(invocation.on_stream_started)
            observe_stream(response, invocation, sdk_parses=False)
            return
        safely(read_buffered_response, response, invocation)
    invocation.finish()


_OBSERVE_POST: Final[Callable[..., Flow]] = partial(observe_request, "POST")
_OBSERVE_GET: Final[Callable[..., Flow]] = partial(observe_request, "GET")
HOOKS: Final[Mapping[str, tuple[Hook, ...]]] = {
    "litellm.llms.custom_httpx.http_handler": tuple(
        target
        for owner in ("HTTPHandler", "AsyncHTTPHandler")
        for target in (
            Hook(owner, "post", ("url", "data", "json", "headers", "stream"), _OBSERVE_POST),
            Hook(owner, "get", ("url", "headers"), _OBSERVE_GET),
        )
    ),
}
