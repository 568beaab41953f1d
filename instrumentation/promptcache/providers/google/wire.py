"""Parse Gemini's generateContent, its stream and the Interactions API, on Gemini API and Vertex AI.

Prompt tokens include cache reads. Results of server-side tools are counted beside the prompt, and
thoughts beside the candidates; they are billed like these. `generateContent` answers in protobuf's
JSON, which omits a count of 0: if the prompt's count is reported, a missing count is 0 and not
unreported.

Sources: google-genai 3.4.0 (types.py `GenerateContentResponseUsageMetadata`, `CachedContent`;
_gaos/types/interactions/usage.py) and ai.google.dev (context caching, tokens; copies of 2026).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from promptcache.common.coerce import (
    JSONObject,
    as_count,
    as_list,
    as_mapping,
    as_number,
    as_str,
    flatten,
)
from promptcache.model import ParsedPrompt, Request, ResponseFacts, Section, Usage
from promptcache.providers.prompt import BlockCollector, ParamLevels, select_cache_relevant_params
from promptcache.providers.tool_uses import count_tool_uses, key_of_use
from promptcache.providers.usage import UsageCounterNames, parse_usage
from promptcache.providers.wire_format import WireFormat, make_route, parse_no_prompt

SERVICE_TIER_HEADER: Final = "x-gemini-service-tier"
"""The response header that names the service tier of the call."""


class _CounterNames(NamedTuple):
    """The names of a wire format's counters.

    The counters of `input_tokens` and of `output_tokens` are summed up. The `*_by_modality` fields
    name lists with one count for each modality. `omits_zeros` says that a missing count is 0.
    `is_sum` says that `total_tokens` are nothing but input and output.
    """

    input_tokens: tuple[str, ...]
    cached_tokens: str
    output_tokens: tuple[str, ...]
    input_by_modality: tuple[str, ...]
    cached_by_modality: str
    output_by_modality: str
    omits_zeros: bool
    total_tokens: str
    is_sum: bool


_CONTENT_COUNTERS: Final = _CounterNames(
    input_tokens=("promptTokenCount", "toolUsePromptTokenCount"),
    cached_tokens="cachedContentTokenCount",
    output_tokens=("candidatesTokenCount", "thoughtsTokenCount"),
    input_by_modality=("promptTokensDetails", "toolUsePromptTokensDetails"),
    cached_by_modality="cacheTokensDetails",
    output_by_modality="candidatesTokensDetails",
    omits_zeros=True,
    total_tokens="totalTokenCount",
    is_sum=True,
)
_INTERACTION_COUNTERS: Final = _CounterNames(
    input_tokens=("total_input_tokens", "total_tool_use_tokens"),
    cached_tokens="total_cached_tokens",
    output_tokens=("total_output_tokens", "total_thought_tokens"),
    input_by_modality=("input_tokens_by_modality", "tool_use_tokens_by_modality"),
    cached_by_modality="cached_tokens_by_modality",
    output_by_modality="output_tokens_by_modality",
    omits_zeros=False,
    total_tokens="total_tokens",
    is_sum=False,  # it has "other internal tokens" too (google-genai 3.6, usage.py)
)
_MODALITIES: Final[Mapping[str, tuple[str, ...]]] = {
    "audio": ("audio",),
    "image": ("image", "document"),
    "video": ("video",),
}
"""Modalities that may have a price of their own. Pages of documents are billed as images."""
_NORMALISED_COUNTERS: Final = UsageCounterNames(
    input_tokens=("input",),
    cache_read_tokens=("read",),
    cache_write_tokens=(),
    output_tokens=("output",),
    reasoning_tokens=("reasoning",),
    input_includes_cached=True,
    cache_write_by_ttl={},
    modalities={
        f"{kind}.{place}": (f"{kind}.{place}",)
        for kind in _MODALITIES
        for place in ("input", "read", "output")
    },
)
CONTENT_PARAMS: Final[ParamLevels] = (
    ("generationConfig.mediaResolution", "messages"),
    ("generationConfig.responseSchema", "none"),
    ("generationConfig.responseJsonSchema", "none"),
    ("generationConfig.thinkingConfig", "none"),
    ("serviceTier", "none"),
    ("toolConfig", "none"),
)
"""Google documents only a changed prefix as the cause of a miss. The resolution changes the tokens
of the media in the messages."""
_INTERACTION_PARAMS: Final[ParamLevels] = (
    ("generation_config", "none"),
    ("response_format", "none"),
    ("service_tier", "none"),
)


# Requests


def model_in_path(path: str) -> str | None:
    """Return the model that a path names, without the part up to `models/`.

    A tuned model or an endpoint keeps its prefix (`tunedModels/...`, `endpoints/...`).
    """
    found = re.search(
        r"(?:^|/)(?:models/)?((?:tunedModels/|endpoints/)?[^/:?]+)(?::\w+)?(?:\?.*)?$", path
    )
    return as_str(found[1]) if found else None


def _read_either(fields: JSONObject, name: str) -> Any:
    """Return a field in camel case or in snake case: protobuf's JSON takes both, and the SDK sends
    what an application's dict has."""
    value = fields.get(name)
    return fields.get(_SNAKE_CASE[name]) if value is None else value


