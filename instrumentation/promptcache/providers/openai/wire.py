"""Parse OpenAI's Chat Completions and Responses, also as other providers' servers speak them.

Input tokens include cache reads and cache writes.

Sources: openai-python 3.52.0 (types/completion_usage.py, types/responses/response_usage.py,
response.py, response_create_params.py) and OpenAI's prompt caching guide (copies of July to October
2026).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, Literal, NamedTuple

from promptcache.common.coerce import JSONObject, as_list, as_mapping, as_str, flatten
from promptcache.model import TTL_SECONDS, Param, ParsedPrompt, Request, ResponseFacts, Usage
from promptcache.providers.bills import billed_usd
from promptcache.providers.openai.spellings import SPELLINGS, CounterSpelling
from promptcache.providers.openai.tool_uses import (
    RELEVANT_ITEM_BYTES,
    find_tool_uses_of_chat,
    find_tool_uses_of_event,
    find_tool_uses_of_response,
    name_searches,
)
from promptcache.providers.prompt import (
    BlockCollector,
    ParamLevels,
    select_cache_relevant_params,
    split_cache_marker,
)
from promptcache.providers.tool_uses import add_tool_uses
from promptcache.providers.usage import UsageCounterNames, parse_usage
from promptcache.providers.wire_format import WireFormat, make_route, parse_no_prompt

CACHE_MARKERS: Final = ("prompt_cache_breakpoint", "cache_control")
"""OpenAI's own marker, and the one that gateways take for Claude and Qwen (OpenRouter's and
LiteLLM's pages on prompt caching)."""
SYSTEM_ROLES: Final = frozenset({"system", "developer"})

_CACHE_PARAMS: Final[ParamLevels] = (
    ("prompt_cache_key", "tools"),
    ("prompt_cache_options.mode", "tools"),
    ("prompt_cache_options.ttl", "none"),
    ("prompt_cache_retention", "none"),
    ("parallel_tool_calls", "tools"),
    ("service_tier", "tools"),
    ("tool_choice", "none"),
)
"""Tools are the first section of a prompt: a change of the level `tools` invalidates everything."""

CHAT_PARAMS: Final[ParamLevels] = (
    *_CACHE_PARAMS,
    ("response_format", "tools"),
    ("reasoning_effort", "tools"),
    ("verbosity", "tools"),
    # Of DeepSeek, Qwen, OpenRouter and vLLM: they change what the chat template writes.
    ("thinking", "tools"),
    ("enable_thinking", "tools"),
    ("chat_template_kwargs", "tools"),
    ("reasoning", "tools"),
    ("web_search_options", "tools"),
)
_CLAUDE_CHAT_PARAMS: Final[ParamLevels] = (
    ("tool_choice", "messages"),
    ("response_format", "system"),
    ("reasoning_effort", "messages"),
    ("reasoning", "messages"),
)
"""Claude behind a gateway keeps Claude's rules (anthropic/wire.py, `MESSAGES_PARAMS`)."""

RESPONSES_PARAMS: Final[ParamLevels] = (
    *_CACHE_PARAMS,
    ("text.format", "tools"),
    ("text.verbosity", "tools"),
    ("reasoning.effort", "tools"),
    ("context_management", "tools"),
    ("truncation", "none"),
)

CHAT_COUNTERS: Final = UsageCounterNames(
    input_tokens=("prompt_tokens",),
    cache_read_tokens=("prompt_tokens_details.cached_tokens",),
    cache_write_tokens=("prompt_tokens_details.cache_write_tokens",),
    output_tokens=("completion_tokens",),
    reasoning_tokens=("completion_tokens_details.reasoning_tokens",),
    input_includes_cached=True,
    cache_write_by_ttl={},
    modalities={
        "audio.input": ("prompt_tokens_details.audio_tokens",),
        "image.input": ("prompt_tokens_details.image_tokens",),
        "audio.output": ("completion_tokens_details.audio_tokens",),
    },
    default_ttl="30m",
    total_tokens=("total_tokens",),
)
RESPONSES_COUNTERS: Final = UsageCounterNames(
    input_tokens=("input_tokens",),
    # The Realtime API reports `input_token_details`, in the singular.
    cache_read_tokens=("input_tokens_details.cached_tokens", "input_token_details.cached_tokens"),
    cache_write_tokens=("input_tokens_details.cache_write_tokens",),
    output_tokens=("output_tokens",),
    reasoning_tokens=("output_tokens_details.reasoning_tokens",),
    input_includes_cached=True,
    cache_write_by_ttl={
        "30m": ("input_tokens_details.cache_write_tokens_details.ttl_30m_tokens",),
        "12h": ("input_tokens_details.cache_write_tokens_details.ttl_12h_tokens",),
    },
    modalities={
        "audio.input": ("input_token_details.audio_tokens",),
        "audio.read": ("input_token_details.cached_tokens_details.audio_tokens",),
        "image.input": ("input_token_details.image_tokens",),
        "image.read": ("input_token_details.cached_tokens_details.image_tokens",),
        "audio.output": ("output_token_details.audio_tokens",),
    },
    default_ttl="30m",
    total_tokens=("total_tokens",),
)

