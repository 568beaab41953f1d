"""Amazon Bedrock: Converse and InvokeModel, whose bodies are those of the model's maker.

Sources: botocore 1.43 (bedrock-runtime 2023-09-30: `TokenUsage`, `CachePointBlock`, `CacheDetail`) and AWS's page on
prompt caching (copy of 2026). Input tokens stand beside what was read from the cache and written to it. Nova's own
body is that of Converse in all but the names of its cache counters, which no schema fixes: both spellings are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from promptcache.common.coerce import JSONObject, as_list, as_mapping, as_str, flatten
from promptcache.model import Param, ParsedPrompt, Request, ResponseFacts, Section, Usage
from promptcache.providers.anthropic import wire as anthropic
from promptcache.providers.prompt import BlockCollector, ParamLevels, select_params
from promptcache.providers.usage import UsageCounters, parse_usage
from promptcache.providers.wire_format import WireFormat, make_route

CACHE_MARKER: Final = "cachePoint"

CONVERSE_COUNTERS: Final = UsageCounters(
    input_tokens=("inputTokens",),
    cache_read_tokens=("cacheReadInputTokens", "cacheReadInputTokenCount"),
    cache_write_tokens=("cacheWriteInputTokens", "cacheWriteInputTokenCount"),
    output_tokens=("outputTokens",),
    reasoning_tokens=(),
    input_includes_cached=False,
    cache_write_by_ttl={"5m": ("cacheDetails.5m",), "1h": ("cacheDetails.1h",)},
    modalities={},
    default_ttl="5m",
)
CONVERSE_PARAMS: Final[ParamLevels] = (
    ("toolConfig.toolChoice", "messages"),
    ("additionalModelRequestFields", "messages"),
    ("guardrailConfig", "none"),
    ("performanceConfig.latency", "none"),
    ("serviceTier.type", "none"),
)
"""Claude's rules (tool choice and thinking keep tools and system); Nova caches neither tools nor by such parameters."""


PromptPart = tuple[Section, JSONObject]
"""One part of the request with its section, cache points among them."""


def _prompt_parts(body: JSONObject) -> Iterator[PromptPart]:
    for tool in as_list(as_mapping(body.get("toolConfig")).get("tools")):
        yield "tools", as_mapping(tool)
    for part in as_list(body.get("system")):
        yield "system", as_mapping(part)
    for message in as_list(body.get("messages")):
        around = {name: value for name, value in as_mapping(message).items() if name != "content"}
        for part in as_list(as_mapping(message).get("content")):
            point = CACHE_MARKER in as_mapping(part)
            yield "messages", as_mapping(part) if point else {**around, **as_mapping(part)}
            around = around if point else {}


def _parse_prompt(request: Request) -> ParsedPrompt | None:
    """A cache point marks the part before it, be it the end of an earlier message."""
    found: list[tuple[Section, JSONObject, str | None]] = []
    for section, piece in _prompt_parts(request.body):
        if CACHE_MARKER not in piece:
            found.append((section, piece, None))
        elif found:
            found[-1] = (*found[-1][:2], as_str(as_mapping(piece[CACHE_MARKER]).get("ttl")) or "")
    if not found:
        return None
    blocks = BlockCollector()
    for section, piece, mark in found:
        blocks.add(section, next((name for name in piece if name != "role"), None), piece, mark)
    nova = is_nova(request.model)
    mode: Literal["automatic", "explicit", "none"] = "automatic" if nova else "none"
    # Claude's rule: the first image takes the messages out of the cache.
    toggle = (
        (Param("images", True, "messages"),)
        if not nova and any(_has_image(piece) for _, piece, _ in found)
        else ()
    )
    return ParsedPrompt(
        tuple(blocks),
        (*select_params(request.body, CONVERSE_PARAMS), *toggle),
        caching_mode="explicit" if blocks.has_breakpoints else mode,
    )


def _has_image(piece: JSONObject) -> bool:
    return any(
        "image" in as_mapping(part)
        for part in (piece, *as_list(as_mapping(piece.get("toolResult")).get("content")))
    )


def _parse_event(event: JSONObject) -> ResponseFacts | None:
    """A response, or one event of a stream, whose last one (`metadata`) carries the usage."""
    told = as_mapping(event.get("metadata")) or event
    spent = as_mapping(told.get("usage"))
    written = {
        f"cacheDetails.{as_mapping(one).get('ttl')}": as_mapping(one).get("inputTokens")
        for one in as_list(spent.get("cacheDetails"))
    }
    stop = as_str(event.get("stopReason")) or as_str(
        as_mapping(event.get("messageStop")).get("stopReason")
    )
    router = as_mapping(as_mapping(told.get("trace")).get("promptRouter"))
    return ResponseFacts(
        model=as_str(router.get("invokedModelId")),
        finish_reasons=(stop,) if stop else (),
        service_tier=as_str(as_mapping(told.get("serviceTier")).get("type")),
        speed=as_str(as_mapping(told.get("performanceConfig")).get("latency")),
        usage_counters=dict(flatten(spent)) | written,
        has_content="contentBlockDelta" in event,
        is_terminal="metadata" in event or "output" in event,
        error_code=as_str(as_mapping(event.get("error")).get("type")),
    )


def _can_skip(event: JSONObject) -> bool:
    return "contentBlockDelta" in event or "contentBlockStop" in event


def _parse_usage(facts: ResponseFacts) -> Usage | None:
    return parse_usage(facts, CONVERSE_COUNTERS)


CONVERSE: Final = WireFormat(
    "bedrock.converse", "chat", _parse_prompt, _parse_event, _parse_usage, _can_skip
)

INVOKE_MODEL_FORMATS: Final[tuple[tuple[str, str, WireFormat], ...]] = (
    ("anthropic.claude", "anthropic_version", anthropic.MESSAGES),
    ("amazon.nova", "schemaVersion", CONVERSE),
)
"""Whose wire the body of InvokeModel is: by the model's name in an id or an ARN, or where that is an opaque profile, by
a field that the maker's body has."""

STREAMS_BY_OPERATION: Final[Mapping[str, bool]] = {
    "Converse": False,
    "ConverseStream": True,
    "InvokeModel": False,
    "InvokeModelWithResponseStream": True,
}
"""The operations that ask a model, and whether they stream."""


def is_nova(model: str | None) -> bool:
    """Whether a model id names a Nova model, which caches by itself."""
    return model is not None and "amazon.nova" in model


def wire_format_of(operation: str, model: str | None, body: JSONObject) -> WireFormat | None:
    """The wire of a request; None where nothing is known of the model's own body."""
    if operation.startswith("Converse"):
        return CONVERSE
    return next(
        (
            wire
            for maker, mark, wire in INVOKE_MODEL_FORMATS
            if maker in (model or "") or mark in body
        ),
        None,
    )


def unwrap_event(operation: str, event: Mapping[str, Any]) -> bytes | JSONObject:
    """What an event of a stream says: InvokeModel wraps the maker's own events as bytes."""
    if operation.startswith("Converse"):
        return event
    data = as_mapping(event.get("chunk")).get("bytes")
    return data if isinstance(data, bytes) else b""


ROUTES: Final = (make_route("POST", r"model/[^/?]+/converse(?:-stream)?", CONVERSE),)
"""InvokeModel has no route: `wire_format_of` finds its wire format by the model and the body."""
