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

from promptcache import ambient
from promptcache.observe import Record
from promptcache.observer import Asked, Observer
from promptcache.patch.around import Around, Ended, Flow
from promptcache.patch.drive import Target
from promptcache.patch.response import LARGEST_BODY, parsed
from promptcache.patch.sent import opened
from promptcache.providers import bedrock
from promptcache.providers.wire import JSON, Wire, mapping, text
from promptcache.safety import safely
from promptcache.spans import welcome

SERVICE: Final = "bedrock-runtime"
_CALL: Final = otel.create_key("promptcache-bedrock")
_HELD: Final = "_self_promptcache"
"""Where a stream carries its record; the prefix keeps it on a wrapt proxy instead of what that proxies."""


class _Call(NamedTuple):
    """One logical call while it runs."""

    client: Any
    operation: str
    body: JSON
    asked: Asked


class _Held:
    """The record of a stream that is yet to be read; ends with that stream."""

    def __init__(self, record: Record, operation: str) -> None:
        self.record, self.operation = record, operation
        self.kept = bytearray()
        self.watched = False
        """Whether the body itself is being read, and not only what lies under it."""
        self.raw: Callable[[], Any] = lambda: None
        """What lies under it, with our ear at it, if that is still there."""

    def hear(self, chunk: bytes, wanted: int | None) -> bool:
        """Some of a body that nobody parses but the application, which `wanted` that much; whether it was the last."""
        if len(self.kept) + len(chunk) <= LARGEST_BODY:
            self.kept += chunk
        return wanted is None or wanted < 0 or (wanted > 0 and not chunk)

    def listen(self) -> None:
        if self.kept:
            self.record.saw(parsed(bytes(self.kept)))
            self.kept.clear()

    def end(self) -> None:
        safely(self.listen)
        self.record.end()
        if (raw := self.raw()) is not None:
            raw.__dict__.pop("read", None)

    def leave(self) -> None:
        """Ends with the next call, where a finalizer runs in the middle of telemetry's own code."""
        if ambient.telemetry_runs(sys._getframe()):  # pyright: ignore[reportPrivateUsage]  # a cheap stack walk
            self.record.observer.dropped.append(self)
        else:
            self.end()

    def __del__(self) -> None:
        safely(self.leave)


def _overhear(body: Any, held: _Held) -> None:
    """Hears also what is read past `body`: OpenLLMetry and OpenInference take out of it what it reads from."""
    raw: Any = getattr(body, "_raw_stream", None)
    if isinstance(body, IOBase) and raw is not None and "read" not in vars(raw):
        held.raw = ref(raw)
        raw.read = partial(_overheard, held.raw, held)


def _overheard(
    raw: Callable[[], Any], held: _Held, amt: int | None = None, *args: Any, **kwargs: Any
) -> bytes:
    alive = raw()
    with Around(_past, held, amt) as turn:
        turn.result = alive.__class__.read(alive, amt, *args, **kwargs)
    chunk: bytes = turn.result
    return chunk


def _past(held: _Held, wanted: int | None) -> Flow:
    """Some bytes of a body, or all that are left, unless the body itself asked for them."""
    ended = yield None
    if held.watched:
        return
    if ended.error is not None:
        held.record.failed(ended.error)
    if ended.error is not None or held.hear(ended.result, wanted):
        held.end()


def _asked(observer: Observer, client: Any, operation: str, params: JSON, wire: Wire) -> Asked:
    url = urlsplit(text(client.meta.endpoint_url) or "")
    return Asked(
        wire=wire,
        provider=observer.provider(url.hostname, "aws.bedrock"),
        model=text(params.get("modelId")),
        host=url.hostname,
        port=url.port or {"https": 443, "http": 80}.get(url.scheme),
        stream=bedrock.OPERATIONS[operation],
    )


def _body(operation: str, params: JSON) -> JSON:
    """The body as plain data; one given as an open file stays unread."""
    if operation.startswith("Converse"):
        return params
    body = params.get("body")
    if isinstance(body, str):
        return parsed(body.encode())
    return parsed(bytes(body)) if isinstance(body, bytes | bytearray) else {}


def call(observer: Observer, client: Any, call: Mapping[str, Any]) -> Flow:
    """One logical call: its parameters wait here for its request."""
    operation, params = call["operation_name"], mapping(call["api_params"])
    ours = client.meta.service_model.service_name == SERVICE and operation in bedrock.OPERATIONS
    body = _body(operation, params) if ours and welcome() else None
    wire = bedrock.wire(operation, text(params.get("modelId")), body) if body is not None else None
    if body is None or wire is None:
        yield None
        return
    asked = _asked(observer, client, operation, params, wire)
    yield otel.set_value(_CALL, _Call(client, operation, body, asked))


