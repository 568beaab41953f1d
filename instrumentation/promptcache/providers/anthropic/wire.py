"""Parse Anthropic's Messages and batch results, also as Bedrock, Vertex AI and Foundry serve them.

Input tokens do not include cache reads and cache writes.

Sources: anthropic-python 2.11.0 (types/usage.py, types/beta/beta_usage.py,
types/message_create_params.py) and Anthropic's pages on prompt caching, batches and cache
diagnostics (copies of April to October 2026).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, Literal, cast

from promptcache.common.coerce import JSONObject, as_count, as_list, as_mapping, as_str, flatten
from promptcache.model import Param, ParsedPrompt, Request, ResponseFacts, Usage
from promptcache.providers.bills import billed_usd
from promptcache.providers.prompt import (
    BlockCollector,
    ParamLevels,
    select_cache_relevant_params,
    split_cache_marker,
)
from promptcache.providers.tool_uses import add_tool_uses
from promptcache.providers.usage import UsageCounterNames, parse_usage
from promptcache.providers.wire_format import WireFormat, make_route

CACHE_MARKER: Final = "cache_control"
BETAS_FIELD: Final = "anthropic_beta"
"""The field of Bedrock's body that names the beta features. Other platforms send them in the header
`anthropic-beta`."""

MESSAGES_PARAMS: Final[ParamLevels] = (
    ("mcp_servers", "tools"),
    ("container", "tools"),
    ("speed", "system"),
    ("output_format", "system"),
    ("output_config.format", "system"),
    ("tool_choice", "messages"),
    ("thinking", "messages"),
    ("output_config.effort", "messages"),
    ("context_management", "messages"),
    ("compaction", "messages"),
    (BETAS_FIELD, "tools"),
    ("inference_geo", "none"),
    ("service_tier", "none"),
)
"""The levels are those of the table on the prompt caching page. Betas are
not in that table: a beta may change what stands before the prompt, so a change explains a miss if
nothing else does. The service tier changes the exported scope hash, but never explains a miss."""

MESSAGES_COUNTERS: Final = UsageCounterNames(
    # Bedrock adds its own metrics to the last event of a stream.
    input_tokens=("input_tokens", "metrics.inputTokenCount"),
    cache_read_tokens=("cache_read_input_tokens", "metrics.cacheReadInputTokenCount"),
    cache_write_tokens=("cache_creation_input_tokens", "metrics.cacheWriteInputTokenCount"),
    output_tokens=("output_tokens", "metrics.outputTokenCount"),
    reasoning_tokens=("output_tokens_details.thinking_tokens",),
    input_includes_cached=False,
    cache_write_by_ttl={
        "5m": ("cache_creation.ephemeral_5m_input_tokens",),
        "1h": ("cache_creation.ephemeral_1h_input_tokens",),
    },
    modalities={},
    default_ttl="5m",
    # Web fetches are reported too, but are free (web fetch page, 2026). A counted tool without a
    # price would make the cost of the call unknown.
    server_tools={"web_search": ("server_tool_use.web_search_requests",)},
)
COUNTERS_WITHOUT_TTL: Final = MESSAGES_COUNTERS._replace(default_ttl="unknown")
"""For a response that does not split its writes by TTL: their TTL is the one that was requested."""

_COMPACTION_COUNTERS: Final = (
    MESSAGES_COUNTERS.input_tokens[0],
    MESSAGES_COUNTERS.cache_read_tokens[0],
    MESSAGES_COUNTERS.cache_write_tokens[0],
    MESSAGES_COUNTERS.output_tokens[0],
    *(name for names in MESSAGES_COUNTERS.cache_write_by_ttl.values() for name in names),
)


# Requests


def _content_blocks(content: object) -> list[Any]:
    """Return the blocks of a system prompt or message. A string stands for one text block."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else as_list(content)


def _strip_cache_markers(block: object, max_depth: int = 4) -> tuple[Any, str | None]:
    """Return a block without cache markers, and the TTL that they request (None without a marker).

    A tool result may contain marked blocks. The marker of the outer block wins, then the last one.
    """
    if not isinstance(block, Mapping):
        return block, None
    data, ttl = split_cache_marker(cast("JSONObject", block), CACHE_MARKER)
    inner = data.get("content")
    if not isinstance(inner, list) or not max_depth:
        return data, ttl
    parts = [_strip_cache_markers(part, max_depth - 1) for part in cast("list[object]", inner)]
    inner_ttls = [inner_ttl for _, inner_ttl in parts if inner_ttl is not None]
    if not inner_ttls:
        return data, ttl
    data = {**data, "content": [part for part, _ in parts]}
    return data, inner_ttls[-1] if ttl is None else ttl


