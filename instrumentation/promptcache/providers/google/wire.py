"""Google Gemini: generateContent, its stream and the Interactions API, on the Gemini API and Vertex AI.

Sources: google-genai 3.4.0 (types.py `GenerateContentResponseUsageMetadata`, `CachedContent`; _gaos/types/interactions/
usage.py) and ai.google.dev (context caching, tokens; copies of 2026). The prompt's tokens include what was read from a
cache; the results of tools that the server ran, and thoughts, are counted beside prompt and candidates and billed with
them. `generateContent` speaks protobuf's JSON, which leaves out a count of 0: there, an absent count beside a
prompt's is 0 and not "not reported".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from promptcache.common.coerce import JSONObject, as_list, as_mapping, as_number, as_str, flatten
from promptcache.model import ParsedPrompt, Request, ResponseFacts, Section, Usage
from promptcache.providers.prompt import BlockCollector, ParamLevels, select_params
from promptcache.providers.usage import UsageCounters, parse_usage
from promptcache.providers.wire_format import WireFormat, make_route

SERVICE_TIER_HEADER: Final = "x-gemini-service-tier"
"""The response header that says which tier served the call."""


class _CounterNames(NamedTuple):
    """Where a wire's counters stand: those of `input_tokens` and `output_tokens` are summed, `*_split` list them by modality."""

    input_tokens: tuple[str, ...]
    cached_tokens: str
    output_tokens: tuple[str, ...]
    input_by_modality: tuple[str, ...]
    cached_by_modality: str
    output_by_modality: str
    omits_zeros: bool