_OPENAI_MODEL: Final = re.compile(r"(?:.*/)?(?:ft:)?(?:gpt-|o\d|chatgpt-|codex-|computer-use-)")
"""Models whose writes live 30 minutes. Claude and Qwen behind the same wire format have others."""

# Requests


def _split_markers(fields: JSONObject) -> tuple[JSONObject, str | None]:
    """Return a part, message or tool without its cache markers, and the TTL that they request."""
    found: str | None = None
    for marker in CACHE_MARKERS:
        if marker in fields:
            fields, ttl = split_cache_marker(fields, marker)
            found = ttl if found is None else found
    return fields, found


def _split_markers_of_tool(fields: JSONObject) -> tuple[JSONObject, str | None]:
    """Return a tool without its cache markers. Gateways take one inside its `function`, too."""
    bare, ttl = _split_markers(fields)
    function = as_mapping(bare.get("function"))
    if CACHE_MARKERS[0] in function or CACHE_MARKERS[1] in function:
        inner, inner_ttl = _split_markers(function)
        bare, ttl = {**bare, "function": inner}, inner_ttl if ttl is None else ttl
    return bare, ttl


def _add_part_block(
    blocks: BlockCollector,
    section: Literal["system", "messages"],
    part: object,
    message_fields: JSONObject,
    message_ttl: str | None,
) -> None:
    """Add a part. `message_ttl` is the TTL of the marker on its message, None without one."""
    fields = as_mapping(part)
    if not fields:
        blocks.add(section, "text", {**message_fields, "content": part}, message_ttl)
        return
    content, ttl = _split_markers(fields)
    data = {**message_fields, "content": content} if message_fields else content
    blocks.add(section, content.get("type"), data, message_ttl if ttl is None else ttl)


def _is_system_message(message: object) -> bool:
    return as_str(as_mapping(message).get("role")) in SYSTEM_ROLES


def _add_message_blocks(
    blocks: BlockCollector, section: Literal["system", "messages"], message: object
) -> None:
    """Add one message or input item, with one block for each of its parts.

    The system section consists of the system messages before the first other message.
    """
    fields = as_mapping(message)
    # The result of a tool has its parts in `output` (openai 3.57.0).
    key = "output" if as_list(fields.get("output")) else "content"
    parts = as_list(fields.get(key))
    bare, ttl = _split_markers(fields)
    if not parts:
        data = bare if fields else message
        blocks.add(section, as_str(fields.get("type")) or "text", data, ttl)
        return
    message_fields = {name: value for name, value in bare.items() if name != key}
    for index, part in enumerate(parts):
        is_last = index == len(parts) - 1
        _add_part_block(
            blocks, section, part, message_fields if index == 0 else {}, ttl if is_last else None
        )


def _build_prompt(
    body: JSONObject,
    blocks: BlockCollector,
    messages: list[Any],
    params: tuple[Param, ...],
    server_state_id: str | None,
) -> ParsedPrompt:
    head = 0
    while head < len(messages) and _is_system_message(messages[head]):
        _add_message_blocks(blocks, "system", messages[head])
        head += 1
    blocks.add_messages(messages[head:], partial(_add_message_blocks, blocks, "messages"))
    options = as_mapping(body.get("prompt_cache_options"))
    requested_mode = as_str(options.get("mode"))
    mode: Literal["automatic", "implicit", "explicit", "none"] = "automatic"
    if requested_mode == "implicit":
        mode = "implicit"
    elif requested_mode == "explicit":
        mode = "explicit" if blocks.has_breakpoints else "none"
    return ParsedPrompt(
        blocks=blocks.to_blocks(),
        params=params,
        is_complete=server_state_id is None,
        server_state_id=server_state_id,
        caching_mode=mode,
        ttl=as_str(options.get("ttl")) or as_str(body.get("prompt_cache_retention")),
        is_prewarm=options.get("prewarm") is True,
    )


