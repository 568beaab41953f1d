"""The hooks of botocore and aiobotocore for Amazon Bedrock.

`_make_api_call` is the logical call, with the application's own parameters. `_make_request` runs
inside it, and inside the span of every other instrumentation; the retries run inside
`_make_request`. The response may hold a stream that the application reads later (`EventStream`,
`StreamingBody`). The methods of these classes are wrapped, and the stream carries the state of its
invocation, which ends with the stream.

The names were read in botocore 1.35 to 1.43 and aiobotocore 2.16 to 3.10, November 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from io import IOBase
from typing import Any, Final, NamedTuple, cast
from urllib.parse import urlsplit
from weakref import ref

from opentelemetry import context as otel

from promptcache.common.coerce import JSONObject, as_mapping, as_str
from promptcache.common.safely import safely
from promptcache.patching.endpoint import port_or_scheme_default
from promptcache.patching.event_decoder import MAX_BUFFERED_BYTES, parse_json_object
from promptcache.patching.flow import Flow, FlowRunner, StepResult
from promptcache.patching.hook import Hook
from promptcache.patching.request import start_invocation
from promptcache.providers.bedrock import wire
from promptcache.providers.wire_format import WireFormat
from promptcache.telemetry.foreign_spans import should_instrument
from promptcache.telemetry.handler import TelemetryHandler
from promptcache.telemetry.invocation import Invocation
from promptcache.telemetry.request_info import RequestInfo

SERVICE_NAME: Final = "bedrock-runtime"
_CURRENT_CALL_KEY: Final = otel.create_key("promptcache-bedrock")
_STATE_ATTRIBUTE: Final = "_self_promptcache"
"""The attribute of a stream that holds its state. A wrapt proxy keeps attributes with this prefix
on itself."""


class _BotocoreCall(NamedTuple):
    """The logical call that runs in this context."""

    client: Any
    operation: str
    body: JSONObject
    request_info: RequestInfo


class _ResponseStreamState:
    """The state of a stream that the application has not read yet."""

    def __init__(self, invocation: Invocation, operation: str) -> None:
        self.invocation, self.operation = invocation, operation
        self.buffer = bytearray()
        self.is_body_being_read = False
        """True while `StreamingBody.read` runs, so that the raw read inside it is not counted
        twice."""
        self.raw_stream_ref: Callable[[], Any] = lambda: None
        """Weak reference to the raw stream whose `read` is replaced."""

    def feed(self, chunk: bytes, requested_bytes: int | None) -> bool:
        """Buffer a chunk that the application read; return whether it was the last one.

        `requested_bytes` is the number of bytes that the application requested; None or a negative
        number means all.
        """
        if len(self.buffer) + len(chunk) <= MAX_BUFFERED_BYTES:
            self.buffer += chunk
        return requested_bytes is None or requested_bytes < 0 or (requested_bytes > 0 and not chunk)

    def parse_body(self) -> None:
        """Report the buffered body to the invocation."""
        if self.buffer:
            self.invocation.on_event(parse_json_object(bytes(self.buffer)))
            self.buffer.clear()

    def finish(self) -> None:
        """Report the buffered body, finish the invocation, and restore the raw stream."""
        safely(self.parse_body)
        self.invocation.finish()
        if (raw := self.raw_stream_ref()) is not None:
            raw.__dict__.pop("read", None)

    def __del__(self) -> None:
        safely(self.invocation.finalize, self.parse_body)


def _observe_raw_body(body: Any, state: _ResponseStreamState) -> None:
    """Also observe reads of the raw stream.

    OpenLLMetry and OpenInference read `body._raw_stream` directly.
    """
    raw: Any = getattr(body, "_raw_stream", None)
    if isinstance(body, IOBase) and raw is not None and "read" not in vars(raw):
        state.raw_stream_ref = ref(raw)
        raw.read = partial(_read_raw_body, state.raw_stream_ref, state)


def _read_raw_body(
    raw_stream_ref: Callable[[], Any],
    state: _ResponseStreamState,
    amt: int | None = None,
    *args: Any,
    **kwargs: Any,
) -> bytes:
    raw = raw_stream_ref()
    with FlowRunner(_observe_raw_read, state, amt) as runner:
        runner.result = raw.__class__.read(raw, amt, *args, **kwargs)
    chunk: bytes = runner.result
    return chunk


def _observe_raw_read(state: _ResponseStreamState, requested_bytes: int | None) -> Flow:
    """Observe one read of the raw stream.

    `observe_body_read` observes the reads that the body makes itself.
    """
    result = yield None
    if state.is_body_being_read:
        return
    if result.error is not None:
        state.invocation.fail(result.error)
    if result.error is not None or state.feed(result.result, requested_bytes):
        state.finish()


def _request_info(
    handler: TelemetryHandler,
    client: Any,
    operation: str,
    params: JSONObject,
    wire_format: WireFormat,
) -> RequestInfo:
    url = urlsplit(as_str(client.meta.endpoint_url) or "")
    return RequestInfo(
        wire_format=wire_format,
        provider=handler.provider_for_host(url.hostname, "aws.bedrock"),
        model=as_str(params.get("modelId")),
        host=url.hostname,
        port=port_or_scheme_default(url),
        stream=wire.STREAMS_BY_OPERATION[operation],
    )


def _request_body(operation: str, params: JSONObject) -> JSONObject:
    """Return the body as plain data.

    Return an empty mapping if the application passed an open file, which stays unread.
    """
    if operation.startswith("Converse"):
        return params
    body = params.get("body")
    if isinstance(body, str):
        return parse_json_object(body.encode())
    return parse_json_object(bytes(body)) if isinstance(body, bytes | bytearray) else {}


def _find_llm_call(
    handler: TelemetryHandler, client: Any, operation: str, params: JSONObject
) -> _BotocoreCall | None:
    """Return the description of a call; None if we do not record it."""
    if client.meta.service_model.service_name != SERVICE_NAME:
        return None
    if operation not in wire.STREAMS_BY_OPERATION or not should_instrument():
        return None
    body = _request_body(operation, params)
    wire_format = wire.wire_format_of_operation(operation, as_str(params.get("modelId")), body)
    if wire_format is None:
        return None
    request_info = _request_info(handler, client, operation, params, wire_format)
    return _BotocoreCall(client, operation, body, request_info)


def observe_call(handler: TelemetryHandler, client: Any, arguments: Mapping[str, Any]) -> Flow:
    """Keep the parameters of a logical call in the context, for `observe_request`."""
    params = as_mapping(arguments["api_params"])
    call = _find_llm_call(handler, client, arguments["operation_name"], params)
    yield otel.set_value(_CURRENT_CALL_KEY, call) if call is not None else None


def observe_request(handler: TelemetryHandler, client: Any, arguments: Mapping[str, Any]) -> Flow:
    """Observe the request of a call, with its retries.

    The spans of other instrumentations are open here.
    """
    call = cast("_BotocoreCall | None", otel.get_value(_CURRENT_CALL_KEY))
    if call is None or call.client is not client:
        yield None
        return
    invocation = start_invocation(
        handler, call.request_info, call.body, _cache_scope_of_client(client)
    )
    result = yield invocation.context
    if result.error is not None:
        invocation.fail(result.error)
    elif safely(_process_response, call, invocation, *result.result):
        return
    invocation.finish()


def _cache_scope_of_client(client: Any) -> str:
    """Return the client's access key id; without one, the name of its credential source.

    It is read from the credentials object's own state: its public attributes may refresh the
    credentials over the network.
    """
    credentials: Any = getattr(getattr(client, "_request_signer", None), "_credentials", None)
    attributes: JSONObject = getattr(credentials, "__dict__", {})
    return as_str(attributes.get("access_key")) or str(getattr(credentials, "method", ""))


def _process_response(
    call: _BotocoreCall, invocation: Invocation, http_response: Any, parsed_response: JSONObject
) -> bool:
    """Record a response; return whether it holds a stream that the application has to read."""
    metadata = as_mapping(parsed_response.get("ResponseMetadata"))
    invocation.retries = cast("int | None", metadata.get("RetryAttempts"))
    if http_response.status_code >= 300:
        code = as_str(as_mapping(parsed_response.get("Error")).get("Code"))
        invocation.error_type = call.client.exceptions.from_code(code).__name__
        return False
    stream = parsed_response.get("stream" if call.operation == "ConverseStream" else "body")
    if stream is None:
        invocation.on_event(parsed_response)
        return False
    state = _ResponseStreamState(invocation, call.operation)
    setattr(stream, _STATE_ATTRIBUTE, state)
    if call.operation == "InvokeModel":
        safely(_observe_raw_body, stream, state)
    return True


def _find_stream_state(stream: Any) -> _ResponseStreamState | None:
    return getattr(stream, _STATE_ATTRIBUTE, None)


def _finish_stream_at_its_end(stream: Any, state: _ResponseStreamState) -> None:
    """Finish the invocation, and remove our attribute from the stream."""
    state.finish()
    if _find_stream_state(stream) is state:
        delattr(stream, _STATE_ATTRIBUTE)


def observe_event(handler: TelemetryHandler, stream: Any, arguments: Mapping[str, Any]) -> Flow:
    """Report one event when the SDK parses it.

    OpenLLMetry ends its span there, before the iteration returns the event.
    """
    state = _find_stream_state(stream)
    result = yield None
    if state is not None and result.result is not None:
        event = wire.unwrap_stream_event(state.operation, result.result)
        event = parse_json_object(event) if isinstance(event, bytes) else event
        safely(state.invocation.on_event, event)


def observe_event_stream(
    handler: TelemetryHandler, stream: Any, arguments: Mapping[str, Any]
) -> Flow:
    """Observe the iteration over a stream.

    An application may stop and continue it, so only the stream's own end finishes the call.
    """
    state, result = _find_stream_state(stream), StepResult(is_final=False)
    while not result.is_final:
        result = yield None
        if state is None:
            return
        if result.error is not None:
            state.invocation.fail(result.error)
    if state is not None and not result.is_abandoned:
        _finish_stream_at_its_end(stream, state)


def observe_body_read(handler: TelemetryHandler, body: Any, arguments: Mapping[str, Any]) -> Flow:
    """Observe one read of a body."""
    state = _find_stream_state(body)
    if state is None:
        yield None
        return
    state.is_body_being_read = True
    result = yield None
    state.is_body_being_read = False
    if result.error is not None:
        state.invocation.fail(result.error)
        _finish_stream_at_its_end(body, state)
    elif state.feed(*_bytes_and_size_of_read(result.result, arguments)):
        _finish_stream_at_its_end(body, state)


def _bytes_and_size_of_read(result: Any, arguments: Mapping[str, Any]) -> tuple[bytes, int | None]:
    """Return the bytes of `read(amt)` or `readinto(b)`, and the number requested; None for all."""
    target = arguments.get("b")
    if target is None:
        return result, arguments.get("amt")
    return bytes(target[:result]), len(target)


def observe_close(handler: TelemetryHandler, stream: Any, arguments: Mapping[str, Any]) -> Flow:
    """Finish the invocation when the application closes the stream."""
    yield None
    state = _find_stream_state(stream)
    if state is not None:
        _finish_stream_at_its_end(stream, state)


_REQUEST_PARAMETERS: Final = ("operation_model", "request_dict", "request_context")


def _hooks_of_client_class(class_name: str) -> tuple[Hook, ...]:
    return (
        Hook(class_name, "_make_api_call", ("operation_name", "api_params"), observe_call),
        Hook(class_name, "_make_request", _REQUEST_PARAMETERS, observe_request),
    )


def _hooks_of_body_class(class_name: str) -> tuple[Hook, ...]:
    return (
        Hook(class_name, "read", ("amt",), observe_body_read),
        Hook(class_name, "readinto", ("b",), observe_body_read, is_optional=True),
        Hook(class_name, "close", (), observe_close, is_optional=True),
        Hook(class_name, "aclose", (), observe_close, is_optional=True),
    )


HOOKS: Final[Mapping[str, tuple[Hook, ...]]] = {
    "botocore.client": _hooks_of_client_class("BaseClient"),
    "botocore.eventstream": (
        Hook("EventStream", "_parse_event", ("event",), observe_event),
        Hook("EventStream", "__iter__", (), observe_event_stream),
        Hook("EventStream", "close", (), observe_close),
    ),
    "botocore.response": (
        *_hooks_of_body_class("StreamingBody"),
        Hook("StreamingBody", "__exit__", (), observe_close),
    ),
    "aiobotocore.client": _hooks_of_client_class("AioBaseClient"),
    "aiobotocore.eventstream": (
        # Older releases inherit it from botocore's class.
        Hook("AioEventStream", "_parse_event", ("event",), observe_event, is_optional=True),
        Hook("AioEventStream", "__anext__", (), observe_event_stream),
    ),
    "aiobotocore.response": (
        *_hooks_of_body_class("StreamingBody"),
        *(hook._replace(is_optional=True) for hook in _hooks_of_body_class("HttpxStreamingBody")),
    ),
}
"""The hooks of each module of the SDKs."""
