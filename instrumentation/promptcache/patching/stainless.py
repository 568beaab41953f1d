"""The hooks of every SDK that Stainless generates: openai, anthropic, groq.

google-genai 2.0 also has such a client, for the Interactions API.

Every HTTP call runs through these functions:

- `{Sync,Async}APIClient.request` is one logical call; its retries run inside.
- `_process_response` runs when the response has begun. Its body may be unread.
- `BaseClient._process_response_data` runs for each parsed body and each parsed stream event.

The parameter names are the same from openai 1.40 to 3.52 and anthropic 0.40 to 2.11 (read in
November 2026).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from opentelemetry import context as otel

from promptcache.common.coerce import JSONObject, as_mapping, as_str
from promptcache.common.safely import safely
from promptcache.patching.byte_stream import EXTENSION_KEY, invocation_of, observe_stream
from promptcache.patching.endpoint import server_port
from promptcache.patching.event_decoder import parse_json_object
from promptcache.patching.event_reader import read_buffered_response
from promptcache.patching.flow import Flow
from promptcache.patching.hook import HandlerRef, Hook
from promptcache.patching.request import cache_scope_key
from promptcache.providers.wire_format import Route, find_route
from promptcache.telemetry.batch_results import BatchResultsInvocation
from promptcache.telemetry.foreign_spans import should_instrument
from promptcache.telemetry.handler import TelemetryHandler
from promptcache.telemetry.invocation import Invocation
from promptcache.telemetry.request_info import RequestInfo

RAW_RESPONSE_HEADER: Final = "X-Stainless-Raw-Response"
"""The SDKs send this header if the application reads the response itself."""


@dataclass(frozen=True, slots=True)
class StainlessSDK:
    """The differences between the SDKs.

    `provider_of_client` names the provider of a client. It is used for a host that we do not know,
    or for every host if `client_decides_provider`. `opens_own_span` says whether the SDK will start
    a span of its own for a call (given the client and the options). `prompt_headers` maps the
    request headers that are part of the prompt to the names that they get in the body.
    """

    routes: tuple[Route, ...]
    provider_of_client: Callable[[Any], str]
    client_decides_provider: Callable[[Any], bool] = lambda client: False
    opens_own_span: Callable[[Any, Any], bool] | None = None
    prompt_headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(slots=True)
class CurrentRequest:
    """The call of `request` that runs in this context.

    Its invocation is None if we do not record the call.
    """

    client: Any
    invocation: Invocation | None


_current_request: ContextVar[CurrentRequest | None] = ContextVar(
    "promptcache-current-request", default=None
)


def _server_address(url: Any) -> tuple[str | None, int | None]:
    """Return host and port of an httpx URL. The rest of it may hold credentials."""
    host = as_str(getattr(url, "host", None))
    return host, server_port(url) if host else None


_MODEL_IN_PATH: Final = re.compile(
    r"/(?:deployments|models?)/([^/]+?)(?::(?:streamR|r)awPredict)?/?(?:\?|/|$)"
)
"""The place of the model in paths of Azure (the deployment), Bedrock and Vertex AI."""


def _model_name(body: JSONObject, url: str) -> str | None:
    """Return the model in the body; without one, the model in the path."""
    if model := as_str(body.get("model")):
        return model
    match = _MODEL_IN_PATH.search(url)
    return as_str(match[1]) if match else None


def _request_info(
    sdk: StainlessSDK,
    handler: TelemetryHandler,
    client: Any,
    options: Any,
    url: Any,
    *,
    stream: bool,
) -> RequestInfo | None:
    """Return the description of a call; None if we do not record it."""
    if not should_instrument():
        return None
    route = find_route(sdk.routes, options.method, options.url)
    if route is None:
        return None
    host, port = _server_address(url)
    model = _model_name(as_mapping(options.json_data), options.url)
    return RequestInfo(
        wire_format=route.wire_format,
        provider=handler.provider_for_host(
            host,
            sdk.provider_of_client(client),
            model=model,
            client_decides=sdk.client_decides_provider(client),
        ),
        model=model,
        host=host,
        port=port,
        stream=stream,
        is_retrieval=route.is_retrieval,
        batch_results_url=options.url if route.is_batch_results else None,
        has_sdk_span=sdk.opens_own_span is not None and sdk.opens_own_span(client, options),
    )


def _create_invocation(
    handler: TelemetryHandler, request_info: RequestInfo | None, elapsed_seconds: float = 0.0
) -> Invocation | None:
    if request_info is None:
        return None
    if request_info.batch_results_url:
        return BatchResultsInvocation(handler, request_info)
    return Invocation(handler, request_info, elapsed_seconds)


def _request_body(sdk: StainlessSDK, options: Any, request: Any) -> JSONObject:
    """Return the body that was sent: the SDK's prepared data, else the request's bytes."""
    body, extra = as_mapping(options.json_data), as_mapping(options.extra_json)
    if extra:
        body = {**body, **extra}
    if not body and options.method.upper() == "POST":
        body = parse_json_object(request.content)
    from_headers = {
        name: value.split(",")
        for header, name in sdk.prompt_headers.items()
        if (value := request.headers.get(header))
    }
    return {**from_headers, **body} if from_headers else body


class StainlessHooks:
    """The hooks of one SDK."""

    def __init__(self, sdk: StainlessSDK) -> None:
        self._sdk = sdk

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """The hooks of the SDK's `_base_client` module."""
        clients = ("SyncAPIClient", "AsyncAPIClient")
        request = ("cast_to", "options")
        response = ("options", "response", "stream", "retries_taken")
        inner_request = tuple(
            Hook(client, "_request", request, self.observe_inner_request, is_optional=True)
            for client in clients
        )
        return (
            *(inner_request if self._sdk.opens_own_span else ()),
            *(Hook(client, "request", request, self.observe_request) for client in clients),
            *(
                Hook(client, "_process_response", response, self.observe_response)
                for client in clients
            ),
            Hook(
                "BaseClient",
                "_process_response_data",
                ("data", "response"),
                before_call=self.observe_parsed_data,
                make_fast_wrapper=_wrap_process_response_data,
            ),
            Hook(
                "BaseClient",
                "_build_request",
                ("options",),
                before_call=self.add_diagnostics_request,
                is_optional=True,
            ),
        )

    def observe_request(
        self, handler: TelemetryHandler, client: Any, arguments: Mapping[str, Any]
    ) -> Flow:
        """Observe one logical call with its retries.

        Finish the invocation if the call fails, or if `observe_response` did not take it over.
        """
        options, stream = arguments["options"], bool(arguments.get("stream"))
        request_info = _request_info(
            self._sdk, handler, client, options, client.base_url, stream=stream
        )
        invocation = _create_invocation(handler, request_info)
        outer, current = _current_request.get(), CurrentRequest(client, invocation)
        _current_request.set(current)
        try:
            has_own_span = invocation is not None and invocation.has_own_span
            result = yield invocation.context if invocation is not None and has_own_span else None
        finally:
            # Another request is current if a coroutine is closed from another context.
            if _current_request.get() is current:
                _current_request.set(outer)
        if invocation is None:
            return
        if result.error is not None:
            safely(_record_failed_request, self._sdk, handler, invocation, options, result.error)
            invocation.fail(result.error)
        if result.error is not None or not invocation.owns_response:
            invocation.finish()

    def observe_inner_request(
        self, handler: TelemetryHandler, client: Any, arguments: Mapping[str, Any]
    ) -> Flow:
        """Observe the part of `request` in which the SDK's own span is current.

        If the call fails, the span ends after this function, so the invocation is finished here.
        """
        current = _current_request.get()
        invocation = (
            current.invocation if current is not None and current.client is client else None
        )
        if (
            invocation is None
            or invocation.span is not None
            or not invocation.request_info.has_sdk_span
        ):
            yield None
            return
        invocation.resolve_span(otel.get_current())
        result = yield invocation.context if invocation.has_own_span else None
        if result.error is not None:
            invocation.fail(result.error)
            invocation.finish()

    def observe_response(
        self, handler: TelemetryHandler, client: Any, arguments: Mapping[str, Any]
    ) -> Flow:
        """Record the request of a response that has begun; finish now or when its stream ends."""
        options, response = arguments["options"], arguments["response"]
        stream = bool(arguments.get("stream"))
        invocation = self._invocation_of_response(handler, client, options, response, stream=stream)
        if invocation is None:
            yield None
            return
        retries = arguments.get("retries_taken")
        safely(_record_sent_request, self._sdk, handler, invocation, options, response, retries)
        response.extensions[EXTENSION_KEY] = invocation
        invocation.owns_response = True
        # The SDK creates the reader of batch results inside this step, from the stream that it
        # finds then.
        is_batch_stream = bool(invocation.request_info.batch_results_url) and not response.is_closed
        if is_batch_stream:
            observe_stream(response, invocation)
        result = yield None
        if result.error is not None:
            invocation.fail(result.error)
        if not is_batch_stream:
            self._finish_or_observe(response, invocation)

    def _finish_or_observe(self, response: Any, invocation: Invocation) -> None:
        if not response.is_closed:
            if response.request.headers.get(RAW_RESPONSE_HEADER) is None:
                safely(invocation.on_stream_started)
            observe_stream(response, invocation)
            return
        safely(read_buffered_response, response, invocation)
        response.extensions.pop(EXTENSION_KEY, None)
        invocation.finish()

    def add_diagnostics_request(
        self, handler: TelemetryHandler, client: Any, arguments: Mapping[str, Any]
    ) -> None:
        """Request the provider's cache diagnostics, if the user enabled this setting.

        The request is added to the options of this attempt, which are a copy of its own.
        """
        current = _current_request.get() if handler.settings.provider_diagnostics else None
        if current is None or current.client is not client or current.invocation is None:
            return
        invocation, options = current.invocation, arguments["options"]
        info, body = invocation.request_info, as_mapping(options.json_data)
        conversation_key = info.wire_format.conversation_key(body)
        if conversation_key is None:
            return
        digest = handler.hasher.keyed_digest((info.provider, info.host, conversation_key))
        invocation.conversation_key = digest
        previous_id = handler.response_id_by_conversation.get(digest)
        new_body = info.wire_format.with_diagnostics(info.provider, body, previous_id)
        if new_body is not None:
            options.json_data = new_body

    def observe_parsed_data(
        self, handler: TelemetryHandler, client: Any, arguments: Mapping[str, Any]
    ) -> None:
        """Report one parsed body or stream event, before the SDK builds its model from it."""
        _process_parsed_data(arguments["data"], arguments["response"])

    def _invocation_of_response(
        self, handler: TelemetryHandler, client: Any, options: Any, response: Any, *, stream: bool
    ) -> Invocation | None:
        current = _current_request.get()
        if current is not None and current.client is client:
            invocation = current.invocation
            if invocation is None or not invocation.owns_response:
                return invocation
            # A middleware sent a second request inside the call: it uses another model, and is
            # billed too.
        # Without a current request, another instrumentation replaced `request` and does not call
        # ours.
        url = response.request.url
        request_info = _request_info(self._sdk, handler, client, options, url, stream=stream)
        return _create_invocation(handler, request_info, _elapsed_seconds(response))