def _block_type(block: object) -> object:
    return as_mapping(block).get("type")


def _is_web_search(tool: object) -> bool:
    """Return whether a tool is Anthropic's web search.

    To add or remove that tool changes the system prompt; the cached tools stay valid.
    """
    return (as_str(_block_type(tool)) or "").startswith("web_search")


def _collect_blocks(body: JSONObject) -> BlockCollector:
    blocks = BlockCollector()
    tools = as_list(body.get("tools"))
    _add_tool_blocks(blocks, "tools", [tool for tool in tools if not _is_web_search(tool)])
    _add_tool_blocks(blocks, "system", [tool for tool in tools if _is_web_search(tool)])
    for block in _content_blocks(body.get("system")):
        data, ttl = _strip_cache_markers(block)
        blocks.add("system", _block_type(block), data, ttl)
    messages = as_list(body.get("messages"))
    blocks.add_messages(messages, partial(_add_message_blocks, blocks), has_parts=True)
    return blocks


def _add_message_blocks(blocks: BlockCollector, message: object) -> None:
    fields = as_mapping(message)
    for index, block in enumerate(_content_blocks(fields.get("content"))):
        content, ttl = _strip_cache_markers(block)
        data = content if index else {"role": fields.get("role"), "content": content}
        blocks.add("messages", _block_type(block), data, ttl)


def _add_tool_blocks(
    blocks: BlockCollector, section: Literal["tools", "system"], tools: list[Any]
) -> None:
    for tool in tools:
        data, ttl = _strip_cache_markers(tool)
        blocks.add(section, as_str(_block_type(tool)) or "custom", data, ttl)


_TEXT_FIELDS: Final = ("type", "text")


def _params_for_images_and_citations(body: JSONObject) -> Iterator[Param]:
    """Yield the parameters that an image or citations in a message set."""
    found: set[str] = set()
    for message in as_list(body.get("messages")):
        content = as_mapping(message).get("content")
        for block in as_list(content) if type(content) is not str else ():
            if tuple(as_mapping(block)) == _TEXT_FIELDS:  # nearly all are
                continue
            for part in (block, *as_list(as_mapping(block).get("content"))):
                if as_str(_block_type(part)) == "image":
                    found.add("images")
                if as_mapping(as_mapping(part).get("citations")).get("enabled") is True:
                    found.add("citations")
    if "images" in found:
        yield Param("images", True, "messages")
    if "citations" in found:
        yield Param("citations", True, "system")


def _parse_prompt(request: Request) -> ParsedPrompt | None:
    body = request.body
    blocks = _collect_blocks(body)
    if not blocks:
        return None
    request_marker = as_mapping(body.get(CACHE_MARKER))
    server_state_id = as_str(as_mapping(body.get("thread")).get("previous_message_id"))
    mode: Literal["explicit", "implicit", "none"] = "none"
    if request_marker:
        mode = "implicit"
    elif blocks.has_breakpoints or server_state_id:
        mode = "explicit"  # the part of a thread that the server holds may have breakpoints
    return ParsedPrompt(
        blocks=blocks.to_blocks(),
        params=(
            *select_cache_relevant_params(body, MESSAGES_PARAMS),
            *_params_for_images_and_citations(body),
        ),
        is_complete=server_state_id is None,
        server_state_id=server_state_id,
        caching_mode=mode,
        ttl=as_str(request_marker.get("ttl")),
        is_prewarm=type(given := body.get("max_tokens")) is int and given == 0,
    )


def _first_message_as_conversation_key(body: JSONObject) -> object:
    """Return the first message: a conversation grows at its end. None if the server holds it."""
    if as_mapping(body.get("thread")):
        return None
    first = as_mapping(next(iter(as_list(body.get("messages"))), None))
    blocks = _content_blocks(first.get("content"))
    return [_strip_cache_markers(block)[0] for block in blocks] or None


def _add_diagnostics_field(
    provider: str, body: JSONObject, previous: str | None
) -> JSONObject | None:
    """Add `diagnostics`; a null id starts a conversation.

    Source: cache diagnostics page, April 2026: on Anthropic's own API only.
    """
    if provider != "anthropic" or body.get("diagnostics") is not None:
        return None
    return {**body, "diagnostics": {"previous_message_id": previous}}


# Responses


def _model_that_answered(usage: JSONObject) -> str | None:
    """Return the fallback model that gave the answer. A stream began with the requested model."""
    for one in as_list(usage.get("iterations")):
        fields = as_mapping(one)
        if fields.get("type") == "fallback_message":
            return as_str(fields.get("model"))
    return None


_USE_OF_CONTAINER: Final[Mapping[str, Any]] = {"code_execution": 1}
"""A container is named if code was executed in one (anthropic 2.14, types/message.py). It is billed
by the hour."""