def _collect_tool_blocks(body: JSONObject, *names: str) -> BlockCollector:
    blocks = BlockCollector()
    for name in names:
        for tool in as_list(body.get(name)):
            fields = as_mapping(tool)
            data, ttl = _split_markers_of_tool(fields) if fields else (tool, None)
            blocks.add("tools", as_str(fields.get("type")) or "function", data, ttl)
    return blocks


def _parse_chat_prompt(request: Request) -> ParsedPrompt | None:
    body = request.body
    messages = as_list(body.get("messages"))
    if not messages:
        return None
    blocks = _collect_tool_blocks(body, "tools", "functions")
    is_claude = "claude" in (request.model or "")
    levels = _CLAUDE_CHAT_PARAMS if is_claude else CHAT_PARAMS
    prompt = _build_prompt(body, blocks, messages, select_cache_relevant_params(body, levels), None)
    if is_claude and blocks.has_kind("image"):
        return prompt._replace(params=(*prompt.params, Param("images", True, "messages")))
    return prompt


def _parse_completion_prompt(request: Request) -> ParsedPrompt | None:
    """Parse the prompt of the legacy API: a text, texts, or token ids."""
    body = request.body
    prompt = body.get("prompt")
    texts = [prompt] if isinstance(prompt, str) else as_list(prompt)
    if not texts:
        return None
    if not isinstance(texts[0], str):
        texts = [texts]
    blocks = BlockCollector()
    for text in texts:
        blocks.add("messages", "text", {"content": text})
    params = select_cache_relevant_params(body, _CACHE_PARAMS)
    return ParsedPrompt(blocks.to_blocks(), params)


def _parse_responses_prompt(request: Request) -> ParsedPrompt | None:
    body = request.body
    blocks = _collect_tool_blocks(body, "tools")
    if body.get("instructions") is not None:
        blocks.add("system", "text", body["instructions"])
    items = body.get("input")
    messages = [{"role": "user", "content": items}] if isinstance(items, str) else as_list(items)
    references = (body.get(name) for name in ("previous_response_id", "conversation", "prompt"))
    server_state_id = next(filter(None, map(_id_of_server_state, references)), None)
    if not messages and server_state_id is None and not blocks:
        return None
    params = select_cache_relevant_params(body, RESPONSES_PARAMS)
    return _build_prompt(body, blocks, messages, params, server_state_id)


def _id_of_server_state(param: object) -> str | None:
    """Return the id of a prompt part that the server holds; the parameter is an id or an object."""
    fields = as_mapping(param)
    if not fields:
        return as_str(param)
    return as_str(fields.get("id")) or "unnamed"


def _first_message_as_conversation_key(body: JSONObject) -> object:
    """Return the first input item: a conversation grows at its end. None if the server holds it."""
    if as_str(body.get("previous_response_id")):
        return None
    return next(iter(as_list(body.get("input"))), None)


def _add_diagnostics_field(
    provider: str, body: JSONObject, previous: str | None
) -> JSONObject | None:
    """Add `comparison_response_id`.

    Source: diagnostics page, autumn 2026: GPT-5.6 and later, on OpenAI's own API.
    """
    if previous is None or provider != "openai":
        return None
    options: JSONObject = as_mapping(body.get("prompt_cache_options"))
    is_supported = _MODELS_WITH_DIAGNOSTICS.match(as_str(body.get("model")) or "")
    if not is_supported or "comparison_response_id" in options:
        return None
    return {**body, "prompt_cache_options": {**options, "comparison_response_id": previous}}


_MODELS_WITH_DIAGNOSTICS: Final = re.compile(r"gpt-(5\.[6-9]|[6-9]|\d\d)")


# Responses


def _parse_chat_event(event: JSONObject) -> ResponseFacts | None:
    choices = [as_mapping(choice) for choice in as_list(event.get("choices"))]
    first = choices[0] if choices else as_mapping(None)
    # Groq streams the usage under `x_groq`, Moonshot inside the choice.
    usage = as_mapping(
        event.get("usage") or as_mapping(event.get("x_groq")).get("usage") or first.get("usage")
    )
    reasons = [as_str(choice.get("finish_reason")) for choice in choices]
    finish = tuple([reason for reason in reasons if reason])
    model = as_str(event.get("model"))
    return ResponseFacts(
        model=model,
        id=as_str(event.get("id")),
        finish_reasons=finish,
        service_tier=as_str(event.get("service_tier")),
        usage_counters=flatten(usage),
        billed_usd=billed_usd(usage),
        has_content=any(_has_output_delta(as_mapping(choice.get("delta"))) for choice in choices),
        is_terminal=bool(finish),
        error_code=_error_code(event),
        tool_uses=find_tool_uses_of_chat(event, choices, model, bool(usage)),
    )