def send(observer: Observer, client: Any, call: Mapping[str, Any]) -> Flow:
    """The request of a call, retries inside: every span around it is open here, and its answer has just begun."""
    underway = cast("_Call | None", otel.get_value(_CALL))
    if underway is None or underway.client is not client:
        yield None
        return
    record = opened(observer, underway.asked, underway.body, _tenant(client))
    ended = yield record.context
    if ended.error is not None:
        record.failed(ended.error)
    elif safely(_answered, underway, record, *ended.result):
        return
    record.end()


def _tenant(client: Any) -> str:
    """Whose cache it is, as far as it shows without asking for credentials, which may go to the network."""
    credentials: Any = getattr(getattr(client, "_request_signer", None), "_credentials", None)
    known: JSON = getattr(credentials, "__dict__", {})
    lasting = text(known.get("access_key"))
    return lasting or str(getattr(credentials, "method", ""))


def _answered(underway: _Call, record: Record, http: Any, answer: JSON) -> bool:
    """Takes up an answer; says whether a stream of it is left to read, with which the record will end."""
    record.retries = cast(
        "int | None", mapping(answer.get("ResponseMetadata")).get("RetryAttempts")
    )
    if http.status_code >= 300:
        code = text(mapping(answer.get("Error")).get("Code"))
        record.error = underway.client.exceptions.from_code(code).__name__
        return False
    stream = answer.get("stream" if underway.operation == "ConverseStream" else "body")
    if stream is None:
        record.saw(answer)
        return False
    held = _Held(record, underway.operation)
    setattr(stream, _HELD, held)
    if underway.operation == "InvokeModel":
        safely(_overhear, stream, held)
    return True


def _held(stream: Any) -> _Held | None:
    return getattr(stream, _HELD, None)


def _end(stream: Any, held: _Held) -> None:
    """Ends the call; the stream is as it was without us."""
    held.end()
    if _held(stream) is held:
        delattr(stream, _HELD)


def event(observer: Observer, stream: Any, call: Mapping[str, Any]) -> Flow:
    """One event, where it is parsed: OpenLLMetry ends its span right there, before anybody iterates on to it."""
    held = _held(stream)
    ended = yield None
    if held is not None and ended.result is not None:
        said = bedrock.event_of(held.operation, ended.result)
        safely(held.record.saw, parsed(said) if isinstance(said, bytes) else said)


def events(observer: Observer, stream: Any, call: Mapping[str, Any]) -> Flow:
    """The whole stream. Whoever stops iterating may go on later: only the stream's own end is the call's."""
    held, ended = _held(stream), Ended(last=False)
    while not ended.last:
        ended = yield None
        if held is None:
            return
        if ended.error is not None:
            held.record.failed(ended.error)
    if held is not None and not ended.left:
        _end(stream, held)


def read(observer: Observer, body: Any, call: Mapping[str, Any]) -> Flow:
    """Some bytes of a body, or all that are left."""
    held = _held(body)
    if held is None:
        yield None
        return
    held.watched = True
    ended = yield None
    held.watched = False
    if ended.error is not None:
        held.record.failed(ended.error)
        _end(body, held)
    elif held.hear(*_got(ended.result, call)):
        _end(body, held)


def _got(result: Any, call: Mapping[str, Any]) -> tuple[bytes, int | None]:
    """What a body gave, and how much of it was wanted; None for all."""
    into = call.get("b")
    return (result, call.get("amt")) if into is None else (bytes(into[:result]), len(into))


def close(observer: Observer, stream: Any, call: Mapping[str, Any]) -> Flow:
    """The application wants no more."""
    yield None
    held = _held(stream)
    if held is not None:
        _end(stream, held)


def _client(owner: str) -> tuple[Target, ...]:
    return (
        Target(owner, "_make_api_call", ("operation_name", "api_params"), call),
        Target(
            owner, "_make_request", ("operation_model", "request_dict", "request_context"), send
        ),
    )


def _reading(owner: str) -> tuple[Target, ...]:
    return (
        Target(owner, "read", ("amt",), read),
        Target(owner, "readinto", ("b",), read, optional=True),
        Target(owner, "close", (), close, optional=True),
        Target(owner, "aclose", (), close, optional=True),
    )


TARGETS: Final[Mapping[str, tuple[Target, ...]]] = {
    "botocore.client": _client("BaseClient"),
    "botocore.eventstream": (
        Target("EventStream", "_parse_event", ("event",), event),
        Target("EventStream", "__iter__", (), events),
        Target("EventStream", "close", (), close),
    ),
    "botocore.response": (
        *_reading("StreamingBody"),
        Target("StreamingBody", "__exit__", (), close),
    ),
    "aiobotocore.client": _client("AioBaseClient"),
    "aiobotocore.eventstream": (
        Target(
            "AioEventStream", "_parse_event", ("event",), event, optional=True
        ),  # older ones inherit it
        Target("AioEventStream", "__anext__", (), events),
    ),
    "aiobotocore.response": (
        *_reading("StreamingBody"),
        *(
            Target(
                "HttpxStreamingBody", target.name, target.parameters, target.around, optional=True
            )
            for target in _reading("StreamingBody")
        ),
    ),
}
"""Where to stand, by module."""
