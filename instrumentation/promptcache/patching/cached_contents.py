"""What is done to Gemini's named caches: one span each, and the rent that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, final

from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context

from promptcache.common.coerce import UNLIMITED_CHARS, JSONObject, as_list, as_mapping, as_str
from promptcache.common.safely import safely
from promptcache.model import CachedContentInfo, PrefixHashes, Request, ResponseFacts, Usage
from promptcache.patching.byte_stream import parse_json_object
from promptcache.patching.flow import Flow
from promptcache.providers.google import cached_contents as gemini_caches
from promptcache.providers.google import wire as gemini
from promptcache.semconv import (
    CACHE_COMMITTED_USD,
    CACHE_EXPIRES,
    CACHE_NAME,
    CACHE_STORED_USD,
    CACHE_TOKENS,
    COST_AMOUNT,
    COST_CURRENCY,
    ERROR_TYPE,
    GEN_AI_OPERATION_NAME,
    GEN_AI_PROVIDER_NAME,
    GEN_AI_REQUEST_MODEL,
    PREFIX_HASH,
    SERVER_ADDRESS,
    SERVER_PORT,
)
from promptcache.telemetry.handler import TelemetryHandler
from promptcache.telemetry.invocation import Invocation


@final
class Endpoint(NamedTuple):
    """Who serves a request."""

    provider: str
    host: str | None
    port: int | None


def observe_cached_content_request(
    observer: TelemetryHandler, operation: str, endpoint: Endpoint, path: str, body: JSONObject
) -> Flow:
    """One request about a named cache, or all of them."""
    named = as_str(body.get("model"))
    model = gemini.model_in_path(named) if named else None
    span = observer.tracer.start_span(
        f"{operation} {model}" if model else operation,
        kind=SpanKind.CLIENT,
        attributes=_without_none(
            {
                GEN_AI_OPERATION_NAME: operation,
                GEN_AI_PROVIDER_NAME: endpoint.provider,
                GEN_AI_REQUEST_MODEL: model,
                SERVER_ADDRESS: endpoint.host,
                SERVER_PORT: endpoint.port,
                CACHE_NAME: gemini_caches.cached_content_in_path(path),
            }
        ),
    )
    try:
        ended = yield set_span_in_context(span)
        if ended.error is not None:
            span.set_attribute(ERROR_TYPE, type(ended.error).__name__)
            span.set_status(StatusCode.ERROR)
        else:
            safely(
                _record_response,
                observer,
                operation,
                endpoint,
                path,
                body,
                _response_body(ended.result),
                span,
            )
    finally:
        span.end()


def _response_body(response: Any) -> JSONObject:
    """What Gemini's SDK made of a response, or the response itself."""
    body = as_str(getattr(response, "body", None), UNLIMITED_CHARS)
    return parse_json_object(body.encode() if body else getattr(response, "content", b""))


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _record_response(
    observer: TelemetryHandler,
    operation: str,
    endpoint: Endpoint,
    path: str,
    body: JSONObject,
    response_body: JSONObject,
    span: Span,
) -> None:
    """Takes up what an answer says of caches, and writes on the span what it and the rent of it are."""
    storage, cache = observer.cache_storage, gemini_caches.parse_cached_content(response_body)
    if operation == "list_caches":
        for resource in as_list(response_body.get("cachedContents")):
            storage.record_described(
                endpoint.provider, gemini_caches.parse_cached_content(as_mapping(resource))
            )
        return
    if operation == "delete_cache":
        span.set_attributes(
            _without_none(
                {
                    CACHE_STORED_USD: storage.record_deleted(
                        gemini_caches.cached_content_in_path(path) or ""
                    )
                }
            )
        )
        return
    more: dict[str, Any] = {}
    if operation == "create_cache":
        prefix = _hash_cached_content(observer, endpoint, cache, body)
        storage.record_created(endpoint.provider, cache, prefix)
        more = {PREFIX_HASH: prefix and prefix.hash} | _record_cache_fill(
            observer, endpoint, cache, span
        )
    else:
        storage.record_described(endpoint.provider, cache)
    committed = storage.committed_usd(cache.name or "") if operation != "get_cache" else None
    known = {
        CACHE_NAME: cache.name,
        CACHE_TOKENS: cache.token_count,
        CACHE_EXPIRES: cache.expire_time_text,
    }
    span.set_attributes(
        _without_none(
            known | {GEN_AI_REQUEST_MODEL: cache.model, CACHE_COMMITTED_USD: committed} | more
        )
    )


def _create_request(
    observer: TelemetryHandler, endpoint: Endpoint, cache: CachedContentInfo, body: JSONObject
) -> Request:
    wire, now = gemini.GENERATE_CONTENT, observer.clock()
    return Request(
        wire.name,
        endpoint.provider,
        wire.operation,
        cache.model,
        endpoint.host,
        endpoint.port,
        False,
        body,
        b"",
        now,
    )


def _hash_cached_content(
    observer: TelemetryHandler, endpoint: Endpoint, cache: CachedContentInfo, body: JSONObject
) -> PrefixHashes | None:
    """The hashes of what was put into a cache: all of it is static, its contents too."""
    prompt = gemini.GENERATE_CONTENT.parse_prompt(_create_request(observer, endpoint, cache, body))
    if prompt is None:
        return None
    prompt = prompt._replace(
        blocks=tuple(
            replace(block, section="system") if block.section == "messages" else block
            for block in prompt.blocks
        )
    )
    return observer.prefix_hasher.hash_prefix(
        prompt, observer.hasher.hash_prompt(prompt), cache.model
    )


def _record_cache_fill(
    observer: TelemetryHandler, endpoint: Endpoint, cache: CachedContentInfo, span: Span
) -> dict[str, Any]:
    """What filling the cache cost: its tokens at the plain input price. Counted, though it is no call."""
    if cache.token_count is None or cache.model is None:
        return {}
    usage = Usage(
        input_tokens=cache.token_count,
        uncached_tokens=cache.token_count,
        cache_read_tokens=0,
        cache_write_tokens=None,
        output_tokens=0,
    )
    amount = observer.price_book.compute_cost(
        _create_request(observer, endpoint, cache, {}), ResponseFacts(), usage
    ).amount
    if amount is None:
        return {}
    observer.metrics.record_cache_fill(
        amount, endpoint.provider, cache.model, set_span_in_context(span)
    )
    return {COST_AMOUNT: amount, COST_CURRENCY: "USD"}


def apply_cached_prefix(invocation: Invocation, body: JSONObject) -> None:
    """The prefix of a call that reads from a named cache is what was put into that cache; unknown if others did it."""
    name, sighting = gemini.cached_content_in_body(body), invocation.pending_call
    if name is None or sighting is None or sighting.prefix is None:
        return
    cached = invocation.handler.cache_storage.prefix_of(name)
    sighting.prefix = sighting.prefix._replace(
        hash=cached and cached.hash,
        tools_hash=cached and cached.tools_hash,
        system_hash=cached and cached.system_hash,
    )