def _parse_completion_event(event: JSONObject) -> ResponseFacts | None:
    facts = _parse_chat_event(event)
    choices = as_list(event.get("choices"))
    has_text = any(as_mapping(choice).get("text") for choice in choices)
    return facts and facts._replace(has_content=has_text)


def _has_output_delta(delta: JSONObject) -> bool:
    return bool(delta) and any(value for name, value in delta.items() if name != "role")


# All begin with one character: the search is three times as fast as for whole alternatives.
_RELEVANT_CHAT_BYTES: Final = re.compile(
    rb'"(?:usage"\s*:\s*\{|finish_reason"\s*:\s*"|error"|executed_tools"\s*:\s*\['
    rb'|\$web_search"|web_search"\s*:\s*\[|url_citation")'
)


def _is_last_chat_event(event: JSONObject) -> bool:
    return event.get("type") == "[DONE]"


_TERMINAL_STATUSES: Final = frozenset({"completed", "incomplete", "failed", "cancelled"})
_CREATED: Final = "response.created"


def _parse_responses_event(event: JSONObject) -> ResponseFacts | None:
    event_type = event.get("type")
    is_in_stream = isinstance(event_type, str) and "response" in event
    response = as_mapping(event.get("response")) if is_in_stream else event
    status = as_str(response.get("status"))
    is_finished = status in _TERMINAL_STATUSES
    usage = as_mapping(response.get("usage"))
    error_code = _error_code(response)
    if error_code is None and event_type == "error":
        error_code = as_str(event.get("code")) or "error"
    return ResponseFacts(
        model=as_str(response.get("model")),
        id=as_str(response.get("id")) if event_type is None or "response" in event else None,
        finish_reasons=(status,) if status and is_finished and event_type != _CREATED else (),
        service_tier=as_str(response.get("service_tier")),
        usage_counters=flatten(usage),
        provider_diagnostics=as_mapping(response.get("prompt_cache_diagnostics")) or None,
        billed_usd=billed_usd(usage),
        cache_write_ttl=as_str(as_mapping(response.get("prompt_cache_options")).get("ttl")),
        has_content=isinstance(event_type, str) and event_type.endswith(".delta"),
        is_terminal=is_finished or response.get("object") == "response.compaction",
        error_code=error_code,
        tool_uses=find_tool_uses_of_event(event) or find_tool_uses_of_response(response),
    )


_RELEVANT_RESPONSES_BYTES: Final = re.compile(
    rf'"(?:response"|error"|(?:{RELEVANT_ITEM_BYTES})")'.encode()
)
_LAST_RESPONSES_EVENTS: Final = frozenset(
    {"response.completed", "response.incomplete", "response.failed"}
)


def _is_last_responses_event(event: JSONObject) -> bool:
    return event.get("type") in _LAST_RESPONSES_EVENTS


def _error_code(response: JSONObject) -> str | None:
    error = response.get("error")
    if not error:
        return None
    fields = as_mapping(error)
    return as_str(fields.get("code")) or as_str(fields.get("type")) or "error"


class _ReportedCounters(NamedTuple):
    """The counters of a wire format, and those of a response that has another server's names."""

    own: UsageCounterNames
    other: UsageCounterNames
    other_names: frozenset[str]


def _other_counter_names(details: str) -> frozenset[str]:
    """Return all other names; `details` is the wire format's details object of the input."""
    return frozenset(name for row in SPELLINGS for name in _spelled_names((row,), details))


def _add_other_counter_names(counters: UsageCounterNames, details: str) -> UsageCounterNames:
    """Return counters that also read the other names, after the wire format's own."""

    def names(counter: str) -> tuple[str, ...]:
        rows = (row for row in SPELLINGS if row.counter == counter)
        return tuple(dict.fromkeys(_spelled_names(rows, details)))

    return counters._replace(
        cache_read_tokens=(*counters.cache_read_tokens, *names("read")),
        cache_write_tokens=(*counters.cache_write_tokens, *names("write")),
        server_tools={row.counter: names(row.counter) for row in SPELLINGS if row.is_tool},
        cache_write_by_ttl={
            ttl: (*counters.cache_write_by_ttl.get(ttl, ()), *names(ttl)) for ttl in TTL_SECONDS
        },
    )


