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

from promptcache.observe import Record
from promptcache.observer import Asked, Observer
from promptcache.patch.around import Flow
from promptcache.patch.drive import Switch, Target
from promptcache.patch.response import KEY, listen, parsed, recorded, watch
from promptcache.patch.sent import credential
from promptcache.providers.wire import JSON, Route, find, mapping, text
from promptcache.results import Results
from promptcache.safety import safely
from promptcache.spans import welcome

RAW: Final = "X-Stainless-Raw-Response"
"""The SDKs' own mark on calls whose response the application reads by itself."""


@dataclass(frozen=True, slots=True)
class SDK:
    """What the flows need to know of one SDK.

    `provider` is what a client stands for, whatever its host if `sure`; `defer` says whether the SDK will open a span
    of its own for a call (client, options); `headers` are those that belong to the prompt, with the names under which
    they join its body.
    """

    routes: tuple[Route, ...]
    provider: Callable[[Any], str]
    sure: Callable[[Any], bool] = lambda client: False
    defer: Callable[[Any, Any], bool] | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(slots=True)
class _Underway:
    """The `request` that runs in this context, and its record: None where the call is not ours to see."""

    client: Any
    record: Record | None


_underway: ContextVar[_Underway | None] = ContextVar("promptcache-underway", default=None)


def _address(url: Any) -> tuple[str | None, int | None]:
    """Host and port of an httpx URL, without the rest: it may hold credentials."""
    host = text(getattr(url, "host", None))
    port = getattr(url, "port", None) or {"https": 443, "http": 80}.get(getattr(url, "scheme", ""))
    return host, port if host and isinstance(port, int) else None


_MODEL_IN_PATH: Final = re.compile(
    r"/(?:deployments|models?)/([^/]+?)(?::(?:streamR|r)awPredict)?/?(?:\?|/|$)"
)
"""Where Azure (the deployment), Bedrock and Vertex name the model."""


def _model(body: JSON, url: str) -> str | None:
    """The model that the body names, or the path."""
    named = text(body.get("model"))
    found = None if named else _MODEL_IN_PATH.search(url)
    return text(found[1]) if found else named


def _ask(
    sdk: SDK, observer: Observer, client: Any, options: Any, url: Any, *, stream: bool
) -> Asked | None:
    if not welcome():
        return None
    route = find(sdk.routes, options.method, options.url)
    if route is None:
        return None
    host, port = _address(url)
    return Asked(
        wire=route.wire,
        provider=observer.provider(host, sdk.provider(client), sure=sdk.sure(client)),
        model=_model(mapping(options.json_data), options.url),
        host=host,
        port=port,
        stream=stream,
        fetch=route.fetch,
        results=options.url if route.results else None,
        defer=sdk.defer is not None and sdk.defer(client, options),
    )


def _record(observer: Observer, asked: Asked | None, elapsed: float = 0.0) -> Record | None:
    if asked is None:
        return None
    return Results(observer, asked) if asked.results else Record(observer, asked, elapsed)


def _body(sdk: SDK, options: Any, request: Any) -> JSON:
    """The body as it was sent: the SDK's prepared data, else the bytes on the wire."""
    body, extra = mapping(options.json_data), mapping(options.extra_json)
    if extra:
        body = {**body, **extra}
    if not body and options.method.upper() == "POST":
        body = parsed(request.content)
    told = {
        name: value.split(",")
        for header, name in sdk.headers.items()
        if (value := request.headers.get(header))
    }
    return {**told, **body} if told else body


