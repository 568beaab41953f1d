"""The choke point that every SDK of one generator shares: openai, anthropic, groq.

All HTTP calls pass `{Sync,Async}APIClient.request` (one logical call, retries inside), `_process_response` (the
response has begun, its body may be unread) and `BaseClient._process_response_data` (one parsed body or stream event).
The parameter names are the same from openai 1.40 to 3.52 and anthropic 0.40 to 2.11 (read in November 2026).
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
from promptcache.patching.byte_stream import (
    EXTENSION_KEY,
    invocation_of,
    observe_stream,
    parse_json_object,
    read_buffered_response,
)
from promptcache.patching.flow import Flow
from promptcache.patching.request import cache_scope_key
from promptcache.patching.wrapping import HandlerRef, Hook
from promptcache.providers.wire_format import Route, find_route
from promptcache.telemetry.batch_results import BatchResultsInvocation
from promptcache.telemetry.handler import RequestInfo, TelemetryHandler
from promptcache.telemetry.invocation import Invocation
from promptcache.telemetry.spans import should_instrument

RAW_RESPONSE_HEADER: Final = "X-Stainless-Raw-Response"
"""The SDKs' own mark on calls whose response the application reads by itself."""


@dataclass(frozen=True, slots=True)
class StainlessSDK:
    """What the flows need to know of one SDK.

    `provider_of_client` is what a client stands for, whatever its host if `client_decides_provider`; `opens_own_span` says whether the SDK will open a span
    of its own for a call (client, options); `prompt_headers` are those that belong to the prompt, with the names under which
    they join its body.
    """

    routes: tuple[Route, ...]
    provider_of_client: Callable[[Any], str]
    client_decides_provider: Callable[[Any], bool] = lambda client: False
    opens_own_span: Callable[[Any, Any], bool] | None = None
    prompt_headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(slots=True)
class CurrentRequest:
    """The `observe_request` that runs in this context, and its record: None where the call is not ours to see."""

    client: Any
    invocation: Invocation | None


_current_request: ContextVar[CurrentRequest | None] = ContextVar(
    "promptcache-underway", default=None
)


def _server_address(url: Any) -> tuple[str | None, int | None]:
    """Host and port of an httpx URL, without the rest: it may hold credentials."""
    host = as_str(getattr(url, "host", None))
    port = getattr(url, "port", None) or {"https": 443, "http": 80}.get(getattr(url, "scheme", ""))
    return host, port if host and isinstance(port, int) else None


_MODEL_IN_PATH: Final = re.compile(
    r"/(?:deployments|models?)/([^/]+?)(?::(?:streamR|r)awPredict)?/?(?:\?|/|$)"
)
"""Where Azure (the deployment), Bedrock and Vertex name the model."""


def _model_name(body: JSONObject, url: str) -> str | None:
    """The model that the body names, or the path."""
    named = as_str(body.get("model"))
    found = None if named else _MODEL_IN_PATH.search(url)
    return as_str(found[1]) if found else named


def _request_info(
    sdk: StainlessSDK,
    observer: TelemetryHandler,
    client: Any,
    options: Any,
    url: Any,
    *,
    stream: bool,
) -> RequestInfo | None:
    if not should_instrument():
        return None
    route = find_route(sdk.routes, options.method, options.url)
    if route is None:
        return None
    host, port = _server_address(url)
    return RequestInfo(
        wire_format=route.wire_format,
        provider=observer.provider_for_host(
            host, sdk.provider_of_client(client), client_decides=sdk.client_decides_provider(client)
        ),
        model=_model_name(as_mapping(options.json_data), options.url),
        host=host,
        port=port,
        stream=stream,
        is_retrieval=route.is_retrieval,
        batch_results_url=options.url if route.is_batch_results else None,
        has_sdk_span=sdk.opens_own_span is not None and sdk.opens_own_span(client, options),
    )


def _create_invocation(
    observer: TelemetryHandler, request_info: RequestInfo | None, elapsed_seconds: float = 0.0
) -> Invocation | None:
    if request_info is None:
        return None
    return (
        BatchResultsInvocation(observer, request_info)
        if request_info.batch_results_url
        else Invocation(observer, request_info, elapsed_seconds)
    )


