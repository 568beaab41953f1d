"""The hooks of OpenAI's WebSockets: one call for each response id.

A call lasts from its request event to the terminal event of its response.

Responses (`responses.connect`) and Realtime share one base connection (openai-python 3.52.0, file
`_websocket_connection.py`): every request is sent by `send_raw`, every event is received by
`recv_bytes`. Before openai 3 each connection has its own `send` and `close` (read in 1.109 and
2.54). Several responses may run at once; they are distinguished by `stream_id` until their id is
known. A library that opens its own WebSocket (the OpenAI Agents SDK in its WebSocket mode) does not
use these connections and is not observed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit
from weakref import WeakKeyDictionary

from promptcache.common.coerce import JSONObject, as_mapping, as_str
from promptcache.common.safely import safely
from promptcache.patching.event_decoder import parse_json_object
from promptcache.patching.flow import Flow
from promptcache.patching.hook import Hook
from promptcache.providers.openai.wire import RESPONSES
from promptcache.telemetry.foreign_spans import should_instrument
from promptcache.telemetry.handler import TelemetryHandler
from promptcache.telemetry.invocation import Invocation
from promptcache.telemetry.request_info import RequestInfo

REQUEST_EVENT: Final = "response.create"
RELEVANT_BYTES: Final = (b'"response":', b'"error"')
"""Every event that ends a response, or reports an error, contains one of these. Other events need
not be parsed."""
RESPONSE_STARTED_EVENT: Final = "response.created"


class WebSocketCalls:
    """The unfinished calls of one connection."""

    def __init__(self, handler: TelemetryHandler, connection: Any) -> None:
        self.handler = handler
        handshake: Any = getattr(connection, "request", None)
        headers: Mapping[str, str] = getattr(handshake, "headers", None) or {}
        url = urlsplit(f"//{headers.get('Host', '')}{getattr(handshake, 'path', '')}")
        self._host, self._port = url.hostname, url.port
        self._model = parse_qs(url.query).get("model", [None])[0]
        self._cache_scope = handler.hasher.keyed_digest(headers.get("Authorization", ""))
        self._waiting_invocations: dict[str | None, deque[Invocation]] = {}
        """Calls whose response has no id yet, by `stream_id`, oldest first."""
        self._running_invocations: dict[str, Invocation] = {}
        """Calls whose response has begun, by response id."""

    def on_sent_event(self, event: JSONObject) -> Invocation | None:
        """Process an event that the application sends; return the invocation that it starts."""
        if event.get("type") != REQUEST_EVENT or not should_instrument():
            return None
        invocation = self._start_invocation(event)
        stream_id = as_str(event.get("stream_id"))
        self._waiting_invocations.setdefault(stream_id, deque()).append(invocation)
        return invocation

    def _start_invocation(self, event: JSONObject) -> Invocation:
        # Responses has the body beside `type`, Realtime has it in `response`.
        body = as_mapping(event.get("response")) or {
            name: value for name, value in event.items() if name != "type"
        }
        model = as_str(body.get("model")) or self._model
        provider = self.handler.provider_for_host(self._host, "openai", model=model)
        info = RequestInfo(RESPONSES, provider, model, self._host, self._port, stream=True)
        invocation = Invocation(self.handler, info)
        request = info.to_request(body, self._cache_scope, invocation.started_at)
        safely(invocation.on_request_built, request)
        return invocation

    def on_message(self, message: bytes | str) -> None:
        """Process an event that the server sent."""
        raw = message.encode() if isinstance(message, str) else message
        if self._can_skip_message(raw):
            return
        event = parse_json_object(raw)
        if event.get("type") == "error":
            self._on_error_event(event)
            return
        response = as_mapping(event.get("response"))
        response_id = as_str(response.get("id")) or as_str(event.get("response_id"))
        if event.get("type") == RESPONSE_STARTED_EVENT and response_id:
            stream_id = as_str(event.get("stream_id"))
            self._running_invocations[response_id] = self._take_waiting_invocation(stream_id)
        invocation = self._find_running_invocation(response_id)
        if invocation is None:
            return
        invocation.on_event(event)
        if invocation.facts.is_terminal and response_id:
            self._running_invocations.pop(response_id).finish()

    def _can_skip_message(self, raw: bytes) -> bool:
        """Return whether an event holds nothing that we read.

        Until a call has output, every event may be its first output.
        """
        if not self._running_invocations or any(part in raw for part in RELEVANT_BYTES):
            return False
        return all(invocation.has_output for invocation in self._running_invocations.values())

    def _find_running_invocation(self, response_id: str | None) -> Invocation | None:
        if response_id:
            return self._running_invocations.get(response_id)
        return next(iter(self._running_invocations.values()), None)

    def _on_error_event(self, event: JSONObject) -> None:
        """Process an error event.

        It names no response. It answers the oldest request of its stream that has no response yet.
        """
        waiting = self._waiting_invocations.get(as_str(event.get("stream_id")))
        if waiting:
            invocation = waiting.popleft()
            invocation.on_event(event)
            invocation.finish()
        elif oldest := self._find_running_invocation(None):
            oldest.on_event(event)

    def _take_waiting_invocation(self, stream_id: str | None) -> Invocation:
        """Return the invocation that requested a response on `stream_id`.

        A Realtime server may also begin a response without a request; then a new invocation is
        returned.
        """
        waiting = self._waiting_invocations.get(stream_id)
        return waiting.popleft() if waiting else self._start_invocation({})

    def finish_invocations(self, error: BaseException | None = None) -> None:
        """Finish all calls, because the connection is closed; with `error`, they failed."""
        unfinished = self._unfinished_invocations()
        self._running_invocations.clear()
        self._waiting_invocations.clear()
        for invocation in unfinished:
            if error is not None:
                invocation.fail(error)
            invocation.finish()

    def _unfinished_invocations(self) -> list[Invocation]:
        waiting = (call for calls in self._waiting_invocations.values() for call in calls)
        return [*self._running_invocations.values(), *waiting]

    def __del__(self) -> None:
        if "_running_invocations" in self.__dict__:
            for invocation in safely(self._unfinished_invocations) or ():
                safely(invocation.finalize)


_calls_by_connection: WeakKeyDictionary[Any, WebSocketCalls] = WeakKeyDictionary()


def _websocket_calls_of_connection(handler: TelemetryHandler, connection: Any) -> WebSocketCalls:
    calls = _calls_by_connection.get(connection)
    if calls is None or calls.handler is not handler:
        calls = _calls_by_connection[connection] = WebSocketCalls(handler, connection._connection)
    return calls


def _parse_sent_event(connection: Any, arguments: Mapping[str, Any]) -> JSONObject:
    """Return the event that is sent; an empty mapping if it requests no response.

    `send_raw` has text. `send` has an event, and is observed only if its connection has no base
    class whose `send_raw` it would call.
    """
    if "data" in arguments:
        data = arguments["data"]
        raw = data.encode() if isinstance(data, str) else bytes(data)
        return parse_json_object(raw) if REQUEST_EVENT.encode() in raw else {}
    if any(base.__name__ in BASE_CLASSES for base in type(connection).__mro__):
        return {}
    event = arguments["event"]
    if isinstance(event, Mapping):
        return cast("JSONObject", event)
    if getattr(event, "type", None) != REQUEST_EVENT:
        return {}
    return parse_json_object(event.to_json(exclude_unset=True).encode())


def observe_send(handler: TelemetryHandler, connection: Any, arguments: Mapping[str, Any]) -> Flow:
    """Observe a message that the application sends; it may start an invocation."""
    event = _parse_sent_event(connection, arguments)
    calls = _websocket_calls_of_connection(handler, connection) if event else None
    invocation = calls.on_sent_event(event) if calls is not None else None
    result = yield None
    if invocation is not None and result.error is not None:
        invocation.fail(result.error)
        invocation.finish()


def observe_receive(
    handler: TelemetryHandler, connection: Any, arguments: Mapping[str, Any]
) -> Flow:
    """Observe a message from the server, or the exception of a closed connection."""
    calls = _websocket_calls_of_connection(handler, connection)
    result = yield None
    if result.error is None:
        calls.on_message(result.result)
        return
    error_name = type(result.error).__name__
    if error_name.startswith("ConnectionClosed"):
        calls.finish_invocations(None if error_name == "ConnectionClosedOK" else result.error)


def observe_close(handler: TelemetryHandler, connection: Any, arguments: Mapping[str, Any]) -> Flow:
    """Finish all calls when the application closes the connection."""
    calls = _websocket_calls_of_connection(handler, connection)
    yield None
    calls.finish_invocations()


BASE_CLASSES: Final = ("WebSocketConnectionBase", "AsyncWebSocketConnectionBase")
BASE_CONNECTION_HOOKS: Final = tuple(
    hook
    for class_name in BASE_CLASSES
    for hook in (
        Hook(class_name, "send_raw", ("data",), observe_send),
        Hook(class_name, "close", (), observe_close),
    )
)
"""The hooks of the base connections of openai 3."""


def websocket_connection_hooks(*class_names: str, is_optional: bool = False) -> tuple[Hook, ...]:
    """Return the hooks of these connections.

    The hooks of `send`, `send_raw` and `close` are for releases without the base connection.
    """
    return tuple(
        hook
        for class_name in class_names
        for hook in (
            Hook(class_name, "recv_bytes", (), observe_receive, is_optional=is_optional),
            Hook(class_name, "send", ("event",), observe_send, is_optional=True),
            Hook(class_name, "send_raw", ("data",), observe_send, is_optional=True),
            Hook(class_name, "close", (), observe_close, is_optional=True),
        )
    )