_SNAKE_CASE: Final[Mapping[str, str]] = {
    "systemInstruction": "system_instruction",
    "functionDeclarations": "function_declarations",
    "inlineData": "inline_data",
    "fileData": "file_data",
    "mimeType": "mime_type",
    "generationConfig": "generation_config",
    "serviceTier": "service_tier",
    "toolConfig": "tool_config",
}


def _add_tool_blocks(blocks: BlockCollector, tools: object) -> None:
    """Add a block for each declared function and for each tool that the server runs."""
    for tool in as_list(tools):
        fields = as_mapping(tool)
        functions = as_list(_read_either(fields, "functionDeclarations"))
        for function in functions:
            blocks.add("tools", "function", function)
        if not functions:
            blocks.add("tools", fields.get("type") or next(iter(fields), None), tool)


def _part_type(part: JSONObject) -> object:
    """Return the wire format's type of a part, or `image` if its media type says so."""
    media = as_mapping(_read_either(part, "inlineData") or _read_either(part, "fileData"))
    if (as_str(_read_either(media, "mimeType")) or "").startswith("image/"):
        return "image"
    return part.get("type") or next(iter(part), None)


def _add_content_blocks(
    blocks: BlockCollector, section: Section, content: object, parts_field: str = "parts"
) -> None:
    """Add a block for each part. The first block also holds the other fields of the content."""
    fields = as_mapping(content)
    parts = as_list(fields.get(parts_field))
    if not parts:
        blocks.add(section, fields.get("type") or "text", content)
        return
    other_fields = {name: value for name, value in fields.items() if name != parts_field}
    for part in parts:
        data = {**other_fields, parts_field: part} if other_fields else part
        blocks.add(section, _part_type(as_mapping(part)), data)
        other_fields = {}


def _params_in_camel_case(body: JSONObject) -> JSONObject:
    """Return the fields that may be parameters, two levels deep."""
    fields = {name: _read_either(body, name) for name in _PARAM_FIELDS}
    config: JSONObject = as_mapping(fields["generationConfig"])
    return {**fields, "generationConfig": {_camel_case(name): config[name] for name in config}}


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


_PARAM_FIELDS: Final = ("generationConfig", "serviceTier", "toolConfig")


def _parse_content_prompt(request: Request) -> ParsedPrompt | None:
    body = request.body
    blocks = BlockCollector()
    if (system := _read_either(body, "systemInstruction")) is not None:
        _add_content_blocks(blocks, "system", system)
    _add_tool_blocks(blocks, body.get("tools"))
    blocks.add_messages(
        as_list(body.get("contents")),
        partial(_add_content_blocks, blocks, "messages"),
        parts_field="parts",
        part_start=("text",),
    )
    cached_content = cached_content_in_body(body)
    if not blocks and cached_content is None:
        return None
    return ParsedPrompt(
        blocks.to_blocks(),
        select_cache_relevant_params(_params_in_camel_case(body), CONTENT_PARAMS),
        is_complete=cached_content is None,
        server_state_id=cached_content,
    )