def _request_body(sdk: StainlessSDK, options: Any, request: Any) -> JSONObject:
    """The body as it was sent: the SDK's prepared data, else the bytes on the wire."""
    body, extra = as_mapping(options.json_data), as_mapping(options.extra_json)
    if extra:
        body = {**body, **extra}
    if not body and options.method.upper() == "POST":
        body = parse_json_object(request.content)
    told = {
        name: value.split(",")
        for header, name in sdk.prompt_headers.items()
        if (value := request.headers.get(header))
    }
    return {**told, **body} if told else body


class StainlessHooks:
    """The flows of one SDK."""

    def __init__(self, sdk: StainlessSDK) -> None:
        self._sdk = sdk

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """Where to stand in the SDK's `_base_client` module."""
        asked = ("cast_to", "options")
        answered = ("options", "response", "stream", "retries_taken")
        heard = ("data", "response")
        traced = tuple(
            Hook(owner, "_request", asked, around_call=self.observe_inner_request, is_optional=True)
            for owner in ("SyncAPIClient", "AsyncAPIClient")
        )
        return (
            *(traced if self._sdk.opens_own_span else ()),
            Hook("SyncAPIClient", "request", asked, around_call=self.observe_request),
            Hook("AsyncAPIClient", "request", asked, around_call=self.observe_request),
            Hook("SyncAPIClient", "_process_response", answered, around_call=self.observe_response),
            Hook(
                "AsyncAPIClient", "_process_response", answered, around_call=self.observe_response
            ),
            Hook(
                "BaseClient",
                "_process_response_data",
                heard,
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
        self, observer: TelemetryHandler, client: Any, call: Mapping[str, Any]
    ) -> Flow:
        """One logical call, retries inside. Ends the record where the call fails or nobody saw its response."""
        asked = _request_info(
            self._sdk,
            observer,
            client,
            call["options"],
            client.base_url,
            stream=bool(call.get("stream")),
        )
        record = _create_invocation(observer, asked)
        before, mine = _current_request.get(), CurrentRequest(client, record)
        _current_request.set(mine)
        try:
            ended = yield record.context if record is not None and record.has_own_span else None
        finally:
            if (
                _current_request.get() is mine
            ):  # not so where a coroutine is closed from another context
                _current_request.set(before)
        if record is not None and ended.error is not None:
            safely(
                _record_failed_request, self._sdk, observer, record, call["options"], ended.error
            )
            record.fail(ended.error)
        if record is not None and not (record.owns_response and ended.error is None):
            record.finish()

    def observe_inner_request(
        self, observer: TelemetryHandler, client: Any, call: Mapping[str, Any]
    ) -> Flow:
        """The part of `observe_request` in which the SDK's own span is current, and still open where the call fails."""
        underway = _current_request.get()
        record = underway.invocation if underway is not None and underway.client is client else None
        if record is None or record.span is not None or not record.request_info.has_sdk_span:
            yield None
            return
        record.resolve_span(otel.get_current())
        ended = yield record.context if record.has_own_span else None
        if ended.error is not None:
            record.fail(ended.error)
            record.finish()

    def observe_response(
        self, observer: TelemetryHandler, client: Any, call: Mapping[str, Any]
    ) -> Flow:
        """The response has begun: its record learns the body, and ends now or is watched to its end."""
        options, response = call["options"], call["response"]
        record = self._invocation_of_response(
            observer, client, options, response, stream=bool(call.get("stream"))
        )
        if record is None:
            yield None
            return
        safely(
            _record_sent_request,
            self._sdk,
            observer,
            record,
            options,
            response,
            call.get("retries_taken"),
        )
        response.extensions[EXTENSION_KEY] = record
        record.owns_response = True
        # What reads results is made in there, and would read past us.
        early = record.request_info.batch_results_url is not None and not response.is_closed
        if early:
            observe_stream(response, record)
        ended = yield None
        if ended.error is not None:
            record.fail(ended.error)
        if early:
            return
        if not response.is_closed:
            if response.request.headers.get(RAW_RESPONSE_HEADER) is None:
                safely(record.on_stream_started)
            observe_stream(response, record)
            return
        safely(read_buffered_response, response, record)
        response.extensions.pop(EXTENSION_KEY, None)
        record.finish()

    def add_diagnostics_request(
        self, observer: TelemetryHandler, client: Any, call: Mapping[str, Any]
    ) -> None:
        """Where the user wants it, each attempt's own copy of the options asks the provider why it missed its cache."""
        underway = _current_request.get() if observer.settings.provider_diagnostics else None
        if underway is None or underway.client is not client or underway.invocation is None:
            return
        record, options = underway.invocation, call["options"]
        asked, body = record.request_info, as_mapping(options.json_data)
        opening = asked.wire_format.conversation_key(body)
        if opening is None:
            return
        record.conversation_key = observer.hasher.keyed_digest(
            (asked.provider, asked.host, opening)
        )
        asking = asked.wire_format.with_diagnostics(
            asked.provider, body, observer.response_id_by_conversation.get(record.conversation_key)
        )
        if asking is not None:
            options.json_data = asking

    def observe_parsed_data(
        self, observer: TelemetryHandler, client: Any, call: Mapping[str, Any]
    ) -> None:
        """One parsed body or stream event, before the SDK builds its model of it."""
        _process_parsed_data(call["data"], call["response"])

    def _invocation_of_response(
        self, observer: TelemetryHandler, client: Any, options: Any, response: Any, *, stream: bool
    ) -> Invocation | None:
        underway = _current_request.get()
        if underway is not None and underway.client is client:
            record = underway.invocation
            if record is None or not record.owns_response:
                return record
            # A middleware sent a second request inside the call: another model's, and billed.
        # Else another instrumentation replaced `observe_request` and bypasses ours.
        asked = _request_info(
            self._sdk, observer, client, options, response.request.url, stream=stream
        )
        return _create_invocation(observer, asked, _elapsed_seconds(response))


def _process_parsed_data(data: object, response: Any) -> None:
    record = invocation_of(response)
    if record is not None:
        record.on_parsed_event(data)


def _wrap_process_response_data(
    original: Callable[..., Any], handler_ref: HandlerRef
) -> Callable[..., Any]:
    """The shell for events: most of them cost one look and nothing else of ours."""

    def heard(self: Any, *, data: Any, cast_to: Any, response: Any) -> Any:
        if handler_ref.handler is not None:
            try:
                dull = response.extensions[EXTENSION_KEY].dull(data)
            except (
                AttributeError,
                LookupError,
                TypeError,
                ValueError,
            ):  # all that a look at plain data can raise
                dull = False
            if not dull:
                safely(_process_parsed_data, data, response)
        return original(self, data=data, cast_to=cast_to, response=response)

    return heard


def _elapsed_seconds(response: Any) -> float:
    """Seconds that a response took, where it is in and its transport measured that."""
    try:
        return response.elapsed.total_seconds() if response.is_closed else 0.0
    except RuntimeError:
        return 0.0


def _record_failed_request(
    sdk: StainlessSDK,
    observer: TelemetryHandler,
    invocation: Invocation,
    options: Any,
    error: BaseException,
) -> None:
    """The call failed before there was a response; the SDK's error knows what was sent, and how often."""
    sent = getattr(error, "request", None)
    if sent is not None and invocation.has_own_span and invocation.request is None:
        resent = sent.headers.get("x-stainless-retry-count", "")
        _record_sent_request(
            sdk, observer, invocation, options, error, int(resent) if resent.isdigit() else None
        )


def _record_sent_request(
    sdk: StainlessSDK,
    observer: TelemetryHandler,
    invocation: Invocation,
    options: Any,
    response: Any,
    retries: int | None,
) -> None:
    sent = response.request
    host, port = _server_address(sent.url)
    body, asked = _request_body(sdk, options, sent), invocation.request_info
    model = asked.model or _model_name(body, str(sent.url.path))
    asked = asked._replace(model=model, host=host or asked.host, port=port or asked.port)
    invocation.on_request_sent(
        asked.to_request(
            body, observer.hasher.keyed_digest(cache_scope_key(sent.headers)), invocation.started_at
        ),
        retries,
    )
