"""Anthropic Messages: Anthropic's own API, its batches, and the platforms that speak the same wire.

Sources: anthropic-python 2.11.0 (types/usage.py, types/beta/beta_usage.py, types/message_create_params.py) and
Anthropic's pages on prompt caching, batches and cache diagnostics (copies of April to October 2026). Input tokens stand
beside what was read from the cache and what was written to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, cast

from promptcache.common.coerce import JSONObject, as_count, as_list, as_mapping, as_str, flatten
from promptcache.model import Param, ParsedPrompt, Request, ResponseFacts, Usage
from promptcache.providers.prompt import (
    BlockCollector,
    ParamLevels,
    select_params,
    split_cache_marker,
)
from promptcache.providers.usage import UsageCounters, parse_usage
from promptcache.providers.wire_format import WireFormat, make_route

CACHE_MARKER: Final = "cache_control"
BETAS_FIELD: Final = "anthropic_beta"
"""Where Bedrock's body names the beta features; elsewhere they travel in the header `anthropic-beta`."""

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
    (BETAS_FIELD, "none"),
    ("inference_geo", "none"),
    ("service_tier", "none"),
)
"""Which change takes which section out of the cache, by the table of the prompt caching page. Betas and the tier are
in no table: their change is kept in the scope, and blamed for nothing."""

MESSAGES_COUNTERS: Final = UsageCounters(
    input_tokens=("input_tokens",),
    cache_read_tokens=("cache_read_input_tokens",),
    cache_write_tokens=("cache_creation_input_tokens",),
    output_tokens=("output_tokens",),
    reasoning_tokens=("output_tokens_details.thinking_tokens",),
    input_includes_cached=False,
    cache_write_by_ttl={
        "5m": ("cache_creation.ephemeral_5m_input_tokens",),
        "1h": ("cache_creation.ephemeral_1h_input_tokens",),
    },
    modalities={},
    default_ttl="5m",
    # Web fetches are counted too, but free (web fetch page, 2026): a use without a price would hide the call's cost.
    server_tools={"web_search": ("server_tool_use.web_search_requests",)},
)
COUNTERS_WITHOUT_TTL: Final = MESSAGES_COUNTERS._replace(default_ttl="unknown")
"""For a response that does not split its writes at all: their TTL is whatever the request asked for."""

_COMPACTION_COUNTERS: Final = (
    *MESSAGES_COUNTERS.input_tokens,
    *MESSAGES_COUNTERS.cache_read_tokens,
    *MESSAGES_COUNTERS.cache_write_tokens,
    *MESSAGES_COUNTERS.output_tokens,
    *(name for names in MESSAGES_COUNTERS.cache_write_by_ttl.values() for name in names),
)


# Requests


def _content_blocks(content: object) -> list[Any]:
    """The blocks of a system prompt or message; a string is short for one text block."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else as_list(content)


def _strip_cache_markers(block: object, max_depth: int = 4) -> tuple[Any, str | None]:
    """A block without its markers, and the TTL that they ask for. Results of tools may hold marked blocks."""
    if not isinstance(block, Mapping):
        return block, None
    data, mark = split_cache_marker(cast("JSONObject", block), CACHE_MARKER)
    inner = data.get("content")
    if not isinstance(inner, list) or not max_depth:
        return data, mark
    parts = [_strip_cache_markers(part, max_depth - 1) for part in cast("list[object]", inner)]
    marks = [found for _, found in parts if found is not None]
    if marks:
        data = {**data, "content": [part for part, _ in parts]}
    return data, mark if mark is not None or not marks else marks[-1]


def _type_of(block: object) -> object:
    return as_mapping(block).get("type")


def _is_web_search(tool: object) -> bool:
    """Whether a tool is Anthropic's web search: switching it changes the system prompt and leaves the tools cached."""
    return (as_str(_type_of(tool)) or "").startswith("web_search")


