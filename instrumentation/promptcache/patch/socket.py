"""OpenAI over WebSocket: one call per response id, from the request event to its terminal event.

Responses (`responses.connect`) and Realtime share one base connection (openai-python 3.52.0, file
`_websocket_connection.py`): every request leaves by `send_raw`, every event comes by `recv_bytes`. Before openai 3
each has its own `send` and `close` (read in 1.109 and 2.54). Several responses may run at once, told apart by
`stream_id` until their id is known. Libraries that open a socket of their own (the
OpenAI Agents SDK in its WebSocket mode) pass none of this and are not seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit
from weakref import WeakKeyDictionary

from promptcache.observe import Record
from promptcache.observer import Asked, Observer
from promptcache.patch.around import Flow
from promptcache.patch.drive import Target
from promptcache.patch.response import parsed
from promptcache.providers.openai import RESPONSES
from promptcache.providers.wire import JSON, mapping, text
from promptcache.safety import safely
from promptcache.spans import welcome

ASKS: Final = "response.create"
TELLING: Final = (b'"response":', b'"error"')
BEGINS: Final = "response.created"


class _Socket:
    """The calls that are underway on one connection."""

    def __init__(self, observer: Observer, connection: Any) -> None:
        self.observer = observer
        opening: Any = getattr(connection, "request", None)
        headers: Mapping[str, str] = getattr(opening, "headers", None) or {}
        target = urlsplit(f"//{headers.get('Host', '')}{getattr(opening, 'path', '')}")
        self._host, self._port = target.hostname, target.port
        self._model = parse_qs(target.query).get("model", [None])[0]
        self._tenant = observer.hasher.digest(headers.get("Authorization", ""))
        self._asked: dict[str | None, deque[Record]] = {}
        self._running: dict[str, Record] = {}

    def sent(self, event: JSON) -> Record | None:
        """The application sends `event`; gives the record of the call that it begins, if it begins one."""
        if event.get("type") != ASKS or not welcome():
            return None
        record = self._begin(event)
        self._asked.setdefault(text(event.get("stream_id")), deque()).append(record)
        return record

    def _begin(self, event: JSON) -> Record:
        # Responses put the body beside the type, Realtime one level down.
        body = mapping(event.get("response")) or {
            name: value for name, value in event.items() if name != "type"
        }
        model = text(body.get("model")) or self._model
        provider = self.observer.provider(self._host, "openai")
        asked = Asked(RESPONSES, provider, model, self._host, self._port, stream=True)
        record = Record(self.observer, asked)
        safely(record.sent, asked.request(body, self._tenant, record.started), None)
        return record

    def received(self, message: bytes | str) -> None:
        """An event arrives."""
        raw = message.encode() if isinstance(message, str) else message
        if (
            self._running
            and not any(word in raw for word in TELLING)
            and not self._awaits_content()
        ):
            return
        event = parsed(raw)
        if event.get("type") == "error":
            self._refused(event)
            return
        response = mapping(event.get("response"))
        named = text(response.get("id")) or text(event.get("response_id"))
        if event.get("type") == BEGINS and named:
            self._running[named] = self._claim(text(event.get("stream_id")))
        record = self._running.get(named) if named else next(iter(self._running.values()), None)
        if record is None:
            return
        record.saw(event)
        if record.facts.terminal and named:
            self._running.pop(named).end()

    def _refused(self, event: JSON) -> None:
        """An error names no response: it answers the oldest request of its stream that has none yet."""
        asked = self._asked.get(text(event.get("stream_id")))
        if asked:
            record = asked.popleft()
            record.saw(event)
            record.end()
        elif self._running:
            next(iter(self._running.values())).saw(event)

    def _awaits_content(self) -> bool:
        return any(not record.began for record in self._running.values())

    def _claim(self, stream: str | None) -> Record:
        """The call that asked for a response on `stream`; a server may also begin one by itself (Realtime)."""
        asked = self._asked.get(stream)
        return asked.popleft() if asked else self._begin({})

    def end(self, error: BaseException | None = None) -> None:
        """The connection is gone, and with it every answer that is still due."""
        due = self._due()
        self._running.clear()
        self._asked.clear()
        for record in due:
            if error is not None:
                record.failed(error)
            record.end()

    def _due(self) -> list[Record]:
        return [
            *self._running.values(),
            *(record for asked in self._asked.values() for record in asked),
        ]

    def __del__(self) -> None:
        if "_running" in self.__dict__:
            for record in safely(self._due) or ():
                safely(record.drop)


_sockets: WeakKeyDictionary[Any, _Socket] = WeakKeyDictionary()


def _socket(observer: Observer, connection: Any) -> _Socket:
    known = _sockets.get(connection)
    if known is None or known.observer is not observer:
        known = _sockets[connection] = _Socket(observer, connection._connection)
    return known


def _said(connection: Any, call: Mapping[str, Any]) -> JSON:
    """What leaves, if it asks for a response: as text, or as an event where no base of the connection will see text."""
    if "data" in call:
        data = call["data"]
        raw = data.encode() if isinstance(data, str) else bytes(data)
        return parsed(raw) if ASKS.encode() in raw else {}
    if any(base.__name__ in BASES for base in type(connection).__mro__):
        return {}
    event = call["event"]
    if isinstance(event, Mapping):
        return cast("JSON", event)
    return (
        parsed(event.to_json(exclude_unset=True).encode())
        if getattr(event, "type", None) == ASKS
        else {}
    )


def send(observer: Observer, connection: Any, call: Mapping[str, Any]) -> Flow:
    """A message leaves; one that asks for a response begins a call."""
    said = _said(connection, call)
    record = _socket(observer, connection).sent(said) if said else None
    ended = yield None
    if record is not None and ended.error is not None:
        record.failed(ended.error)
        record.end()


def receive(observer: Observer, connection: Any, call: Mapping[str, Any]) -> Flow:
    """A message arrives, or the connection turns out to be gone."""
    socket = _socket(observer, connection)
    ended = yield None
    if ended.error is None:
        socket.received(ended.result)
    elif type(ended.error).__name__.startswith("ConnectionClosed"):
        socket.end(None if type(ended.error).__name__ == "ConnectionClosedOK" else ended.error)


def close(observer: Observer, connection: Any, call: Mapping[str, Any]) -> Flow:
    """The application hangs up."""
    socket = _socket(observer, connection)
    yield None
    socket.end()


BASES: Final = ("WebSocketConnectionBase", "AsyncWebSocketConnectionBase")
SENDING: Final = tuple(
    target
    for owner in BASES
    for target in (
        Target(owner, "send_raw", ("data",), around=send),
        Target(owner, "close", (), around=close),
    )
)


def receiving(*owners: str, optional: bool = False) -> tuple[Target, ...]:
    """Where events of these connections arrive; and leave, where they have no base."""
    return tuple(
        target
        for owner in owners
        for target in (
            Target(owner, "recv_bytes", (), around=receive, optional=optional),
            Target(owner, "send", ("event",), around=send, optional=True),
            Target(owner, "send_raw", ("data",), around=send, optional=True),
            Target(owner, "close", (), around=close, optional=True),
        )
    )
