"""Amazon Bedrock through botocore and aiobotocore: one logical call, the request inside it, and what it leaves to read.

`_make_api_call` is the call, with the application's own parameters; `_make_request` runs inside it, inside every other
instrumentation's span too, with the retries inside. The streams it leaves to read (`EventStream`, `StreamingBody`)
are listened to on their classes, and carry their record, which ends with them. Names read in botocore 1.35 to 1.43 and
aiobotocore 2.16 to 3.10, November 2026.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from io import IOBase
from typing import Any, Final, NamedTuple, cast
from urllib.parse import urlsplit
from weakref import ref

from opentelemetry import context as otel

from promptcache.common.coerce import JSONObject, as_mapping, as_str
from promptcache.common.safely import safely
from promptcache.patching.byte_stream import MAX_BODY_BYTES, parse_json_object
from promptcache.patching.flow import Flow, FlowRunner, StepResult
from promptcache.patching.request import start_invocation
from promptcache.patching.wrapping import Hook
from promptcache.providers.bedrock import wire as bedrock
from promptcache.providers.wire_format import WireFormat
from promptcache.telemetry import context_attributes as ambient
from promptcache.telemetry.handler import RequestInfo, TelemetryHandler
from promptcache.telemetry.invocation import Invocation
from promptcache.telemetry.spans import should_instrument

SERVICE_NAME: Final = "bedrock-runtime"
_CURRENT_CALL_KEY: Final = otel.create_key("promptcache-bedrock")
_STATE_ATTRIBUTE: Final = "_self_promptcache"
"""Where a stream carries its record; the prefix keeps it on a wrapt proxy instead of what that proxies."""


class _CurrentCall(NamedTuple):
    """One logical call while it runs."""

    client: Any
    operation: str
    body: JSONObject
    request_info: RequestInfo


class _StreamState:
    """The record of a stream that is yet to be read; ends with that stream."""

    def __init__(self, record: Invocation, operation: str) -> None:
        self.invocation, self.operation = record, operation
        self.buffer = bytearray()
        self.is_body_being_read = False
        """Whether the body itself is being read, and not only what lies under it."""
        self.raw_stream_ref: Callable[[], Any] = lambda: None
        """What lies under it, with our ear at it, if that is still there."""

    def feed(self, chunk: bytes, requested_bytes: int | None) -> bool:
        """Some of a body that nobody parses but the application, which `requested_bytes` that much; whether it was the last."""
        if len(self.buffer) + len(chunk) <= MAX_BODY_BYTES:
            self.buffer += chunk
        return requested_bytes is None or requested_bytes < 0 or (requested_bytes > 0 and not chunk)

    def parse_body(self) -> None:
        if self.buffer:
            self.invocation.on_event(parse_json_object(bytes(self.buffer)))
            self.buffer.clear()

    def finish(self) -> None:
        safely(self.parse_body)
        self.invocation.finish()
        if (raw := self.raw_stream_ref()) is not None:
            raw.__dict__.pop("read", None)

    def finalize(self) -> None:
        """Ends with the next call, where a finalizer runs in the middle of telemetry's own code."""
        if ambient.lock_may_be_held(sys._getframe()):  # pyright: ignore[reportPrivateUsage]  # a cheap stack walk
            self.invocation.handler.deferred.append(self)
        else:
            self.finish()

    def __del__(self) -> None:
        safely(self.finalize)


def _observe_raw_body(body: Any, state: _StreamState) -> None:
    """Hears also what is read past `body`: OpenLLMetry and OpenInference take out of it what it reads from."""
    raw: Any = getattr(body, "_raw_stream", None)
    if isinstance(body, IOBase) and raw is not None and "read" not in vars(raw):
        state.raw_stream_ref = ref(raw)
        raw.read = partial(_read_raw, state.raw_stream_ref, state)


def _read_raw(
    raw_stream_ref: Callable[[], Any],
    state: _StreamState,
    amt: int | None = None,
    *args: Any,
    **kwargs: Any,
) -> bytes:
    alive = raw_stream_ref()
    with FlowRunner(_raw_read_flow, state, amt) as turn:
        turn.result = alive.__class__.read(alive, amt, *args, **kwargs)
    chunk: bytes = turn.result
    return chunk