def _collect_blocks(body: JSONObject) -> BlockCollector:
    blocks = BlockCollector()
    tools = as_list(body.get("tools"))
    for section, chosen in (("tools", False), ("system", True)):
        for tool in tools:
            if _is_web_search(tool) is chosen:
                data, mark = _strip_cache_markers(tool)
                blocks.add(
                    cast("Literal['tools', 'system']", section),
                    as_str(_type_of(tool)) or "custom",
                    data,
                    mark,
                )
    for block in _content_blocks(body.get("system")):
        data, mark = _strip_cache_markers(block)
        blocks.add("system", _type_of(block), data, mark)
    for message in as_list(body.get("messages")):
        role = as_mapping(message).get("role")
        for index, block in enumerate(_content_blocks(as_mapping(message).get("content"))):
            data, mark = _strip_cache_markers(block)
            blocks.add(
                "messages",
                _type_of(block),
                data if index else {"role": role, "content": data},
                mark,
            )
    return blocks


def _presence_params(body: JSONObject) -> Iterator[Param]:
    """What switches by being there: an image anywhere, citations of any document."""
    found: set[str] = set()
    for message in as_list(body.get("messages")):
        for block in as_list(as_mapping(message).get("content")):
            for part in (block, *as_list(as_mapping(block).get("content"))):
                if as_str(_type_of(part)) == "image":
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
    if not tuple(blocks):
        return None
    thread, whole = as_mapping(body.get("thread")), as_mapping(body.get(CACHE_MARKER))
    state = as_str(thread.get("previous_message_id"))
    # The part that a thread's server holds may be marked.
    mode: Literal["explicit", "implicit", "none"] = (
        "explicit" if blocks.has_breakpoints or state else "none"
    )
    return ParsedPrompt(
        blocks=tuple(blocks),
        params=(*select_params(body, MESSAGES_PARAMS), *_presence_params(body)),
        is_complete=state is None,
        server_state_id=state,
        caching_mode="implicit" if whole else mode,
        ttl=as_str(whole.get("ttl")),
        is_prewarm=type(given := body.get("max_tokens")) is int and given == 0,
    )


def _conversation_key(body: JSONObject) -> object:
    """The first message, unless the server holds it: a conversation grows at its end."""
    first = as_mapping(next(iter(as_list(body.get("messages"))), None))
    return (
        None
        if as_mapping(body.get("thread"))
        else [_strip_cache_markers(block)[0] for block in _content_blocks(first.get("content"))]
        or None
    )


def _with_diagnostics(provider: str, body: JSONObject, previous: str | None) -> JSONObject | None:
    """Asks by `diagnostics` (cache diagnostics page, April 2026; its own API alone); null begins a conversation."""
    if provider != "anthropic" or body.get("diagnostics") is not None:
        return None
    return {**body, "diagnostics": {"previous_message_id": previous}}


# Responses


def _message_facts(message: JSONObject, **more: Any) -> ResponseFacts:
    spent = as_mapping(message.get("usage"))
    reason = as_str(message.get("stop_reason"))
    return ResponseFacts(
        model=as_str(message.get("model")),
        id=as_str(message.get("id")),
        finish_reasons=(reason,) if reason else (),
        service_tier=as_str(spent.get("service_tier")),
        speed=as_str(spent.get("speed")),
        inference_geo=as_str(spent.get("inference_geo")),
        usage_counters=dict(flatten(spent)),
        provider_diagnostics=as_mapping(message.get("diagnostics")) or None,
        **more,
    )


def _delta_facts(event: JSONObject) -> ResponseFacts:
    """Of a `message_delta`: `delta` is a message in part, `usage` cumulative. Once it stopped, nothing more is said."""
    delta = as_mapping(event.get("delta"))
    return _message_facts(
        {**delta, "usage": event.get("usage")}, is_terminal=delta.get("stop_reason") is not None
    )


def _error_facts(event: JSONObject) -> ResponseFacts:
    return ResponseFacts(error_code=as_str(as_mapping(event.get("error")).get("type")) or "error")