def _parse_interaction_prompt(request: Request) -> ParsedPrompt | None:
    body = request.body
    blocks = BlockCollector()
    if body.get("system_instruction") is not None:
        blocks.add("system", "text", body["system_instruction"])
    _add_tool_blocks(blocks, body.get("tools"))
    steps = body.get("input")
    for step in as_list(steps) or ([steps] if steps else []):
        _add_content_blocks(blocks, "messages", step, "content")
    previous = as_str(body.get("previous_interaction_id"))
    server_state_id = previous or as_str(body.get("cached_content"))
    if not blocks and server_state_id is None:
        return None
    return ParsedPrompt(
        blocks.to_blocks(),
        select_cache_relevant_params(body, _INTERACTION_PARAMS),
        is_complete=server_state_id is None,
        server_state_id=server_state_id,
    )


def cached_content_in_body(body: JSONObject) -> str | None:
    """Return the name of the cached content that a request reads."""
    return as_str(body.get("cachedContent")) or as_str(body.get("cached_content"))


# Responses


def _flatten_counters(usage: JSONObject) -> dict[str, Any]:
    """Return the counters by name, those of a modality as `promptTokensDetails.audio`."""
    return flatten(usage) | dict(_iterate_modality_counters(usage))


def _iterate_modality_counters(usage: JSONObject) -> Iterator[tuple[str, Any]]:
    for name, value in usage.items():
        for entry in as_list(value):
            fields = as_mapping(entry)
            modality = as_str(fields.get("modality"))
            if modality:
                yield f"{name}.{modality.lower()}", fields.get("tokenCount", fields.get("tokens"))


def _find_grounding(candidates: list[JSONObject]) -> dict[str, Any]:
    """Return a use for each search query, by its hash: chunks of a stream may repeat queries.

    Grounding without a query is free. Grounding by other sources has fees that we do not know.
    """
    found: dict[str, Any] = {}
    for candidate in candidates:
        grounding = as_mapping(candidate.get("groundingMetadata"))
        if not grounding:
            continue
        found |= _uses_of_queries(grounding.get("webSearchQueries"))
        if as_list(grounding.get("retrievalQueries")) or as_list(
            grounding.get("imageSearchQueries")
        ):
            found |= _USE_OF_OTHER_GROUNDING
        if any("maps" in as_mapping(one) for one in as_list(grounding.get("groundingChunks"))):
            found |= _USE_OF_OTHER_GROUNDING
    return found


def _uses_of_queries(queries: object) -> dict[str, Any]:
    return {key_of_use(_SEARCH, hash(str(query))): 1 for query in as_list(queries)}


def _count_billed_searches(facts: ResponseFacts) -> dict[str, int]:
    """Return the billed searches: Gemini 3 bills each query once, older models the prompt."""
    uses = count_tool_uses(facts.tool_uses)
    is_billed_by_prompt = re.match(_MODELS_BILLED_BY_PROMPT, facts.model or "")
    reported = {
        as_str(as_mapping(entry).get("type")): as_count(as_mapping(entry).get("count")) or 0
        for entry in as_list(facts.usage_counters.get(_TOOL_COUNTS))
    }
    queries = reported.get("google_search") or uses.get(_SEARCH, 0)
    found = {"web_search": min(queries, 1) if is_billed_by_prompt else queries}
    others = sum(count for name, count in reported.items() if name != "google_search")
    is_uncounted = _SEARCH_CALL in uses and not queries
    found[_OTHER_GROUNDING] = others or uses.get(_OTHER_GROUNDING, 0) or int(is_uncounted)
    return {name: count for name, count in found.items() if count}


_SEARCH: Final = "search_query"
_SEARCH_CALL: Final = "search_call"
_OTHER_GROUNDING: Final = "other_grounding"
_USE_OF_OTHER_GROUNDING: Final[Mapping[str, Any]] = {key_of_use(_OTHER_GROUNDING, 0): 1}
_TOOL_COUNTS: Final = "grounding_tool_count"
_MODELS_BILLED_BY_PROMPT: Final = r"(?:.*/)?gemini-[12]\b"
"""ai.google.dev/gemini-api/docs/pricing, grounding with Google Search."""


def _parse_content_event(event: JSONObject) -> ResponseFacts | None:
    candidates = [as_mapping(candidate) for candidate in as_list(event.get("candidates"))]
    usage = as_mapping(event.get("usageMetadata"))
    finish_reasons = tuple(
        reason for candidate in candidates if (reason := as_str(candidate.get("finishReason")))
    )
    block_reason = as_str(as_mapping(event.get("promptFeedback")).get("blockReason"))
    if not finish_reasons and block_reason:
        finish_reasons = (block_reason,)
    return ResponseFacts(
        model=as_str(event.get("modelVersion")),
        id=as_str(event.get("responseId")),
        finish_reasons=finish_reasons,
        service_tier=as_str(usage.get("trafficType")) or as_str(event.get(SERVICE_TIER_HEADER)),
        usage_counters=_flatten_counters(usage),
        has_content=any(
            as_mapping(candidate.get("content")).get("parts") for candidate in candidates
        ),
        is_terminal=bool(finish_reasons),
        tool_uses=_find_grounding(candidates),
    )