def _message_facts(message: JSONObject, **more: Any) -> ResponseFacts:
    usage = as_mapping(message.get("usage"))
    reason = as_str(message.get("stop_reason"))
    return ResponseFacts(
        model=_model_that_answered(usage) or as_str(message.get("model")),
        id=as_str(message.get("id")),
        finish_reasons=(reason,) if reason else (),
        service_tier=as_str(usage.get("service_tier")),
        speed=as_str(usage.get("speed")),
        inference_geo=as_str(usage.get("inference_geo")),
        usage_counters=flatten(usage),
        provider_diagnostics=as_mapping(message.get("diagnostics")) or None,
        billed_usd=billed_usd(usage),  # OpenRouter speaks this wire format too
        tool_uses=_USE_OF_CONTAINER if as_mapping(message.get("container")) else {},
        **more,
    )


def _message_delta_facts(event: JSONObject) -> ResponseFacts:
    """Read a `message_delta`: `delta` is a part of a message, `usage` is cumulative.

    A stop reason comes with the last counters.
    """
    delta = as_mapping(event.get("delta"))
    return _message_facts(
        {**delta, "usage": event.get("usage")}, is_terminal=delta.get("stop_reason") is not None
    )


def _error_event_facts(event: JSONObject) -> ResponseFacts:
    return ResponseFacts(error_code=as_str(as_mapping(event.get("error")).get("type")) or "error")


def _message_stop_facts(event: JSONObject) -> ResponseFacts:
    counters = invocation_metrics(event)
    return ResponseFacts(usage_counters=counters, is_terminal=True) if counters else _STOP_FACTS


def invocation_metrics(event: JSONObject) -> dict[str, Any]:
    """Return the counters that Bedrock adds to the last event of InvokeModel's streams."""
    metrics = as_mapping(event.get(_BEDROCK_METRICS))
    return {f"metrics.{name}": value for name, value in metrics.items()}


_BEDROCK_METRICS: Final = "amazon-bedrock-invocationMetrics"
"""docs.aws.amazon.com/bedrock, InvokeModelWithResponseStream: counts beside the last event."""
_OUTPUT_FACTS: Final = ResponseFacts(has_content=True)
_STOP_FACTS: Final = ResponseFacts(is_terminal=True)
_EVENT_PARSERS: Final[Mapping[str, Callable[[JSONObject], ResponseFacts]]] = {
    "message": lambda event: _message_facts(event, is_terminal=True),
    "message_start": lambda event: _message_facts(as_mapping(event.get("message"))),
    "message_delta": _message_delta_facts,
    "message_stop": lambda event: _message_stop_facts(event),
    "content_block_delta": lambda _: _OUTPUT_FACTS,
    "error": _error_event_facts,
}


def _parse_event(event: JSONObject) -> ResponseFacts | None:
    event_type = event.get("type")
    parser = _EVENT_PARSERS.get(event_type) if isinstance(event_type, str) else None
    return parser(event) if parser else None


_RELEVANT_BYTES: Final = re.compile(rb'"type"\s*:\s*"(?:message|error)')


def _is_last_event(event: JSONObject) -> bool:
    return event.get("type") == "message_stop"


def _parse_batch_result(line: JSONObject) -> ResponseFacts | None:
    """Read a line of a batch's results. Only a request that succeeded has a message and a cost."""
    message = as_mapping(as_mapping(line.get("result")).get("message"))
    return _message_facts(message, is_terminal=True, is_batch=True) if message else None


def _parse_usage(facts: ResponseFacts) -> Usage | None:
    """Return the usage of the model that answered, compactions added, with the other attempts.

    Compactions are billed, and no total includes them (types/beta/beta_usage.py).
    """
    counts = facts.usage_counters
    is_split_by_ttl = any(
        name in counts for names in MESSAGES_COUNTERS.cache_write_by_ttl.values() for name in names
    )
    iterations = [flatten(iteration) for iteration in as_list(counts.get("iterations"))]
    compactions = [one for one in iterations if one.get("type") == "compaction"]
    served, others = _split_fallback_attempts(iterations)
    if served:
        counts = {**counts, **_sum_iteration_counters(served)}
    if compactions:
        counts = {**counts, **_add_compaction_counters(counts, compactions)}
    if counts is not facts.usage_counters:
        facts = facts._replace(usage_counters=counts)
    usage = parse_usage(facts, MESSAGES_COUNTERS if is_split_by_ttl else COUNTERS_WITHOUT_TTL)
    usage = add_tool_uses(usage, facts.tool_uses)
    if usage is None:
        return None
    if iterations:
        issues = _find_iteration_issues(compactions)
        usage = usage._replace(
            inconsistencies=(*usage.inconsistencies, *issues),
            other_attempts=tuple(_parse_usage_of_attempts(others)),
        )
    return _apply_refusal_billing(usage, facts, others if served else [])