class Stainless:
    """The flows of one SDK."""

    def __init__(self, sdk: SDK) -> None:
        self._sdk = sdk

    @property
    def targets(self) -> tuple[Target, ...]:
        """Where to stand in the SDK's `_base_client` module."""
        asked = ("cast_to", "options")
        answered = ("options", "response", "stream", "retries_taken")
        heard = ("data", "response")
        traced = tuple(
            Target(owner, "_request", asked, around=self.traced, optional=True)
            for owner in ("SyncAPIClient", "AsyncAPIClient")
        )
        return (
            *(traced if self._sdk.defer else ()),
            Target("SyncAPIClient", "request", asked, around=self.request),
            Target("AsyncAPIClient", "request", asked, around=self.request),
            Target("SyncAPIClient", "_process_response", answered, around=self.process_response),
            Target("AsyncAPIClient", "_process_response", answered, around=self.process_response),
            Target(
                "BaseClient",
                "_process_response_data",
                heard,
                before=self.process_data,
                quick=_heard,
            ),
            Target(
                "BaseClient", "_build_request", ("options",), before=self.ask_why, optional=True
            ),
        )

    def request(self, observer: Observer, client: Any, call: Mapping[str, Any]) -> Flow:
        """One logical call, retries inside. Ends the record where the call fails or nobody saw its response."""
        asked = _ask(
            self._sdk,
            observer,
            client,
            call["options"],
            client.base_url,
            stream=bool(call.get("stream")),
        )
        record = _record(observer, asked)
        before, mine = _underway.get(), _Underway(client, record)
        _underway.set(mine)
        try:
            ended = yield record.context if record is not None and record.own else None
        finally:
            if _underway.get() is mine:  # not so where a coroutine is closed from another context
                _underway.set(before)
        if record is not None and ended.error is not None:
            safely(_refused, self._sdk, observer, record, call["options"], ended.error)
            record.failed(ended.error)
        if record is not None and not (record.held and ended.error is None):
            record.end()

    def traced(self, observer: Observer, client: Any, call: Mapping[str, Any]) -> Flow:
        """The part of `request` in which the SDK's own span is current, and still open where the call fails."""
        underway = _underway.get()
        record = underway.record if underway is not None and underway.client is client else None
        if record is None or record.span is not None or not record.asked.defer:
            yield None
            return
        record.enter(otel.get_current())
        ended = yield record.context if record.own else None
        if ended.error is not None:
            record.failed(ended.error)
            record.end()

    def process_response(self, observer: Observer, client: Any, call: Mapping[str, Any]) -> Flow:
        """The response has begun: its record learns the body, and ends now or is watched to its end."""
        options, response = call["options"], call["response"]
        record = self._record(observer, client, options, response, stream=bool(call.get("stream")))
        if record is None:
            yield None
            return
        safely(_sent, self._sdk, observer, record, options, response, call.get("retries_taken"))
        response.extensions[KEY] = record
        record.held = True
        # What reads results is made in there, and would read past us.
        early = record.asked.results is not None and not response.is_closed
        if early:
            watch(response, record)
        ended = yield None
        if ended.error is not None:
            record.failed(ended.error)
        if early:
            return
        if not response.is_closed:
            if response.request.headers.get(RAW) is None:
                safely(record.begun)
            watch(response, record)
            return
        safely(listen, response, record)
        response.extensions.pop(KEY, None)
        record.end()

    def ask_why(self, observer: Observer, client: Any, call: Mapping[str, Any]) -> None:
        """Where the user wants it, each attempt's own copy of the options asks the provider why it missed its cache."""
        underway = _underway.get() if observer.settings.provider_diagnostics else None
        if underway is None or underway.client is not client or underway.record is None:
            return
        record, options = underway.record, call["options"]
        asked, body = record.asked, mapping(options.json_data)
        opening = asked.wire.opening(body)
        if opening is None:
            return
        record.conversation = observer.hasher.digest((asked.provider, asked.host, opening))
        asking = asked.wire.asking(
            asked.provider, body, observer.conversations.get(record.conversation)
        )
        if asking is not None:
            options.json_data = asking

    def process_data(self, observer: Observer, client: Any, call: Mapping[str, Any]) -> None:
        """One parsed body or stream event, before the SDK builds its model of it."""
        _hear(call["data"], call["response"])

    def _record(
        self, observer: Observer, client: Any, options: Any, response: Any, *, stream: bool
    ) -> Record | None:
        underway = _underway.get()
        if underway is not None and underway.client is client:
            record = underway.record
            if record is None or not record.held:
                return record
            # A middleware sent a second request inside the call: another model's, and billed.
        # Else another instrumentation replaced `request` and bypasses ours.
        asked = _ask(self._sdk, observer, client, options, response.request.url, stream=stream)
        return _record(observer, asked, _elapsed(response))


def _hear(data: object, response: Any) -> None:
    record = recorded(response)
    if record is not None:
        record.hear(data)


def _heard(original: Callable[..., Any], switch: Switch) -> Callable[..., Any]:
    """The shell for events: most of them cost one look and nothing else of ours."""

    def heard(self: Any, *, data: Any, cast_to: Any, response: Any) -> Any:
        if switch.observer is not None:
            try:
                dull = response.extensions[KEY].dull(data)
            except (
                AttributeError,
                LookupError,
                TypeError,
                ValueError,
            ):  # all that a look at plain data can raise
                dull = False
            if not dull:
                safely(_hear, data, response)
        return original(self, data=data, cast_to=cast_to, response=response)

    return heard


def _elapsed(response: Any) -> float:
    """Seconds that a response took, where it is in and its transport measured that."""
    try:
        return response.elapsed.total_seconds() if response.is_closed else 0.0
    except RuntimeError:
        return 0.0


def _refused(
    sdk: SDK, observer: Observer, record: Record, options: Any, error: BaseException
) -> None:
    """The call failed before there was a response; the SDK's error knows what was sent, and how often."""
    sent = getattr(error, "request", None)
    if sent is not None and record.own and record.request is None:
        resent = sent.headers.get("x-stainless-retry-count", "")
        _sent(sdk, observer, record, options, error, int(resent) if resent.isdigit() else None)


def _sent(
    sdk: SDK, observer: Observer, record: Record, options: Any, response: Any, retries: int | None
) -> None:
    sent = response.request
    host, port = _address(sent.url)
    body, asked = _body(sdk, options, sent), record.asked
    model = asked.model or _model(body, str(sent.url.path))
    asked = asked._replace(model=model, host=host or asked.host, port=port or asked.port)
    record.sent(
        asked.request(body, observer.hasher.digest(credential(sent.headers)), record.started),
        retries,
    )
