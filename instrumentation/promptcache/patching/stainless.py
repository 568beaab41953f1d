"""The hooks of every SDK that Stainless generates: openai, anthropic, groq.

google-genai 2.0 also has such a client, for the Interactions API.

Every HTTP call runs through these functions:

- `{Sync,Async}APIClient.request` is one logical call; its retries run inside.
- `BaseClient._build_request` makes the httpx request of one attempt, just before it is sent.
- `_process_response` runs when the response has begun. Its body may be unread.

The parameter names are the same from openai 1.40 to 3.52 and anthropic 0.40 to 2.11 (read in
November 2026).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, Final
from weakref import ref

from opentelemetry import context as otel

from promptcache.common.coerce import JSONObject, as_mapping, as_str
from promptcache.common.safely import safely
from promptcache.patching.byte_stream import ObservedByteStream, observe_stream
from promptcache.patching.endpoint import port_or_scheme_default
from promptcache.patching.event_decoder import parse_json_object
from promptcache.patching.flow import Flow
from promptcache.patching.hook import Hook
from promptcache.patching.request import credential_from_headers
from promptcache.patching.response_reader import finish_after_reading, read_complete_response
from promptcache.providers.wire_format import Route, find_route
from promptcache.telemetry.batch_results import BatchResultsInvocation
from promptcache.telemetry.foreign_spans import should_instrument
from promptcache.telemetry.handler import TelemetryHandler
from promptcache.telemetry.invocation import Invocation, Phase
from promptcache.telemetry.request_info import RequestInfo, SpanPolicy


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

    Its invocation is None if we do not record the call. `observed_ref` refers to the stream
    of its response, if that is observed.
    """

    client: Any
    invocation: Invocation | None
    observed_ref: Callable[[], ObservedByteStream | None] = lambda: None


_current_request: ContextVar[CurrentRequest | None] = ContextVar(
    "promptcache-current-request", default=None
)


def _server_address(url: Any) -> tuple[str | None, int | None]:
    """Return host and port of an httpx URL. The rest of it may hold credentials."""
    host = as_str(getattr(url, "host", None))
    return host, port_or_scheme_default(url) if host else None


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
            ignore_registered_hosts=sdk.client_decides_provider(client),
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


_RESPONSE_PARAMETERS: Final = ("options", "response", "stream", "retries_taken")