_OUTPUT_FACTS: Final = ResponseFacts(has_content=True)
_STOP_FACTS: Final = ResponseFacts(is_terminal=True)
_EVENT_PARSERS: Final[Mapping[str, Callable[[JSONObject], ResponseFacts]]] = {
    "message": lambda event: _message_facts(event, is_terminal=True),
    "message_start": lambda event: _message_facts(as_mapping(event.get("message"))),
    "message_delta": _delta_facts,
    "message_stop": lambda _: _STOP_FACTS,
    "content_block_delta": lambda _: _OUTPUT_FACTS,
    "error": _error_facts,
}


def _parse_event(event: JSONObject) -> ResponseFacts | None:
    kind = event.get("type")
    known = _EVENT_PARSERS.get(kind) if isinstance(kind, str) else None
    return known(event) if known else None


_SKIPPABLE_EVENTS: Final = frozenset(
    {"content_block_start", "content_block_delta", "content_block_stop", "ping"}
)


def _can_skip(event: JSONObject) -> bool:
    kind = event.get("type")
    return kind.__class__ is str and kind in _SKIPPABLE_EVENTS


def _parse_batch_result(line: JSONObject) -> ResponseFacts | None:
    """One line of a batch's results: the message of a request that succeeded; the others cost nothing."""
    message = as_mapping(as_mapping(line.get("result")).get("message"))
    return _message_facts(message, is_terminal=True, is_batch=True) if message else None


def _parse_usage(facts: ResponseFacts) -> Usage | None:
    """The usage, with the compactions: they are billed and stand in no total (types/beta/beta_usage.py)."""
    counts = facts.usage_counters
    split = any(
        name in counts for names in MESSAGES_COUNTERS.cache_write_by_ttl.values() for name in names
    )
    turns = [dict(flatten(turn)) for turn in as_list(counts.get("iterations"))]
    apart = [turn for turn in turns if turn.get("type") == "compaction"]
    if apart:
        facts = facts._replace(usage_counters={**counts, **_add_compactions(counts, apart)})
    found = parse_usage(facts, MESSAGES_COUNTERS if split else COUNTERS_WITHOUT_TTL)
    return found and found._replace(
        inconsistencies=(*found.inconsistencies, *_iteration_issues(turns, apart))
    )


def _add_compactions(counts: JSONObject, more: list[dict[str, Any]]) -> dict[str, int]:
    added = {
        name: sum(as_count(turn.get(name)) or 0 for turn in more) for name in _COMPACTION_COUNTERS
    }
    given = {name: as_count(counts.get(name, 0)) for name in _COMPACTION_COUNTERS}
    return {
        name: base + added[name] for name, base in given.items() if base is not None and added[name]
    }


def _iteration_issues(turns: list[dict[str, Any]], apart: list[dict[str, Any]]) -> Iterator[str]:
    """What the iterations say that one usage cannot: an advisor's tokens are at another model's price."""
    if any(turn.get("type") == "advisor_message" for turn in turns):
        yield "advisor_message"
    if any(
        name in turn and as_count(turn[name]) is None
        for turn in apart
        for name in _COMPACTION_COUNTERS
    ):
        yield "malformed:iterations"


MESSAGES: Final = WireFormat(
    "anthropic.messages",
    "chat",
    _parse_prompt,
    _parse_event,
    _parse_usage,
    _can_skip,
    terminal_event="message_stop",
    conversation_key=_conversation_key,
    with_diagnostics=_with_diagnostics,
)
BATCH_RESULTS: Final = WireFormat(
    "anthropic.results", "chat", _parse_prompt, _parse_batch_result, _parse_usage, _can_skip
)

ROUTES: Final = (
    make_route("POST", r"messages", MESSAGES),
    make_route("GET", r"messages/batches/[^/?]+/results", BATCH_RESULTS, is_batch_results=True),
    # As Bedrock's and Vertex's clients rewrite the first.
    make_route("POST", r"model/[^/?]+/invoke(?:-with-response-stream)?", MESSAGES),
    make_route(
        "POST",
        r"publishers/anthropic/models/(?!count-tokens:)[^/?:]+:(?:streamR|r)awPredict",
        MESSAGES,
    ),
)