_TERMINAL_STATUSES: Final = frozenset(
    {"completed", "incomplete", "failed", "cancelled", "requires_action", "requires_continuation"}
)


def _parse_interaction_event(event: JSONObject) -> ResponseFacts | None:
    event_type = as_str(event.get("event_type"))
    interaction = as_mapping(event.get("interaction")) if event_type else event
    status = as_str(interaction.get("status"))
    can_be_terminal = event_type in {None, "interaction.completed"}
    is_terminal = can_be_terminal and status in _TERMINAL_STATUSES
    first_error = next(iter(as_list(interaction.get("errors"))), None)
    error = as_mapping(event.get("error")) or as_mapping(first_error)
    tier = as_str(interaction.get("service_tier")) or as_str(event.get(SERVICE_TIER_HEADER))
    return ResponseFacts(
        model=as_str(interaction.get("model")),
        id=as_str(interaction.get("id")),
        finish_reasons=(status,) if status and is_terminal else (),
        service_tier=tier,
        usage_counters=_flatten_counters(as_mapping(interaction.get("usage"))),
        has_content=event_type is not None and event_type.endswith(".delta"),
        is_terminal=is_terminal,
        error_code=(as_str(error.get("code")) or "error") if error else None,
        tool_uses=_find_interaction_tools(interaction, event),
    )


def _find_interaction_tools(interaction: JSONObject, event: JSONObject) -> dict[str, Any]:
    """Return a use for each search query of the steps of an interaction or of a stream's event.

    A file search costs nothing but its tokens (ai.google.dev/gemini-api/docs/file-search).
    """
    steps = (
        *as_list(interaction.get("steps")),
        *as_list(interaction.get("outputs")),
        event.get("step"),
        event.get("delta"),
    )
    found: dict[str, Any] = {}
    for step in map(as_mapping, steps):
        kind = as_str(step.get("type"))
        if kind == "google_search_call":
            queries = as_mapping(step.get("arguments")).get("queries")
            found |= {key_of_use(_SEARCH_CALL, 0): 1, **_uses_of_queries(queries)}
        elif kind in ("google_maps_call", "retrieval_call"):
            found |= _USE_OF_OTHER_GROUNDING
    return found


_RELEVANT_INTERACTION_BYTES: Final = re.compile(
    rb'"(?:interaction"|error"|google_search_call"|google_maps_call"|retrieval_call")'
)


def _sum_named_counters(counts: JSONObject, names: tuple[str, ...]) -> Any:
    """Return the sum of the reported counters, None if none is reported.

    A malformed counter is returned as it is, so that `parse_usage` flags it.
    """
    reported = [counts[name] for name in names if name in counts]
    malformed = [value for value in reported if as_number(value) is None]
    if malformed:
        return malformed[0]
    return sum(reported) if reported else None


def _fit_total(counts: JSONObject, names: _CounterNames) -> tuple[Any, Any, bool]:
    """Return input and output, and whether the total that the provider reports confirms them.

    By its documentation thoughts are beside the candidates and tool results beside the prompt. Some
    endpoints report thoughts inside the candidates (github.com/BerriAI/litellm/pull/10141). Only
    the total tells.
    """
    documented = [_sum_named_counters(counts, names.input_tokens)]
    documented.append(_sum_named_counters(counts, names.output_tokens))
    total = as_count(counts.get(names.total_tokens))
    whole_input, output = map(as_count, documented)
    if total is None or whole_input is None or total == whole_input + (output or 0):
        return (*documented, True)
    parts = [
        as_count(counts.get(name, 0)) for name in (names.input_tokens[0], names.output_tokens[0])
    ]
    readings = {
        (one_input, one_output)
        for one_input in (whole_input, parts[0])
        for one_output in (output, parts[1])
        if one_input is not None and one_output is not None and one_input + one_output == total
    }
    if len(readings) == 1:
        return (*readings.pop(), True)
    return (*documented, not names.is_sum)