def _raw_read_flow(state: _StreamState, requested_bytes: int | None) -> Flow:
    """Some bytes of a body, or all that are left, unless the body itself asked for them."""
    ended = yield None
    if state.is_body_being_read:
        return
    if ended.error is not None:
        state.invocation.fail(ended.error)
    if ended.error is not None or state.feed(ended.result, requested_bytes):
        state.finish()


def _request_info(
    observer: TelemetryHandler, client: Any, operation: str, params: JSONObject, wire: WireFormat
) -> RequestInfo:
    url = urlsplit(as_str(client.meta.endpoint_url) or "")
    return RequestInfo(
        wire_format=wire,
        provider=observer.provider_for_host(url.hostname, "aws.bedrock"),
        model=as_str(params.get("modelId")),
        host=url.hostname,
        port=url.port or {"https": 443, "http": 80}.get(url.scheme),
        stream=bedrock.STREAMS_BY_OPERATION[operation],
    )


def _request_body(operation: str, params: JSONObject) -> JSONObject:
    """The body as plain data; one given as an open file stays unread."""
    if operation.startswith("Converse"):
        return params
    body = params.get("body")
    if isinstance(body, str):
        return parse_json_object(body.encode())
    return parse_json_object(bytes(body)) if isinstance(body, bytes | bytearray) else {}


def observe_call(observer: TelemetryHandler, client: Any, call: Mapping[str, Any]) -> Flow:
    """One logical call: its parameters wait here for its request."""
    operation, params = call["operation_name"], as_mapping(call["api_params"])
    ours = (
        client.meta.service_model.service_name == SERVICE_NAME
        and operation in bedrock.STREAMS_BY_OPERATION
    )
    body = _request_body(operation, params) if ours and should_instrument() else None
    wire = (
        bedrock.wire_format_of(operation, as_str(params.get("modelId")), body)
        if body is not None
        else None
    )
    if body is None or wire is None:
        yield None
        return
    asked = _request_info(observer, client, operation, params, wire)
    yield otel.set_value(_CURRENT_CALL_KEY, _CurrentCall(client, operation, body, asked))


def observe_request(observer: TelemetryHandler, client: Any, call: Mapping[str, Any]) -> Flow:
    """The request of a call, retries inside: every span around it is open here, and its answer has just begun."""
    underway = cast("_CurrentCall | None", otel.get_value(_CURRENT_CALL_KEY))
    if underway is None or underway.client is not client:
        yield None
        return
    record = start_invocation(observer, underway.request_info, underway.body, _cache_scope(client))
    ended = yield record.context
    if ended.error is not None:
        record.fail(ended.error)
    elif safely(_process_response, underway, record, *ended.result):
        return
    record.finish()


def _cache_scope(client: Any) -> str:
    """Whose cache it is, as far as it shows without asking for credentials, which may go to the network."""
    credentials: Any = getattr(getattr(client, "_request_signer", None), "_credentials", None)
    known: JSONObject = getattr(credentials, "__dict__", {})
    lasting = as_str(known.get("access_key"))
    return lasting or str(getattr(credentials, "method", ""))


def _process_response(
    current_call: _CurrentCall, invocation: Invocation, http: Any, answer: JSONObject
) -> bool:
    """Takes up an answer; says whether a stream of it is left to read, with which the record will end."""
    invocation.retries = cast(
        "int | None", as_mapping(answer.get("ResponseMetadata")).get("RetryAttempts")
    )
    if http.status_code >= 300:
        code = as_str(as_mapping(answer.get("Error")).get("Code"))
        invocation.error_type = current_call.client.exceptions.from_code(code).__name__
        return False
    stream = answer.get("stream" if current_call.operation == "ConverseStream" else "body")
    if stream is None:
        invocation.on_event(answer)
        return False
    held = _StreamState(invocation, current_call.operation)
    setattr(stream, _STATE_ATTRIBUTE, held)
    if current_call.operation == "InvokeModel":
        safely(_observe_raw_body, stream, held)
    return True


def _state_of_stream(stream: Any) -> _StreamState | None:
    return getattr(stream, _STATE_ATTRIBUTE, None)


