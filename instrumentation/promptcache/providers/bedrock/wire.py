"""Parse Amazon Bedrock's Converse, and choose the wire format of an InvokeModel body.

Input tokens do not include cache reads and cache writes. InvokeModel uses the wire format of the
model's maker. Nova's own body equals that of Converse except for the names of its cache counters;
no schema defines these names, so both spellings are read.

Sources: botocore 1.43 (bedrock-runtime 2023-09-30: `TokenUsage`, `CachePointBlock`, `CacheDetail`)
and AWS's page on prompt caching (copy of 2026).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from promptcache.common.coerce import JSONObject, as_list, as_mapping, as_str, flatten
from promptcache.model import Param, ParsedPrompt, Request, ResponseFacts, Section, Usage
from promptcache.providers.anthropic import wire as anthropic
from promptcache.providers.prompt import BlockCollector, ParamLevels, select_cache_relevant_params
from promptcache.providers.tool_uses import add_tool_uses, key_of_use
from promptcache.providers.usage import UsageCounterNames, parse_usage
from promptcache.providers.wire_format import WireFormat, make_route

CACHE_MARKER: Final = "cachePoint"

CONVERSE_COUNTERS: Final = UsageCounterNames(
    # InvokeModel adds its own metrics to the last event of a stream.
    input_tokens=("inputTokens", "metrics.inputTokenCount"),
    cache_read_tokens=(
        "cacheReadInputTokens",
        "cacheReadInputTokenCount",
        "metrics.cacheReadInputTokenCount",
    ),
    cache_write_tokens=(
        "cacheWriteInputTokens",
        "cacheWriteInputTokenCount",
        "metrics.cacheWriteInputTokenCount",
    ),
    output_tokens=("outputTokens", "metrics.outputTokenCount"),
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
"""The levels are Claude's: tool choice and thinking keep tools and system cached. Nova does not
cache tools, and no parameter invalidates its cache."""


PromptPart = tuple[Section, JSONObject]
"""A part of the request and its section. A cache point is a part too."""


def _iterate_prompt_parts(body: JSONObject) -> Iterator[PromptPart]:
    """Yield the parts in order. The first part of a message also holds its other fields."""
    for tool in as_list(as_mapping(body.get("toolConfig")).get("tools")):
        yield "tools", as_mapping(tool)
    for part in as_list(body.get("system")):
        yield "system", as_mapping(part)
    for message in as_list(body.get("messages")):
        fields = as_mapping(message)
        message_fields = {name: value for name, value in fields.items() if name != "content"}
        for part in map(as_mapping, as_list(fields.get("content"))):
            if CACHE_MARKER in part:
                yield "messages", part
            else:
                yield "messages", {**message_fields, **part}
                message_fields = {}


def _parse_prompt(request: Request) -> ParsedPrompt | None:
    blocks = BlockCollector()
    has_image = False
    for section, part, ttl in _parts_with_breakpoints(request.body):
        blocks.add(section, next((name for name in part if name != "role"), None), part, ttl)
        has_image = has_image or _has_image(part)
    if not blocks:
        return None
    params = select_cache_relevant_params(request.body, CONVERSE_PARAMS)
    mode: Literal["automatic", "explicit", "none"] = "automatic"
    if not is_nova_model(request.model):
        mode = "none"
        if has_image:  # Claude's rule: the first image invalidates the messages
            params = (*params, Param("images", True, "messages"))
    if blocks.has_breakpoints:
        mode = "explicit"
    return ParsedPrompt(blocks.to_blocks(), params, caching_mode=mode)


def _parts_with_breakpoints(body: JSONObject) -> list[tuple[Section, JSONObject, str | None]]:
    """Return the parts without cache points, each with the TTL of the cache point that follows.

    A cache point at the beginning of a message belongs to the last part of the message before.
    """
    found: list[tuple[Section, JSONObject, str | None]] = []
    for section, part in _iterate_prompt_parts(body):
        if CACHE_MARKER not in part:
            found.append((section, part, None))
        elif found:
            ttl = as_str(as_mapping(part[CACHE_MARKER]).get("ttl")) or ""
            found[-1] = (*found[-1][:2], ttl)
    return found


def _has_image(part: JSONObject) -> bool:
    results = as_list(as_mapping(part.get("toolResult")).get("content"))
    return any("image" in as_mapping(one) for one in (part, *results))


def _parse_event(event: JSONObject) -> ResponseFacts | None:
    """Read a response or one event of a stream. The last event (`metadata`) carries the usage."""
    response = as_mapping(event.get("metadata")) or event
    usage = as_mapping(response.get("usage"))
    writes_by_ttl = {
        f"cacheDetails.{as_mapping(detail).get('ttl')}": as_mapping(detail).get("inputTokens")
        for detail in as_list(usage.get("cacheDetails"))
    }
    stop_reason = as_str(event.get("stopReason")) or as_str(
        as_mapping(event.get("messageStop")).get("stopReason")
    )
    router = as_mapping(as_mapping(response.get("trace")).get("promptRouter"))
    return ResponseFacts(
        model=as_str(router.get("invokedModelId")),
        finish_reasons=(stop_reason,) if stop_reason else (),
        service_tier=as_str(as_mapping(response.get("serviceTier")).get("type")),
        speed=as_str(as_mapping(response.get("performanceConfig")).get("latency")),
        usage_counters=flatten(usage) | writes_by_ttl | anthropic.invocation_metrics(event),
        has_content="contentBlockDelta" in event,
        is_terminal="metadata" in event or "output" in event,
        error_code=as_str(as_mapping(event.get("error")).get("type")),
        tool_uses=_find_server_tools(event),
    )


def _find_server_tools(event: JSONObject) -> dict[str, Any]:
    """Return the uses of tools that the server runs, such as Nova's web grounding.

    Source: botocore 1.44, `ToolUseBlock` and `ToolUseBlockStart`: the type is `server_tool_use`.
    """
    message = as_mapping(as_mapping(event.get("output")).get("message"))
    start = as_mapping(as_mapping(event.get("contentBlockStart")).get("start"))
    found: dict[str, Any] = {}
    for block in (*as_list(message.get("content")), start):
        use = as_mapping(as_mapping(block).get("toolUse"))
        if use.get("type") == "server_tool_use":
            tool = as_str(use.get("name")) or "server_tool"
            found[key_of_use(tool, use.get("toolUseId"))] = 1
    return found


def _is_last_event(event: JSONObject) -> bool:
    return "metadata" in event


def _parse_usage(facts: ResponseFacts) -> Usage | None:
    return add_tool_uses(parse_usage(facts, CONVERSE_COUNTERS), facts.tool_uses)


CONVERSE: Final = WireFormat(
    "bedrock.converse",
    "chat",
    _parse_prompt,
    _parse_event,
    _parse_usage,
    is_last_event=_is_last_event,
)

INVOKE_MODEL_FORMATS: Final[tuple[tuple[str, str, WireFormat], ...]] = (
    ("anthropic.claude", "anthropic_version", anthropic.MESSAGES),
    ("amazon.nova", "schemaVersion", CONVERSE),
)
"""The wire format of an InvokeModel body. A row applies if the model's id or ARN contains the first
string, or, for the opaque ARN of a profile, if the body has the field of the second string."""

STREAMS_BY_OPERATION: Final[Mapping[str, bool]] = {
    "Converse": False,
    "ConverseStream": True,
    "InvokeModel": False,
    "InvokeModelWithResponseStream": True,
}
"""The operations that call a model, and whether they stream."""


def is_nova_model(model: str | None) -> bool:
    """Return whether a model id names a Nova model. Nova caches without breakpoints."""
    return model is not None and "amazon.nova" in model


def wire_format_of_operation(
    operation: str, model: str | None, body: JSONObject
) -> WireFormat | None:
    """Return the wire format of a request, None if the format of the model's body is unknown."""
    if operation.startswith("Converse"):
        return CONVERSE
    for id_part, field, wire_format in INVOKE_MODEL_FORMATS:
        if id_part in (model or "") or field in body:
            return wire_format
    return None


def unwrap_stream_event(operation: str, event: Mapping[str, Any]) -> bytes | JSONObject:
    """Return the content of a stream's event: InvokeModel wraps the maker's own events as bytes."""
    if operation.startswith("Converse"):
        return event
    data = as_mapping(event.get("chunk")).get("bytes")
    return data if isinstance(data, bytes) else b""


ROUTES: Final = (make_route("POST", r"model/[^/?]+/converse(?:-stream)?", CONVERSE),)
"""InvokeModel has no route here: `wire_format_of_operation` chooses its wire format by model and
body."""