def _spelled_names(rows: Iterable[CounterSpelling], details: str) -> Iterable[str]:
    return (row.name.replace("*", details) for row in rows)


def _read_other_spellings(counters: UsageCounterNames, details: str) -> _ReportedCounters:
    return _ReportedCounters(
        counters, _add_other_counter_names(counters, details), _other_counter_names(details)
    )


_CHAT_COUNTERS: Final = _read_other_spellings(CHAT_COUNTERS, "prompt_tokens_details")
_RESPONSES_COUNTERS: Final = _read_other_spellings(RESPONSES_COUNTERS, "input_tokens_details")


def _parse_usage(facts: ResponseFacts, names: _ReportedCounters) -> Usage | None:
    counters = names.own
    if not names.other_names.isdisjoint(facts.usage_counters):
        counters = names.other
    usage = parse_usage(facts, counters)
    if usage and usage.cache_write_tokens and not _OPENAI_MODEL.match(facts.model or ""):
        usage = parse_usage(facts, counters._replace(default_ttl="unknown"))
    return add_tool_uses(usage, name_searches(facts.tool_uses))


def _parse_chat_usage(facts: ResponseFacts) -> Usage | None:
    return _parse_usage(facts, _CHAT_COUNTERS)


def _parse_responses_usage(facts: ResponseFacts) -> Usage | None:
    return _parse_usage(facts, _RESPONSES_COUNTERS)


CHAT: Final = WireFormat(
    "openai.chat",
    "chat",
    _parse_chat_prompt,
    _parse_chat_event,
    _parse_chat_usage,
    _RELEVANT_CHAT_BYTES,
    _is_last_chat_event,
)
RESPONSES: Final = WireFormat(
    "openai.responses",
    "chat",
    _parse_responses_prompt,
    _parse_responses_event,
    _parse_responses_usage,
    _RELEVANT_RESPONSES_BYTES,
    _is_last_responses_event,
    is_retrievable=True,
    conversation_key=_first_message_as_conversation_key,
    with_diagnostics=_add_diagnostics_field,
)

COMPLETIONS: Final = WireFormat(
    "openai.completions",
    "text_completion",
    _parse_completion_prompt,
    _parse_completion_event,
    _parse_chat_usage,
    _RELEVANT_CHAT_BYTES,
    _is_last_chat_event,
)

_BATCH_BODY_PARSERS: Final[Mapping[str, Callable[[JSONObject], ResponseFacts | None]]] = {
    "chat.completion": _parse_chat_event,
    "text_completion": _parse_chat_event,
    "response": _parse_responses_event,
}
"""The parser for each `object` of a batch's response. Embeddings and images are no LLM calls."""


def _parse_batch_result(line: JSONObject) -> ResponseFacts | None:
    """Read a line of a batch's output file. Only a request that succeeded has a cost.

    Source: developers.openai.com/api/reference, the request output object of the Batch API.
    """
    body = as_mapping(as_mapping(line.get("response")).get("body"))
    parse_body = _BATCH_BODY_PARSERS.get(as_str(body.get("object")) or "")
    facts = parse_body(body) if parse_body else None
    return facts and facts._replace(is_terminal=True, is_batch=True)


def _parse_batch_usage(facts: ResponseFacts) -> Usage | None:
    is_chat = "prompt_tokens" in facts.usage_counters
    return _parse_chat_usage(facts) if is_chat else _parse_responses_usage(facts)


BATCH_RESULTS: Final = WireFormat(
    "openai.results",
    "chat",
    parse_no_prompt,
    _parse_batch_result,
    _parse_batch_usage,
    # A line of an input file has no response, and a failed request has a response of null.
    re.compile(rb'"response"\s*:\s*\{'),
    body_start=re.compile(rb'\s*\{\s*"(?:id|custom_id|response|error)"\s*:'),
)

ROUTES: Final = (
    make_route("POST", r"chat/completions", CHAT),
    make_route("POST", r"completions", COMPLETIONS),
    make_route("POST", r"responses", RESPONSES),
    make_route("POST", r"responses/compact", RESPONSES),
    make_route("GET", r"responses/[^/?]+", RESPONSES, is_retrieval=True),
    make_route("GET", r"files/[^/?]+/content", BATCH_RESULTS, is_batch_results=True),
)
