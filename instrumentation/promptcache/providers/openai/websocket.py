"""OpenAI over WebSocket: one call per response id, from the request event to its terminal event.

Responses (`responses.connect`) and Realtime share one base connection (openai-python 3.52.0, file
`_websocket_connection.py`): every request leaves by `send_raw`, every event comes by `recv_bytes`. Before openai 3
each has its own `observe_send` and `observe_close` (read in 1.109 and 2.54). Several responses may run at once, told apart by
`stream_id` until their id is known. Libraries that open a socket of their own (the
OpenAI Agents SDK in its WebSocket mode) pass none of this and are not seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit
from weakref import WeakKeyDictionary

from promptcache.common.coerce import JSONObject, as_mapping, as_str
from promptcache.common.safely import safely
from promptcache.patching.byte_stream import parse_json_object
from promptcache.patching.flow import Flow
from promptcache.patching.wrapping import Hook
from promptcache.providers.openai.wire import RESPONSES
from promptcache.telemetry.handler import RequestInfo, TelemetryHandler
from promptcache.telemetry.invocation import Invocation
from promptcache.telemetry.spans import should_instrument

REQUEST_EVENT: Final = "response.create"
RELEVANT_BYTES: Final = (b'"response":', b'"error"')
RESPONSE_STARTED_EVENT: Final = "response.created"


class WebSocketCalls:
    """The calls that are underway on one connection."""

    def __init__(self, handler: TelemetryHandler, connection: Any) -> None:
        self.handler = handler
        opening: Any = getattr(connection, "request", None)
        headers: Mapping[str, str] = getattr(opening, "headers", None) or {}
        target = urlsplit(f"//{headers.get('Host', '')}{getattr(opening, 'path', '')}")
        self._host, self._port = target.hostname, target.port
        self._model = parse_qs(target.query).get("model", [None])[0]
        self._cache_scope = handler.hasher.keyed_digest(headers.get("Authorization", ""))
        self._waiting_invocations: dict[str | None, deque[Invocation]] = {}
        self._running_invocations: dict[str, Invocation] = {}

    def on_sent_event(self, event: JSONObject) -> Invocation | None:
        """The application sends `event`; gives the record of the call that it begins, if it begins one."""
        if event.get("type") != REQUEST_EVENT or not should_instrument():
            return None
        record = self._start_invocation(event)
        self._waiting_invocations.setdefault(as_str(event.get("stream_id")), deque()).append(record)
        return record

    def _start_invocation(self, event: JSONObject) -> Invocation:
        # Responses put the body beside the type, Realtime one level down.
        body = as_mapping(event.get("response")) or {
            name: value for name, value in event.items() if name != "type"
        }
        model = as_str(body.get("model")) or self._model
        provider = self.handler.provider_for_host(self._host, "openai")
        asked = RequestInfo(RESPONSES, provider, model, self._host, self._port, stream=True)
        record = Invocation(self.handler, asked)
        safely(
            record.on_request_sent,
            asked.to_request(body, self._cache_scope, record.started_at),
            None,
        )
        return record

    def on_message(self, message: bytes | str) -> None:
        """An event arrives."""
        raw = message.encode() if isinstance(message, str) else message
        if (
            self._running_invocations
            and not any(word in raw for word in RELEVANT_BYTES)
            and not self._awaits_output()
        ):
            return
        event = parse_json_object(raw)
        if event.get("type") == "error":
            self._on_error(event)
            return
        response = as_mapping(event.get("response"))
        named = as_str(response.get("id")) or as_str(event.get("response_id"))
        if event.get("type") == RESPONSE_STARTED_EVENT and named:
            self._running_invocations[named] = self._take_waiting_invocation(
                as_str(event.get("stream_id"))
            )
        record = (
            self._running_invocations.get(named)
            if named
            else next(iter(self._running_invocations.values()), None)
        )
        if record is None:
            return
        record.on_event(event)
        if record.facts.is_terminal and named:
            self._running_invocations.pop(named).finish()

    def _on_error(self, event: JSONObject) -> None:
        """An error names no response: it answers the oldest request of its stream that has none yet."""
        asked = self._waiting_invocations.get(as_str(event.get("stream_id")))
        if asked:
            record = asked.popleft()
            record.on_event(event)
            record.finish()
        elif self._running_invocations:
            next(iter(self._running_invocations.values())).on_event(event)

    def _awaits_output(self) -> bool:
        return any(not record.has_output for record in self._running_invocations.values())

    def _take_waiting_invocation(self, stream: str | None) -> Invocation:
        """The call that asked for a response on `stream`; a server may also begin one by itself (Realtime)."""
        asked = self._waiting_invocations.get(stream)
        return asked.popleft() if asked else self._start_invocation({})

    def finish(self, error: BaseException | None = None) -> None:
        """The connection is gone, and with it every answer that is still due."""
        due = self._unfinished_invocations()
        self._running_invocations.clear()
        self._waiting_invocations.clear()
        for record in due:
            if error is not None:
                record.fail(error)
            record.finish()

    def _unfinished_invocations(self) -> list[Invocation]:
        return [
            *self._running_invocations.values(),
            *(record for asked in self._waiting_invocations.values() for record in asked),
        ]

    def __del__(self) -> None:
        if "_running_invocations" in self.__dict__:
            for record in safely(self._unfinished_invocations) or ():
                safely(record.finalize)


_calls_by_connection: WeakKeyDictionary[Any, WebSocketCalls] = WeakKeyDictionary()


def _calls_of_connection(observer: TelemetryHandler, connection: Any) -> WebSocketCalls:
    known = _calls_by_connection.get(connection)
    if known is None or known.handler is not observer:
        known = _calls_by_connection[connection] = WebSocketCalls(observer, connection._connection)
    return known


def _sent_event(connection: Any, call: Mapping[str, Any]) -> JSONObject:
    """What leaves, if it asks for a response: as text, or as an event where no base of the connection will see text."""
    if "data" in call:
        data = call["data"]
        raw = data.encode() if isinstance(data, str) else bytes(data)
        return parse_json_object(raw) if REQUEST_EVENT.encode() in raw else {}
    if any(base.__name__ in BASE_CLASSES for base in type(connection).__mro__):
        return {}
    event = call["event"]
    if isinstance(event, Mapping):
        return cast("JSONObject", event)
    return (
        parse_json_object(event.to_json(exclude_unset=True).encode())
        if getattr(event, "type", None) == REQUEST_EVENT
        else {}
    )


def observe_send(observer: TelemetryHandler, connection: Any, call: Mapping[str, Any]) -> Flow:
    """A message leaves; one that asks for a response begins a call."""
    said = _sent_event(connection, call)
    record = _calls_of_connection(observer, connection).on_sent_event(said) if said else None
    ended = yield None
    if record is not None and ended.error is not None:
        record.fail(ended.error)
        record.finish()


def observe_receive(observer: TelemetryHandler, connection: Any, call: Mapping[str, Any]) -> Flow:
    """A message arrives, or the connection turns out to be gone."""
    socket = _calls_of_connection(observer, connection)
    ended = yield None
    if ended.error is None:
        socket.on_message(ended.result)
    elif type(ended.error).__name__.startswith("ConnectionClosed"):
        socket.finish(None if type(ended.error).__name__ == "ConnectionClosedOK" else ended.error)


def observe_close(observer: TelemetryHandler, connection: Any, call: Mapping[str, Any]) -> Flow:
    """The application hangs up."""
    socket = _calls_of_connection(observer, connection)
    yield None
    socket.finish()


BASE_CLASSES: Final = ("WebSocketConnectionBase", "AsyncWebSocketConnectionBase")
BASE_CONNECTION_HOOKS: Final = tuple(
    target
    for owner in BASE_CLASSES
    for target in (
        Hook(owner, "send_raw", ("data",), around_call=observe_send),
        Hook(owner, "close", (), around_call=observe_close),
    )
)


def connection_hooks(*class_names: str, is_optional: bool = False) -> tuple[Hook, ...]:
    """Where events of these connections arrive; and leave, where they have no base."""
    return tuple(
        target
        for owner in class_names
        for target in (
            Hook(owner, "recv_bytes", (), around_call=observe_receive, is_optional=is_optional),
            Hook(owner, "send", ("event",), around_call=observe_send, is_optional=True),
            Hook(owner, "send_raw", ("data",), around_call=observe_send, is_optional=True),
            Hook(owner, "close", (), around_call=observe_close, is_optional=True),
        )
    )