def _split_fallback_attempts(
    iterations: list[dict[str, Any]],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the iterations of a fallback model that answered, and those of other models.

    Without a fallback the first list is empty: the totals are those of the only model. With one,
    the entries decide, as the totals leave out the attempts that declined.
    """
    others = [one for one in iterations if one.get("type") == "advisor_message"]
    fallback = next((one for one in iterations if one.get("type") == "fallback_message"), None)
    if fallback is None:
        return [], others
    tries = [one for one in iterations if one.get("type") in ("message", "fallback_message")]
    served = [one for one in tries if one is fallback or one.get("model") == fallback.get("model")]
    return served, [*others, *(one for one in tries if one not in served)]


def _sum_iteration_counters(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the sums of the counters of some iterations. A malformed counter stays as it is."""
    sums: dict[str, Any] = {}
    for name in _COMPACTION_COUNTERS:
        values = [entry[name] for entry in entries if name in entry]
        malformed = [value for value in values if as_count(value) is None]
        if values:
            sums[name] = malformed[0] if malformed else sum(values)
    return sums


def _parse_usage_of_attempts(entries: list[dict[str, Any]]) -> Iterator[tuple[str | None, Usage]]:
    """Yield model and usage of each attempt that is billed: a refusal before output is not."""
    for entry in entries:
        usage = parse_usage(ResponseFacts(usage_counters=entry), MESSAGES_COUNTERS)
        if usage is not None and (usage.output_tokens or entry.get("type") == "advisor_message"):
            yield as_str(entry.get("model")), usage


_OUTPUT_OF_EMPTY_REFUSAL: Final = 1
"""A refusal with empty content may report one token (AWS, fallback credit page, 2026)."""


def _apply_refusal_billing(
    usage: Usage, facts: ResponseFacts, declined: list[dict[str, Any]]
) -> Usage:
    """Mark what a refusal makes free or cheaper.

    Sources: Claude's refusals and fallback page (no bill before output), fallback credit page: the
    retry is billed as if the conversation had been on its model all along, so a prefix that was
    warm there is billed as read. A redeemed token names no number: all its writes were warm.
    """
    writes = usage.cache_write_tokens or 0
    is_empty = (usage.output_tokens or 0) <= _OUTPUT_OF_EMPTY_REFUSAL
    if is_empty and facts.finish_reasons[-1:] == ("refusal",):
        return usage._replace(is_billed=False)
    warm = max((as_count(one.get("cache_read_input_tokens")) or 0 for one in declined), default=0)
    if facts.usage_counters.get("fallback_credit.status.type") == "redeemed":
        warm = writes
    return usage._replace(credited_write_tokens=min(warm, writes)) if warm and writes else usage


def _add_compaction_counters(
    counts: JSONObject, compactions: list[dict[str, Any]]
) -> dict[str, int]:
    """Return the counters that the compactions change. A malformed counter stays as it is."""
    sums: dict[str, int] = {}
    for name in _COMPACTION_COUNTERS:
        added = sum(as_count(compaction.get(name)) or 0 for compaction in compactions)
        reported = as_count(counts.get(name, 0))
        if added and reported is not None:
            sums[name] = reported + added
    return sums


def _find_iteration_issues(compactions: list[dict[str, Any]]) -> Iterator[str]:
    """Yield why the iterations do not fit into one usage."""
    if any(
        name in compaction and as_count(compaction[name]) is None
        for compaction in compactions
        for name in _COMPACTION_COUNTERS
    ):
        yield "malformed:iterations"


MESSAGES: Final = WireFormat(
    "anthropic.messages",
    "chat",
    _parse_prompt,
    _parse_event,
    _parse_usage,
    _RELEVANT_BYTES,
    _is_last_event,
    conversation_key=_first_message_as_conversation_key,
    with_diagnostics=_add_diagnostics_field,
)
BATCH_RESULTS: Final = WireFormat(
    "anthropic.results", "chat", _parse_prompt, _parse_batch_result, _parse_usage
)

ROUTES: Final = (
    make_route("POST", r"messages", MESSAGES),
    make_route("GET", r"messages/batches/[^/?]+/results", BATCH_RESULTS, is_batch_results=True),
    # The clients for Bedrock and Vertex AI rewrite the first route into these.
    make_route("POST", r"model/[^/?]+/invoke(?:-with-response-stream)?", MESSAGES),
    make_route(
        "POST",
        r"publishers/anthropic/models/(?!count-tokens:)[^/?:]+:(?:streamR|r)awPredict",
        MESSAGES,
    ),
)