def _process_parsed_data(data: object, response: Any) -> None:
    invocation = invocation_of(response)
    if invocation is not None:
        invocation.on_parsed_event(data)


def _wrap_process_response_data(
    original: Callable[..., Any], handler_ref: HandlerRef
) -> Callable[..., Any]:
    """Make the fast wrapper: for most stream events it only calls `is_irrelevant`."""

    def wrapper(self: Any, *, data: Any, cast_to: Any, response: Any) -> Any:
        if handler_ref.handler is not None:
            try:
                invocation: Invocation = response.extensions[EXTENSION_KEY]
                is_irrelevant = invocation.is_irrelevant(data)
            # All errors that reading plain data can raise.
            except (AttributeError, LookupError, TypeError, ValueError):
                is_irrelevant = False
            if not is_irrelevant:
                safely(_process_parsed_data, data, response)
        return original(self, data=data, cast_to=cast_to, response=response)

    return wrapper


def _elapsed_seconds(response: Any) -> float:
    """Return how long a complete response took, or 0.0 if that is not known."""
    try:
        return response.elapsed.total_seconds() if response.is_closed else 0.0
    except RuntimeError:
        return 0.0


def _record_failed_request(
    sdk: StainlessSDK,
    handler: TelemetryHandler,
    invocation: Invocation,
    options: Any,
    error: BaseException,
) -> None:
    """Record the request of a call that failed before a response.

    The SDK's error has the request, and the request's header has the number of retries.
    """
    request = getattr(error, "request", None)
    if request is not None and invocation.has_own_span and invocation.request is None:
        retries = request.headers.get("x-stainless-retry-count", "")
        retries = int(retries) if retries.isdigit() else None
        _record_sent_request(sdk, handler, invocation, options, error, retries)


def _record_sent_request(
    sdk: StainlessSDK,
    handler: TelemetryHandler,
    invocation: Invocation,
    options: Any,
    response: Any,
    retries: int | None,
) -> None:
    """Record the request of `response`: a response or an SDK's error, which has `request` too."""
    request = response.request
    host, port = _server_address(request.url)
    body, info = _request_body(sdk, options, request), invocation.request_info
    model = info.model or _model_name(body, str(request.url.path))
    info = info._replace(model=model, host=host or info.host, port=port or info.port)
    cache_scope = handler.hasher.keyed_digest(cache_scope_key(request.headers))
    invocation.on_request_known(info.to_request(body, cache_scope, invocation.started_at), retries)