def _parse_usage(facts: ResponseFacts, names: _CounterNames) -> Usage | None:
    counts = facts.usage_counters
    if names.input_tokens[0] not in counts:
        return None
    missing = 0 if names.omits_zeros else None
    whole_input, output, has_fitting_total = _fit_total(counts, names)
    normalised: dict[str, Any] = {
        "input": whole_input,
        "read": counts.get(names.cached_tokens, missing),
        "output": missing if output is None else output,
        "reasoning": counts.get(names.output_tokens[1], missing),
    }
    lists = {
        "input": names.input_by_modality,
        "read": (names.cached_by_modality,),
        "output": (names.output_by_modality,),
    }
    for ours, theirs in _MODALITIES.items():
        for place, fields in lists.items():
            found = tuple(f"{field}.{modality}" for field in fields for modality in theirs)
            normalised[f"{ours}.{place}"] = _sum_named_counters(counts, found)
    reported = {name: value for name, value in normalised.items() if value is not None}
    usage = parse_usage(facts._replace(usage_counters=reported), _NORMALISED_COUNTERS)
    if usage and not has_fitting_total:
        issues = (*usage.inconsistencies, "total!=input+output")
        usage = usage._replace(inconsistencies=issues)
    if usage and (facts.tool_uses or _TOOL_COUNTS in counts):
        usage = usage._replace(server_tool_calls=_count_billed_searches(facts))
    return usage


def _parse_content_usage(facts: ResponseFacts) -> Usage | None:
    return _parse_usage(facts, _CONTENT_COUNTERS)


def _parse_interaction_usage(facts: ResponseFacts) -> Usage | None:
    return _parse_usage(facts, _INTERACTION_COUNTERS)


GENERATE_CONTENT: Final = WireFormat(
    "gemini.content",
    "generate_content",
    _parse_content_prompt,
    _parse_content_event,
    _parse_content_usage,
)
INTERACTIONS: Final = WireFormat(
    "gemini.interaction",
    "generate_content",
    _parse_interaction_prompt,
    _parse_interaction_event,
    _parse_interaction_usage,
    _RELEVANT_INTERACTION_BYTES,
    is_retrievable=True,
)


# Batches


def inlined_batch_results(job: JSONObject) -> list[Any]:
    """Return the results that a batch job holds: `{response, metadata}` or `{error}` each."""
    output = as_mapping(as_mapping(job.get("metadata")).get("output") or job.get("response"))
    return as_list(as_mapping(output.get("inlinedResponses")).get("inlinedResponses"))


def model_of_batch(job: JSONObject) -> str | None:
    """Return the model that a batch job names."""
    name = as_str(as_mapping(job.get("metadata")).get("model"))
    return model_in_path(name) if name else None


def _parse_batch_result(result: JSONObject) -> ResponseFacts | None:
    """Read a result of a batch. Only a request that succeeded has a cost.

    Source: ai.google.dev/gemini-api/docs/batch-api. A line of a file is such a result (`{key,
    response}`), or the response itself.
    """
    response = as_mapping(result.get("response")) or result
    if "usageMetadata" not in response:
        return None
    facts = _parse_content_event(response)
    return facts and facts._replace(is_terminal=True, is_batch=True)


BATCH_RESULTS: Final = WireFormat(
    "gemini.results",
    "generate_content",
    parse_no_prompt,
    _parse_batch_result,
    _parse_content_usage,
    re.compile(rb'"usageMetadata"'),
    body_start=re.compile(
        rb'\s*\{\s*"(?:key|response|metadata|error|status|candidates|usageMetadata)"\s*:'
    ),
)

ROUTES: Final = (
    make_route("POST", r"[^/?]+:generateContent", GENERATE_CONTENT),
    make_route("POST", r"[^/?]+:streamGenerateContent", GENERATE_CONTENT),
    make_route("GET", r"batches/[^/?]+", BATCH_RESULTS, is_batch_results=True),
    make_route("GET", r"files/[^/?]+:download", BATCH_RESULTS, is_batch_results=True),
)
INTERACTIONS_ROUTES: Final = (
    make_route("POST", r"interactions", INTERACTIONS),
    make_route("GET", r"interactions/[^/?]+", INTERACTIONS, is_retrieval=True),
)