_CONTENT_COUNTERS: Final = _CounterNames(
    input_tokens=("promptTokenCount", "toolUsePromptTokenCount"),
    cached_tokens="cachedContentTokenCount",
    output_tokens=("candidatesTokenCount", "thoughtsTokenCount"),
    input_by_modality=("promptTokensDetails", "toolUsePromptTokensDetails"),
    cached_by_modality="cacheTokensDetails",
    output_by_modality="candidatesTokensDetails",
    omits_zeros=True,
)
_INTERACTION_COUNTERS: Final = _CounterNames(
    input_tokens=("total_input_tokens", "total_tool_use_tokens"),
    cached_tokens="total_cached_tokens",
    output_tokens=("total_output_tokens", "total_thought_tokens"),
    input_by_modality=("input_tokens_by_modality", "tool_use_tokens_by_modality"),
    cached_by_modality="cached_tokens_by_modality",
    output_by_modality="output_tokens_by_modality",
    omits_zeros=False,
)
_MODALITIES: Final[Mapping[str, tuple[str, ...]]] = {
    "audio": ("audio",),
    "image": ("image", "document"),
    "video": ("video",),
}
"""Modalities that may have a price of their own; pages of documents are billed as images."""
_NORMALISED_COUNTERS: Final = UsageCounters(
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
_CONTENT_PARAMS: Final[ParamLevels] = (
    ("generationConfig.mediaResolution", "messages"),
    ("generationConfig.responseSchema", "none"),
    ("generationConfig.responseJsonSchema", "none"),
    ("generationConfig.thinkingConfig", "none"),
    ("serviceTier", "none"),
    ("toolConfig", "none"),
)
"""What else decides how a prompt is read. Google documents only a changed prefix as a cause of a miss."""
_INTERACTION_PARAMS: Final[ParamLevels] = (
    ("generation_config", "none"),
    ("response_format", "none"),
    ("service_tier", "none"),
)


# Requests


def model_in_path(path: str) -> str | None:
    """The model that a path names, less what stands before `models/`: a tuned model or an endpoint keeps its kind."""
    found = re.search(
        r"(?:^|/)(?:models/)?((?:tunedModels/|endpoints/)?[^/:?]+)(?::\w+)?(?:\?.*)?$", path
    )
    return as_str(found[1]) if found else None


def _add_tools(blocks: BlockCollector, tools: object) -> None:
    """One block a declared function, one for each tool that the server runs."""
    for tool in as_list(tools):
        declared = as_list(as_mapping(tool).get("functionDeclarations"))
        for one in declared or [tool]:
            kind = (
                "function"
                if declared
                else as_mapping(tool).get("type") or next(iter(as_mapping(tool)), None)
            )
            blocks.add("tools", kind, one)


def _part_type(part: JSONObject) -> object:
    """The wire's own word, except that images are told from other data by their media type."""
    kind = part.get("type") or next(iter(part), None)
    held = as_mapping(part.get("inlineData") or part.get("fileData"))
    return "image" if (as_str(held.get("mimeType")) or "").startswith("image/") else kind


def _add_content(
    blocks: BlockCollector, section: Section, content: object, parts_field: str = "parts"
) -> None:
    """One block a part; the first also holds what is said of the whole content."""
    fields = as_mapping(content)
    parts = as_list(fields.get(parts_field))
    if not parts:
        blocks.add(section, fields.get("type") or "text", content)
        return
    around = {name: value for name, value in fields.items() if name != parts_field}
    for part in parts:
        blocks.add(
            section, _part_type(as_mapping(part)), {**around, parts_field: part} if around else part
        )
        around = {}


def _parse_content_prompt(request: Request) -> ParsedPrompt | None:
    body = request.body
    blocks = BlockCollector()
    if body.get("systemInstruction") is not None:
        _add_content(blocks, "system", body["systemInstruction"])
    _add_tools(blocks, body.get("tools"))
    for content in as_list(body.get("contents")):
        _add_content(blocks, "messages", content)
    state = as_str(body.get("cachedContent"))
    if not tuple(blocks) and state is None:
        return None
    return ParsedPrompt(
        tuple(blocks),
        select_params(body, _CONTENT_PARAMS),
        is_complete=state is None,
        server_state_id=state,
    )


def _parse_interaction_prompt(request: Request) -> ParsedPrompt | None:
    body = request.body
    blocks = BlockCollector()
    if body.get("system_instruction") is not None:
        blocks.add("system", "text", body["system_instruction"])
    _add_tools(blocks, body.get("tools"))
    given = body.get("input")
    for step in as_list(given) or ([given] if given else []):
        _add_content(blocks, "messages", step, "content")
    state = as_str(body.get("previous_interaction_id")) or as_str(body.get("cached_content"))
    if not tuple(blocks) and state is None:
        return None
    return ParsedPrompt(
        tuple(blocks),
        select_params(body, _INTERACTION_PARAMS),
        is_complete=state is None,
        server_state_id=state,
    )


def cached_content_in_body(body: JSONObject) -> str | None:
    """The name of the cache that a request reads from."""
    return as_str(body.get("cachedContent")) or as_str(body.get("cached_content"))


# Responses


def _flatten_counters(spent: JSONObject) -> dict[str, Any]:
    """The counters by their names, those by modality as `promptTokensDetails.AUDIO`."""
    return dict(flatten(spent)) | dict(_modality_counters(spent))


def _modality_counters(spent: JSONObject) -> Iterator[tuple[str, Any]]:
    for name, value in spent.items():
        for entry in as_list(value):
            fields = as_mapping(entry)
            kind = as_str(fields.get("modality"))
            if kind:
                yield f"{name}.{kind.lower()}", fields.get("tokenCount", fields.get("tokens"))


def _parse_content_event(event: JSONObject) -> ResponseFacts | None:
    candidates = [as_mapping(candidate) for candidate in as_list(event.get("candidates"))]
    spent = as_mapping(event.get("usageMetadata"))
    blocked = as_str(as_mapping(event.get("promptFeedback")).get("blockReason"))
    finish = tuple(
        reason for candidate in candidates if (reason := as_str(candidate.get("finishReason")))
    )
    finish = finish or ((blocked,) if blocked else ())
    return ResponseFacts(
        model=as_str(event.get("modelVersion")),
        id=as_str(event.get("responseId")),
        finish_reasons=finish,
        service_tier=as_str(spent.get("trafficType")) or as_str(event.get(SERVICE_TIER_HEADER)),
        usage_counters=_flatten_counters(spent),
        has_content=any(
            as_mapping(candidate.get("content")).get("parts") for candidate in candidates
        ),
        is_terminal=bool(finish),
    )


_TERMINAL_STATUSES: Final = frozenset(
    {"completed", "incomplete", "failed", "cancelled", "requires_action", "requires_continuation"}
)


def _parse_interaction_event(event: JSONObject) -> ResponseFacts | None:
    kind = as_str(event.get("event_type"))
    interaction = as_mapping(event.get("interaction")) if kind else event
    status = as_str(interaction.get("status"))
    over = status in _TERMINAL_STATUSES and kind in {None, "interaction.completed"}
    error = as_mapping(event.get("error")) or as_mapping(
        next(iter(as_list(interaction.get("errors"))), None)
    )
    return ResponseFacts(
        model=as_str(interaction.get("model")),
        id=as_str(interaction.get("id")),
        finish_reasons=(status,) if status and over else (),
        service_tier=as_str(interaction.get("service_tier"))
        or as_str(event.get(SERVICE_TIER_HEADER)),
        usage_counters=_flatten_counters(as_mapping(interaction.get("usage"))),
        has_content=kind is not None and kind.endswith(".delta"),
        is_terminal=over,
        error_code=(as_str(error.get("code")) or "error") if error else None,
    )


def _can_skip_interaction_event(event: JSONObject) -> bool:
    return "interaction" not in event and "error" not in event and "event_type" in event


def _sum_counters(counts: JSONObject, names: tuple[str, ...]) -> Any:
    """The sum of those that are reported; a malformed one is handed on as it is, to be flagged."""
    found = [counts[name] for name in names if name in counts]
    wrong = [value for value in found if as_number(value) is None]
    return wrong[0] if wrong else sum(found) if found else None


def _parse_usage(facts: ResponseFacts, names: _CounterNames) -> Usage | None:
    counts = facts.usage_counters
    if names.input_tokens[0] not in counts:
        return None
    zero = 0 if names.omits_zeros else None
    output = _sum_counters(counts, names.output_tokens)
    ours: dict[str, Any] = {
        "input": _sum_counters(counts, names.input_tokens),
        "read": counts.get(names.cached_tokens, zero),
        "output": zero if output is None else output,
        "reasoning": counts.get(names.output_tokens[1], zero),
    }
    for kind, theirs in _MODALITIES.items():
        fresh, read, output = (
            _sum_counters(
                counts, tuple(f"{split}.{modality}" for split in splits for modality in theirs)
            )
            for splits in (
                names.input_by_modality,
                (names.cached_by_modality,),
                (names.output_by_modality,),
            )
        )
        ours |= {f"{kind}.input": fresh, f"{kind}.read": read, f"{kind}.output": output}
    return parse_usage(
        facts._replace(
            usage_counters={name: value for name, value in ours.items() if value is not None}
        ),
        _NORMALISED_COUNTERS,
    )


def _parse_content_usage(facts: ResponseFacts) -> Usage | None:
    return _parse_usage(facts, _CONTENT_COUNTERS)


def _parse_interaction_usage(facts: ResponseFacts) -> Usage | None:
    return _parse_usage(facts, _INTERACTION_COUNTERS)


def _never_skip(event: JSONObject) -> bool:
    return False


GENERATE_CONTENT: Final = WireFormat(
    "gemini.content",
    "generate_content",
    _parse_content_prompt,
    _parse_content_event,
    _parse_content_usage,
    _never_skip,
)
INTERACTIONS: Final = WireFormat(
    "gemini.interaction",
    "generate_content",
    _parse_interaction_prompt,
    _parse_interaction_event,
    _parse_interaction_usage,
    _can_skip_interaction_event,
    is_retrievable=True,
)

ROUTES: Final = (
    make_route("POST", r"[^/?]+:generateContent", GENERATE_CONTENT),
    make_route("POST", r"[^/?]+:streamGenerateContent", GENERATE_CONTENT),
)
INTERACTIONS_ROUTES: Final = (
    make_route("POST", r"interactions", INTERACTIONS),
    make_route("GET", r"interactions/[^/?]+", INTERACTIONS, is_retrieval=True),
)