class StainlessHooks:
    """The hooks of one SDK."""

    def __init__(self, sdk: StainlessSDK) -> None:
        self._sdk = sdk

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """The hooks of the SDK's `_base_client` module."""
        clients = ("SyncAPIClient", "AsyncAPIClient")
        methods = (
            ("request", ("cast_to", "options"), self.observe_request),
            ("_process_response", _RESPONSE_PARAMETERS, self.observe_response),
        )
        hooks = [Hook(client, *method) for method in methods for client in clients]
        hooks.append(Hook("BaseClient", "_build_request", ("options",), self.observe_build))
        if self._sdk.opens_own_span:
            inner = ("_request", ("cast_to", "options"), self.observe_inner_request)
            hooks += [Hook(client, *inner, is_optional=True) for client in clients]
        return tuple(hooks)

    def observe_request(
        self, handler: TelemetryHandler, client: Any, arguments: Mapping[str, Any]
    ) -> Flow:
        """Observe one logical call with its retries.

        Finish the invocation if the call fails, or if no response has taken it over.
        """
        options, stream = arguments["options"], bool(arguments.get("stream"))
        info = _request_info(self._sdk, handler, client, options, client.base_url, stream=stream)
        invocation = _create_invocation(handler, info)
        outer, current = _current_request.get(), CurrentRequest(client, invocation)
        _current_request.set(current)
        try:
            result = yield invocation.own_context if invocation is not None else None
        finally:
            # Another request is current if a coroutine is closed from another context.
            if _current_request.get() is current:
                _current_request.set(outer)
        if invocation is None:
            return
        if result.error is not None:
            safely(_read_failed_response, invocation, result.error)
            invocation.fail(result.error)
        if result.error is not None or invocation.phase is not Phase.RESPONDING:
            invocation.finish()

    def observe_inner_request(
        self, handler: TelemetryHandler, client: Any, arguments: Mapping[str, Any]
    ) -> Flow:
        """Observe the part of `request` in which the SDK's own span is current.

        If the call fails, the span ends after this function, so the invocation is finished here. If
        the call has a stream, the span ends with the stream.
        """
        current, invocation = _current_request.get(), _current_invocation(client)
        if invocation is None or invocation.request_info.span_policy is SpanPolicy.AT_START:
            yield None
            return
        invocation.ensure_span(SpanPolicy.WITH_SDK_SPAN, otel.get_current())
        result = yield invocation.own_context
        if result.error is not None:
            safely(_read_failed_response, invocation, result.error)
            invocation.fail(result.error)
            invocation.finish()
        elif current is not None and (observed := current.observed_ref()) is not None:
            observed.arrange_end_before_sdk_span()

    def observe_build(
        self, handler: TelemetryHandler, client: Any, arguments: Mapping[str, Any]
    ) -> Flow:
        """Observe how the request of one attempt is built. It is sent next.

        The options of this attempt are a copy of its own, so a request for the provider's cache
        diagnostics may be added to them, if the user enabled this setting.
        """
        invocation, options = _current_invocation(client), arguments["options"]
        if invocation is not None and handler.settings.provider_diagnostics:
            safely(_add_diagnostics_request, handler, invocation, options)
        result = yield None
        if invocation is not None and result.error is None:
            _record_sent_request(self._sdk, handler, invocation, options, result.result)

    def observe_response(
        self, handler: TelemetryHandler, client: Any, arguments: Mapping[str, Any]
    ) -> Flow:
        """Observe a response that has begun; finish now, or when its stream ends."""
        options, response = arguments["options"], arguments["response"]
        stream = bool(arguments.get("stream"))
        invocation = self._invocation_of_response(handler, client, options, response, stream=stream)
        if invocation is None:
            yield None
            return
        safely(_record_sent_request, self._sdk, handler, invocation, options, response.request)
        invocation.on_response(arguments.get("retries_taken"))
        # The SDK may create its reader inside this step, from the stream that it finds then.
        is_observed = not response.is_closed
        if is_observed:
            observed = observe_stream(response, invocation)
            if (current := _current_request.get()) is not None:
                current.observed_ref = ref(observed)
        result = yield None
        if result.error is not None:
            invocation.fail(result.error)
            invocation.finish()
        elif not is_observed:
            finish_after_reading(
                invocation,
                len(response.content),
                partial(read_complete_response, response, invocation),
            )

    def _invocation_of_response(
        self, handler: TelemetryHandler, client: Any, options: Any, response: Any, *, stream: bool
    ) -> Invocation | None:
        current = _current_request.get()
        if current is not None and current.client is client:
            invocation = current.invocation
            if invocation is None or invocation.phase in {Phase.STARTED, Phase.BUILT}:
                return invocation
            # A middleware sent a second request inside the call: it uses another model, and is
            # billed too.
        # Without a current request, another instrumentation replaced `request` and does not call
        # ours.
        url = response.request.url
        info = _request_info(self._sdk, handler, client, options, url, stream=stream)
        return _create_invocation(handler, info, _elapsed_seconds(response))


def _current_invocation(client: Any) -> Invocation | None:
    """Return the invocation of the request of `client` that runs in this context."""
    current = _current_request.get()
    return current.invocation if current is not None and current.client is client else None


def _add_diagnostics_request(
    handler: TelemetryHandler, invocation: Invocation, options: Any
) -> None:
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


def _elapsed_seconds(response: Any) -> float:
    """Return how long a complete response took, or 0.0 if that is not known."""
    try:
        return response.elapsed.total_seconds() if response.is_closed else 0.0
    except RuntimeError:
        return 0.0


def _read_failed_response(invocation: Invocation, error: BaseException) -> None:
    """Read the response that the SDK's `error` holds, for the provider's error code.

    A header of its request has the number of retries.
    """
    response = getattr(error, "response", None)
    request = getattr(error, "request", None)
    if request is not None:
        retries = request.headers.get("x-stainless-retry-count", "")
        invocation.retries = int(retries) if retries.isdigit() else None
    if response is not None and response.is_closed:
        read_complete_response(response, invocation)


def _record_sent_request(
    sdk: StainlessSDK, handler: TelemetryHandler, invocation: Invocation, options: Any, request: Any
) -> None:
    """Record an httpx request, unless an earlier attempt was recorded."""
    if invocation.phase is not Phase.STARTED:
        return
    host, port = _server_address(request.url)
    body, info = _request_body(sdk, options, request), invocation.request_info
    if info.model is None:
        info = info._replace(model=_model_name(body, str(request.url.path)))
    if host != info.host or port != info.port:
        info = info._replace(host=host or info.host, port=port or info.port)
    cache_scope = handler.hasher.keyed_digest(credential_from_headers(request.headers))
    invocation.on_request_built(info.to_request(body, cache_scope, invocation.started_at))
