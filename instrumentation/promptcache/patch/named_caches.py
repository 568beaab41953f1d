"""What is done to Gemini's named caches: one span each, and the rent that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, final

from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context

from promptcache.attributes import (
    CACHE_COMMITTED,
    CACHE_EXPIRES,
    CACHE_NAME,
    CACHE_STORED,
    CACHE_TOKENS,
    COST_AMOUNT,
    COST_CURRENCY,
    ERROR_TYPE,
    OPERATION,
    PREFIX_HASH,
    PROVIDER,
    REQUEST_MODEL,
    SERVER_ADDRESS,
    SERVER_PORT,
)
from promptcache.model import Facts, NamedCache, Prefix, Request, Usage
from promptcache.observe import Record
from promptcache.observer import Observer
from promptcache.patch.around import Flow
from promptcache.patch.response import parsed
from promptcache.providers import gemini, gemini_caches
from promptcache.providers.wire import JSON, WHOLE, items, mapping, text
from promptcache.safety import safely


@final
class Where(NamedTuple):
    """Who serves a request."""

    provider: str
    host: str | None
    port: int | None


def managed(observer: Observer, operation: str, where: Where, path: str, body: JSON) -> Flow:
    """One request about a named cache, or all of them."""
    named = text(body.get("model"))
    model = gemini.model(named) if named else None
    span = observer.tracer.start_span(
        f"{operation} {model}" if model else operation,
        kind=SpanKind.CLIENT,
        attributes=_said(
            {
                OPERATION: operation,
                PROVIDER: where.provider,
                REQUEST_MODEL: model,
                SERVER_ADDRESS: where.host,
                SERVER_PORT: where.port,
                CACHE_NAME: gemini_caches.cache_name(path),
            }
        ),
    )
    try:
        ended = yield set_span_in_context(span)
        if ended.error is not None:
            span.set_attribute(ERROR_TYPE, type(ended.error).__name__)
            span.set_status(StatusCode.ERROR)
        else:
            safely(_learn, observer, operation, where, path, body, _answer(ended.result), span)
    finally:
        span.end()


def _answer(response: Any) -> JSON:
    """What Gemini's SDK made of a response, or the response itself."""
    body = text(getattr(response, "body", None), WHOLE)
    return parsed(body.encode() if body else getattr(response, "content", b""))


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _learn(
    observer: Observer,
    operation: str,
    where: Where,
    path: str,
    body: JSON,
    answer: JSON,
    span: Span,
) -> None:
    """Takes up what an answer says of caches, and writes on the span what it and the rent of it are."""
    storage, cache = observer.storage, gemini_caches.named_cache(answer)
    if operation == "list_caches":
        for resource in items(answer.get("cachedContents")):
            storage.seen(where.provider, gemini_caches.named_cache(mapping(resource)))
        return
    if operation == "delete_cache":
        span.set_attributes(
            _said({CACHE_STORED: storage.deleted(gemini_caches.cache_name(path) or "")})
        )
        return
    more: dict[str, Any] = {}
    if operation == "create_cache":
        prefix = _prefix(observer, where, cache, body)
        storage.created(where.provider, cache, prefix)
        more = {PREFIX_HASH: prefix and prefix.hash} | _filled(observer, where, cache, span)
    else:
        storage.seen(where.provider, cache)
    committed = storage.committed(cache.name or "") if operation != "get_cache" else None
    known = {CACHE_NAME: cache.name, CACHE_TOKENS: cache.tokens, CACHE_EXPIRES: cache.expire_time}
    span.set_attributes(
        _said(known | {REQUEST_MODEL: cache.model, CACHE_COMMITTED: committed} | more)
    )


def _request(observer: Observer, where: Where, cache: NamedCache, body: JSON) -> Request:
    wire, now = gemini.CONTENT, observer.clock()
    return Request(
        wire.name,
        where.provider,
        wire.operation,
        cache.model,
        where.host,
        where.port,
        False,
        body,
        b"",
        now,
    )


def _prefix(observer: Observer, where: Where, cache: NamedCache, body: JSON) -> Prefix | None:
    """The hashes of what was put into a cache: all of it is static, its contents too."""
    prompt = gemini.CONTENT.prompt(_request(observer, where, cache, body))
    if prompt is None:
        return None
    prompt = prompt._replace(
        blocks=tuple(
            replace(block, section="system") if block.section == "messages" else block
            for block in prompt.blocks
        )
    )
    return observer.exporter.export(prompt, observer.hasher.chain(prompt), cache.model)


def _filled(observer: Observer, where: Where, cache: NamedCache, span: Span) -> dict[str, Any]:
    """What filling the cache cost: its tokens at the plain input price. Counted, though it is no call."""
    if cache.tokens is None or cache.model is None:
        return {}
    usage = Usage(input=cache.tokens, uncached=cache.tokens, read=0, write=None, output=0)
    amount = observer.book.cost(_request(observer, where, cache, {}), Facts(), usage).amount
    if amount is None:
        return {}
    observer.meters.pay(amount, where.provider, cache.model, set_span_in_context(span))
    return {COST_AMOUNT: amount, COST_CURRENCY: "USD"}


def show_cached(record: Record, body: JSON) -> None:
    """The prefix of a call that reads from a named cache is what was put into that cache; unknown if others did it."""
    name, sighting = gemini.named_cache_of(body), record.sighting
    if name is None or sighting is None or sighting.prefix is None:
        return
    cached = record.observer.storage.prefix(name)
    sighting.prefix = sighting.prefix._replace(
        hash=cached and cached.hash,
        tools_hash=cached and cached.tools_hash,
        system_hash=cached and cached.system_hash,
    )