def _finish_stream(stream: Any, state: _StreamState) -> None:
    """Ends the call; the stream is as it was without us."""
    state.finish()
    if _state_of_stream(stream) is state:
        delattr(stream, _STATE_ATTRIBUTE)


def observe_event(observer: TelemetryHandler, stream: Any, call: Mapping[str, Any]) -> Flow:
    """One event, where it is parsed: OpenLLMetry ends its span right there, before anybody iterates on to it."""
    held = _state_of_stream(stream)
    ended = yield None
    if held is not None and ended.result is not None:
        said = bedrock.unwrap_event(held.operation, ended.result)
        safely(
            held.invocation.on_event, parse_json_object(said) if isinstance(said, bytes) else said
        )


def observe_event_stream(observer: TelemetryHandler, stream: Any, call: Mapping[str, Any]) -> Flow:
    """The whole stream. Whoever stops iterating may go on later: only the stream's own end is the call's."""
    held, ended = _state_of_stream(stream), StepResult(is_final=False)
    while not ended.is_final:
        ended = yield None
        if held is None:
            return
        if ended.error is not None:
            held.invocation.fail(ended.error)
    if held is not None and not ended.is_abandoned:
        _finish_stream(stream, held)


def observe_body_read(observer: TelemetryHandler, body: Any, call: Mapping[str, Any]) -> Flow:
    """Some bytes of a body, or all that are left."""
    held = _state_of_stream(body)
    if held is None:
        yield None
        return
    held.is_body_being_read = True
    ended = yield None
    held.is_body_being_read = False
    if ended.error is not None:
        held.invocation.fail(ended.error)
        _finish_stream(body, held)
    elif held.feed(*_read_result(ended.result, call)):
        _finish_stream(body, held)


def _read_result(result: Any, call: Mapping[str, Any]) -> tuple[bytes, int | None]:
    """What a body gave, and how much of it was wanted; None for all."""
    into = call.get("b")
    return (result, call.get("amt")) if into is None else (bytes(into[:result]), len(into))


def observe_close(observer: TelemetryHandler, stream: Any, call: Mapping[str, Any]) -> Flow:
    """The application wants no more."""
    yield None
    held = _state_of_stream(stream)
    if held is not None:
        _finish_stream(stream, held)


def _client_hooks(owner: str) -> tuple[Hook, ...]:
    return (
        Hook(owner, "_make_api_call", ("operation_name", "api_params"), observe_call),
        Hook(
            owner,
            "_make_request",
            ("operation_model", "request_dict", "request_context"),
            observe_request,
        ),
    )


def _body_hooks(owner: str) -> tuple[Hook, ...]:
    return (
        Hook(owner, "read", ("amt",), observe_body_read),
        Hook(owner, "readinto", ("b",), observe_body_read, is_optional=True),
        Hook(owner, "close", (), observe_close, is_optional=True),
        Hook(owner, "aclose", (), observe_close, is_optional=True),
    )


HOOKS: Final[Mapping[str, tuple[Hook, ...]]] = {
    "botocore.client": _client_hooks("BaseClient"),
    "botocore.eventstream": (
        Hook("EventStream", "_parse_event", ("event",), observe_event),
        Hook("EventStream", "__iter__", (), observe_event_stream),
        Hook("EventStream", "close", (), observe_close),
    ),
    "botocore.response": (
        *_body_hooks("StreamingBody"),
        Hook("StreamingBody", "__exit__", (), observe_close),
    ),
    "aiobotocore.client": _client_hooks("AioBaseClient"),
    "aiobotocore.eventstream": (
        Hook(
            "AioEventStream", "_parse_event", ("event",), observe_event, is_optional=True
        ),  # older ones inherit it
        Hook("AioEventStream", "__anext__", (), observe_event_stream),
    ),
    "aiobotocore.response": (
        *_body_hooks("StreamingBody"),
        *(
            Hook(
                "HttpxStreamingBody",
                target.method_name,
                target.parameters,
                target.around_call,
                is_optional=True,
            )
            for target in _body_hooks("StreamingBody")
        ),
    ),
}
"""Where to stand, by module."""
