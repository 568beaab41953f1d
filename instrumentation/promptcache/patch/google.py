"""Google Gemini's SDK: every request but those of the Interactions API passes `BaseApiClient`, whatever carries it.

Under `request`, `request_streamed` and their async twins lie four transports and the retries; the names of their
parameters are the same in google-genai 1.30 to 3.4 (read in November 2026). Interactions have a stack of their own
(`_gaos.basesdk`; in 2.0 that of the generator that openai and anthropic come from).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import urlsplit

from opentelemetry import context as otel

from promptcache.observe import Record
from promptcache.observer import Asked, Observer
from promptcache.patch.around import Ended, Flow
from promptcache.patch.drive import Target
from promptcache.patch.named_caches import Where, managed, show_cached
from promptcache.patch.response import KEY, parsed, watch
from promptcache.patch.sent import credential, opened
from promptcache.patch.stainless import SDK, Stainless
from promptcache.providers import gemini, gemini_caches
from promptcache.providers.wire import JSON, WHOLE, Route, find, mapping, text
from promptcache.safety import safely
from promptcache.spans import welcome

VERTEX: Final = "gcp.vertex_ai"
GEMINI: Final = "gcp.gemini"
_RECORD: Final = otel.create_key("promptcache-gemini")
_PORTS: Final[Mapping[str, int]] = {"https": 443, "http": 80}


def provider(client: Any) -> str:
    """Whether a client speaks to Vertex AI or to the Gemini API."""
    return VERTEX if getattr(client, "vertexai", None) else GEMINI


def _where(observer: Observer, url: str, default: str) -> Where:
    parts = urlsplit(url)
    return Where(
        observer.provider(parts.hostname, default),
        parts.hostname,
        parts.port or _PORTS.get(parts.scheme),
    )


def _base_url(client: Any, options: object) -> str:
    """The address that a request goes to: the call's own, else the client's."""
    for given in (options, getattr(client, "_http_options", None)):
        url = text(mapping(given).get("base_url") or getattr(given, "base_url", None))
        if url is not None:
            return url
    return ""


def _open(
    observer: Observer, where: Where, route: Route, path: str, body: JSON, tenant: object
) -> Record:
    """The record of a call whose body is known before it is sent, opened and settled."""
    asked = Asked(
        wire=route.wire,
        provider=where.provider,
        model=text(body.get("model")) or text(body.get("agent")) or gemini.model(path),
        host=where.host,
        port=where.port,
        stream=":streamGenerateContent" in path or body.get("stream") is True,
        fetch=route.fetch,
    )
    record = opened(observer, asked, body, tenant)
    safely(show_cached, record, body)
    return record


def exchange(observer: Observer, client: Any, call: Mapping[str, Any]) -> Flow:
    """One request and its answer, plain or streamed: a call, or what is done to a named cache."""
    method, path, body = call["http_method"], call["path"], mapping(call["request_dict"])
    if not welcome():
        return _nothing()
    where = _where(observer, _base_url(client, call.get("http_options")), provider(client))
    operation = gemini_caches.cache_operation(method, path)
    if operation is not None:
        return managed(observer, operation, where, path, body)
    route = find(gemini.ROUTES, method, path)
    if route is None:
        return _nothing()
    tenant = [text(getattr(client, name, None)) for name in ("api_key", "project", "location")]
    return _generated(_open(observer, where, route, path, body, tenant))


def _nothing() -> Flow:
    yield None


def _generated(record: Record) -> Flow:
    # The counts of a stream are cumulative: between its first chunk and its last, one is as good as the next.
    context = otel.set_value(_RECORD, record, record.context)
    ended, begun, latest = Ended(last=False), False, ""
    try:
        while not ended.last:
            ended = yield context
            body = text(getattr(ended.result, "body", None), WHOLE)
            if ended.error is not None:
                record.failed(ended.error)
            if body is not None and (ended.last or not begun or '"finishReason"' in body):
                safely(record.saw, _event(ended.result, body))
                begun, latest = True, ""
            elif body is not None:
                latest = body
    finally:
        if latest:
            safely(record.saw, parsed(latest.encode()))
        record.leave(busy=ended.busy)


def _event(response: Any, body: str) -> JSON:
    """A response with the tier that its header tells."""
    event = parsed(body.encode())
    tier = mapping(getattr(response, "headers", None)).get(gemini.SERVICE_TIER)
    return {**event, gemini.SERVICE_TIER: tier} if tier else event


def attempt(observer: Observer, client: Any, call: Mapping[str, Any]) -> Flow:
    """One attempt of a request; all after the first are resends."""
    record = cast("Record | None", otel.get_value(_RECORD))
    if record is not None:
        record.retries = 0 if record.retries is None else record.retries + 1
    yield None


def interact(observer: Observer, sdk: Any, call: Mapping[str, Any]) -> Flow:
    """One request of the Interactions API, and its answer, read or yet to be read."""
    sent = call["request"]
    route = find(gemini.INTERACTION_ROUTES, sent.method, sent.url.path) if welcome() else None
    if route is None:
        yield None
        return
    default = VERTEX if "aiplatform" in sent.url.host else GEMINI
    body: JSON = parsed(sent.content) if sent.method == "POST" else {}
    record = _open(
        observer,
        _where(observer, str(sent.url), default),
        route,
        "",
        body,
        credential(sent.headers),
    )
    ended = yield record.context
    response = ended.result
    if ended.error is not None:
        record.failed(ended.error)
    elif response.status_code >= 400:
        record.error = str(response.status_code)  # the SDK raises later, outside
    elif not response.is_closed:
        response.extensions[KEY] = record
        watch(response, record)
        return
    else:
        tier = response.headers.get(gemini.SERVICE_TIER)
        safely(
            record.saw,
            {**parsed(response.content), **({gemini.SERVICE_TIER: tier} if tier else {})},
        )
    record.end()


_REQUEST: Final = ("http_method", "path", "request_dict", "http_options")
TARGETS: Final[Mapping[str, tuple[Target, ...]]] = {
    "google.genai._api_client": (
        Target("BaseApiClient", "request", _REQUEST, exchange),
        Target("BaseApiClient", "async_request", _REQUEST, exchange),
        Target("BaseApiClient", "request_streamed", _REQUEST, exchange),
        Target("BaseApiClient", "async_request_streamed", _REQUEST, exchange),
        Target("BaseApiClient", "_request_once", ("http_request",), attempt),
        Target("BaseApiClient", "_async_request_once", ("http_request",), attempt),
    ),
    "google.genai._gaos.basesdk": (
        Target("BaseSDK", "do_request", ("request", "stream"), interact),
        Target("AsyncBaseSDK", "do_request_async", ("request", "stream"), interact),
    ),
    "google.genai._interactions._base_client": Stainless(
        SDK(gemini.INTERACTION_ROUTES, provider)
    ).targets,
}
