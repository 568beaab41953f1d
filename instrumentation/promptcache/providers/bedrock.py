"""Amazon Bedrock: Converse and InvokeModel, whose bodies are those of the model's maker.

Sources: botocore 1.43 (bedrock-runtime 2023-09-30: `TokenUsage`, `CachePointBlock`, `CacheDetail`) and AWS's page on
prompt caching (copy of 2026). Input tokens stand beside what was read from the cache and written to it. Nova's own
body is that of Converse in all but the names of its cache counters, which no schema fixes: both spellings are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from promptcache.model import Facts, Param, Prompt, Request, Section, Usage
from promptcache.providers import anthropic
from promptcache.providers.wire import (
    JSON,
    Blocks,
    Counters,
    Wire,
    flatten,
    items,
    mapping,
    params,
    text,
    usage,
)

MARKER: Final = "cachePoint"

COUNTERS: Final = Counters(
    input=("inputTokens",),
    read=("cacheReadInputTokens", "cacheReadInputTokenCount"),
    write=("cacheWriteInputTokens", "cacheWriteInputTokenCount"),
    output=("outputTokens",),
    reasoning=(),
    inside=False,
    write_by_ttl={"5m": ("cacheDetails.5m",), "1h": ("cacheDetails.1h",)},
    modalities={},
    ttl="5m",
)
PARAMS: Final = (
    ("toolConfig.toolChoice", "messages"),
    ("additionalModelRequestFields", "messages"),
    ("guardrailConfig", "none"),
    ("performanceConfig.latency", "none"),
    ("serviceTier.type", "none"),
)
"""Claude's rules (tool choice and thinking keep tools and system); Nova caches neither tools nor by such parameters."""


Piece = tuple[Section, JSON]
"""One part of the request with its section, cache points among them."""


def _pieces(body: JSON) -> Iterator[Piece]:
    for tool in items(mapping(body.get("toolConfig")).get("tools")):
        yield "tools", mapping(tool)
    for part in items(body.get("system")):
        yield "system", mapping(part)
    for message in items(body.get("messages")):
        around = {name: value for name, value in mapping(message).items() if name != "content"}
        for part in items(mapping(message).get("content")):
            point = MARKER in mapping(part)
            yield "messages", mapping(part) if point else {**around, **mapping(part)}
            around = around if point else {}


def _prompt(request: Request) -> Prompt | None:
    """A cache point marks the part before it, be it the end of an earlier message."""
    found: list[tuple[Section, JSON, str | None]] = []
    for section, piece in _pieces(request.body):
        if MARKER not in piece:
            found.append((section, piece, None))
        elif found:
            found[-1] = (*found[-1][:2], text(mapping(piece[MARKER]).get("ttl")) or "")
    if not found:
        return None
    blocks = Blocks()
    for section, piece, mark in found:
        blocks.add(section, next((name for name in piece if name != "role"), None), piece, mark)
    nova = is_nova(request.model)
    mode: Literal["automatic", "explicit", "none"] = "automatic" if nova else "none"
    # Claude's rule: the first image takes the messages out of the cache.
    toggle = (
        (Param("images", True, "messages"),)
        if not nova and any(_pictured(piece) for _, piece, _ in found)
        else ()
    )
    return Prompt(
        tuple(blocks),
        (*params(request.body, PARAMS), *toggle),
        mode="explicit" if blocks.marked else mode,
    )


def _pictured(piece: JSON) -> bool:
    return any(
        "image" in mapping(part)
        for part in (piece, *items(mapping(piece.get("toolResult")).get("content")))
    )


def _read(event: JSON) -> Facts | None:
    """A response, or one event of a stream, whose last one (`metadata`) carries the usage."""
    told = mapping(event.get("metadata")) or event
    spent = mapping(told.get("usage"))
    written = {
        f"cacheDetails.{mapping(one).get('ttl')}": mapping(one).get("inputTokens")
        for one in items(spent.get("cacheDetails"))
    }
    stop = text(event.get("stopReason")) or text(
        mapping(event.get("messageStop")).get("stopReason")
    )
    router = mapping(mapping(told.get("trace")).get("promptRouter"))
    return Facts(
        model=text(router.get("invokedModelId")),
        finish=(stop,) if stop else (),
        tier=text(mapping(told.get("serviceTier")).get("type")),
        speed=text(mapping(told.get("performanceConfig")).get("latency")),
        counts=dict(flatten(spent)) | written,
        content="contentBlockDelta" in event,
        terminal="metadata" in event or "output" in event,
        failed=text(mapping(event.get("error")).get("type")),
    )


def _dull(event: JSON) -> bool:
    return "contentBlockDelta" in event or "contentBlockStop" in event


def _usage(facts: Facts) -> Usage | None:
    return usage(facts, COUNTERS)


CONVERSE: Final = Wire("bedrock.converse", "chat", _prompt, _read, _usage, _dull)

MAKERS: Final[tuple[tuple[str, str, Wire], ...]] = (
    ("anthropic.claude", "anthropic_version", anthropic.MESSAGES),
    ("amazon.nova", "schemaVersion", CONVERSE),
)
"""Whose wire the body of InvokeModel is: by the model's name in an id or an ARN, or where that is an opaque profile, by
a field that the maker's body has."""

OPERATIONS: Final[Mapping[str, bool]] = {
    "Converse": False,
    "ConverseStream": True,
    "InvokeModel": False,
    "InvokeModelWithResponseStream": True,
}
"""The operations that ask a model, and whether they stream."""


def is_nova(model: str | None) -> bool:
    """Whether a model id names a Nova model, which caches by itself."""
    return model is not None and "amazon.nova" in model


def wire(operation: str, model: str | None, body: JSON) -> Wire | None:
    """The wire of a request; None where nothing is known of the model's own body."""
    if operation.startswith("Converse"):
        return CONVERSE
    return next(
        (wire for maker, mark, wire in MAKERS if maker in (model or "") or mark in body), None
    )


def event_of(operation: str, event: Mapping[str, Any]) -> bytes | JSON:
    """What an event of a stream says: InvokeModel wraps the maker's own events as bytes."""
    if operation.startswith("Converse"):
        return event
    data = mapping(event.get("chunk")).get("bytes")
    return data if isinstance(data, bytes) else b""
