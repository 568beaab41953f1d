"""Observe requests about Gemini's cached contents: one span for each, and their storage cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context

from promptcache import semconv
from promptcache.common.coerce import UNLIMITED_CHARS, JSONObject, as_list, as_mapping, as_str
from promptcache.common.safely import safely
from promptcache.model import CachedContentInfo, PrefixHashes, Request, ResponseFacts, Usage
from promptcache.patching.endpoint import ProviderEndpoint
from promptcache.patching.event_decoder import parse_json_object
from promptcache.patching.flow import Flow
from promptcache.providers.google import cached_contents, wire
from promptcache.telemetry.handler import TelemetryHandler
from promptcache.telemetry.invocation import Invocation


def observe_cached_content_request(
    handler: TelemetryHandler,
    operation: str,
    endpoint: ProviderEndpoint,
    path: str,
    body: JSONObject,
) -> Flow:
    """Observe one request that creates, updates, reads, deletes or lists cached contents."""
    name = as_str(body.get("model"))
    model = wire.model_in_path(name) if name else None
    attributes = {
        semconv.GEN_AI_OPERATION_NAME: operation,
        semconv.GEN_AI_PROVIDER_NAME: endpoint.provider,
        semconv.GEN_AI_REQUEST_MODEL: model,
        semconv.SERVER_ADDRESS: endpoint.host,
        semconv.SERVER_PORT: endpoint.port,
        semconv.CACHE_NAME: cached_contents.cached_content_in_path(path),
    }
    span = handler.tracer.start_span(
        f"{operation} {model}" if model else operation,
        kind=SpanKind.CLIENT,
        attributes=_drop_none_values(attributes),
    )
    try:
        result = yield set_span_in_context(span)
        if result.error is not None:
            span.set_attribute(semconv.ERROR_TYPE, type(result.error).__name__)
            span.set_status(StatusCode.ERROR)
        else:
            response_body = _parse_response_body(result.result)
            call = (handler, operation, endpoint, path, body)
            safely(_record_cached_content_response, *call, response_body, span)
    finally:
        span.end()


def _parse_response_body(response: Any) -> JSONObject:
    """Return the body of google-genai's response (`body`) or of httpx's (`content`)."""
    body = as_str(getattr(response, "body", None), UNLIMITED_CHARS)
    return parse_json_object(body.encode() if body else getattr(response, "content", b""))


def _drop_none_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _record_cached_content_response(
    handler: TelemetryHandler,
    operation: str,
    endpoint: ProviderEndpoint,
    path: str,
    body: JSONObject,
    response_body: JSONObject,
    span: Span,
) -> None:
    """Remember the caches that the response describes, and set the span's attributes."""
    storage = handler.cache_storage
    if operation == "list_caches":
        for resource in as_list(response_body.get("cachedContents")):
            cache = cached_contents.parse_cached_content(as_mapping(resource))
            storage.record_cache_description(endpoint.provider, cache)
        return
    if operation == "delete_cache":
        stored_usd = storage.record_deleted_cache(
            cached_contents.cached_content_in_path(path) or ""
        )
        span.set_attributes(_drop_none_values({semconv.CACHE_STORED_USD: stored_usd}))
        return
    cache = cached_contents.parse_cached_content(response_body)
    attributes: dict[str, Any] = {
        semconv.CACHE_NAME: cache.name,
        semconv.CACHE_TOKENS: cache.token_count,
        semconv.CACHE_EXPIRES: cache.expire_time_text,
        semconv.GEN_AI_REQUEST_MODEL: cache.model,
    }
    if operation == "create_cache":
        prefix = _hash_cached_content(handler, endpoint, cache, body)
        storage.record_created_cache(endpoint.provider, cache, prefix)
        attributes[semconv.PREFIX_HASH] = prefix and prefix.hash
        attributes |= _record_cache_creation_cost(handler, endpoint, cache, span)
    else:
        storage.record_cache_description(endpoint.provider, cache)
    if operation != "get_cache":
        attributes[semconv.CACHE_COMMITTED_USD] = storage.storage_usd_until_expiry(cache.name or "")
    span.set_attributes(_drop_none_values(attributes))


def _equivalent_generate_content_request(
    handler: TelemetryHandler,
    endpoint: ProviderEndpoint,
    cache: CachedContentInfo,
    body: JSONObject,
) -> Request:
    """Return the request that a `generateContent` call with the content of `cache` would be."""
    wire_format = wire.GENERATE_CONTENT
    return Request(
        wire_format_name=wire_format.name,
        provider=endpoint.provider,
        operation=wire_format.operation,
        model=cache.model,
        host=endpoint.host,
        port=endpoint.port,
        stream=False,
        body=body,
        cache_scope=b"",
        started_at=handler.clock(),
    )


def _hash_cached_content(
    handler: TelemetryHandler,
    endpoint: ProviderEndpoint,
    cache: CachedContentInfo,
    body: JSONObject,
) -> PrefixHashes | None:
    """Return the hashes of a cached content. All of it is static prefix, its `contents` too."""
    prompt = wire.GENERATE_CONTENT.parse_prompt(
        _equivalent_generate_content_request(handler, endpoint, cache, body)
    )
    if prompt is None:
        return None
    blocks = tuple(
        replace(block, section="system") if block.section == "messages" else block
        for block in prompt.blocks
    )
    prompt = prompt._replace(blocks=blocks)
    return handler.prefix_hasher.compute_prefix_hashes(
        prompt, handler.hasher.digest_prompt_blocks(prompt), cache.model
    )


def _record_cache_creation_cost(
    handler: TelemetryHandler, endpoint: ProviderEndpoint, cache: CachedContentInfo, span: Span
) -> dict[str, Any]:
    """Record the cost of filling the cache, and return its attributes.

    The cost is the cache's tokens at the plain input price. The cost metric counts it, although no
    LLM call caused it.
    """
    if cache.token_count is None or cache.model is None:
        return {}
    usage = Usage(
        input_tokens=cache.token_count,
        uncached_tokens=cache.token_count,
        cache_read_tokens=0,
        cache_write_tokens=None,
        output_tokens=0,
    )
    request = _equivalent_generate_content_request(handler, endpoint, cache, {})
    amount = handler.price_book.compute_cost(request, ResponseFacts(), usage).amount
    if amount is None:
        return {}
    handler.metrics.record_cache_creation_cost(
        amount, endpoint.provider, cache.model, set_span_in_context(span)
    )
    return {semconv.COST_AMOUNT: amount, semconv.COST_CURRENCY: "USD"}


def use_cached_content_hashes_as_prefix(invocation: Invocation, body: JSONObject) -> None:
    """Use the cached content's hashes as the prefix of a call that reads it.

    The hashes are None if another process created the cached content.
    """
    name, pending_call = wire.cached_content_in_body(body), invocation.pending_call
    if name is None or pending_call is None or pending_call.prefix is None:
        return
    cached = invocation.handler.cache_storage.prefix_hashes_of_cache(name)
    pending_call.prefix = pending_call.prefix._replace(
        hash=cached and cached.hash,
        tools_hash=cached and cached.tools_hash,
        system_hash=cached and cached.system_hash,
    )
