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

from promptcache.model import Facts, Prompt, Request, Section, Usage
from promptcache.providers.wire import (
    JSON,
    Blocks,
    Counters,
    Wire,
    flatten,
    items,
    mapping,
    number,
    params,
    route,
    text,
    usage,
)

SERVICE_TIER: Final = "x-gemini-service-tier"
"""The response header that says which tier served the call."""


class _Names(NamedTuple):
    """Where a wire's counters stand: those of `input` and `output` are summed, `*_split` list them by modality."""

    input: tuple[str, ...]
    read: str
    output: tuple[str, ...]
    input_split: tuple[str, ...]
    read_split: str
    output_split: str
    omits_zeros: bool


_CONTENT: Final = _Names(
    input=("promptTokenCount", "toolUsePromptTokenCount"),
    read="cachedContentTokenCount",
    output=("candidatesTokenCount", "thoughtsTokenCount"),
    input_split=("promptTokensDetails", "toolUsePromptTokensDetails"),
    read_split="cacheTokensDetails",
    output_split="candidatesTokensDetails",
    omits_zeros=True,
)
_INTERACTION: Final = _Names(
    input=("total_input_tokens", "total_tool_use_tokens"),
    read="total_cached_tokens",
    output=("total_output_tokens", "total_thought_tokens"),
    input_split=("input_tokens_by_modality", "tool_use_tokens_by_modality"),
    read_split="cached_tokens_by_modality",
    output_split="output_tokens_by_modality",
    omits_zeros=False,
)
_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "audio": ("audio",),
    "image": ("image", "document"),
    "video": ("video",),
}
"""Modalities that may have a price of their own; pages of documents are billed as images."""
_COUNTERS: Final = Counters(
    input=("input",),
    read=("read",),
    write=(),
    output=("output",),
    reasoning=("reasoning",),
    inside=True,
    write_by_ttl={},
    modalities={
        f"{kind}.{place}": (f"{kind}.{place}",)
        for kind in _KINDS
        for place in ("input", "read", "output")
    },
)
_CONTENT_PARAMS: Final = (
    ("generationConfig.mediaResolution", "messages"),
    ("generationConfig.responseSchema", "none"),
    ("generationConfig.responseJsonSchema", "none"),
    ("generationConfig.thinkingConfig", "none"),
    ("serviceTier", "none"),
    ("toolConfig", "none"),
)
"""What else decides how a prompt is read. Google documents only a changed prefix as a cause of a miss."""
_INTERACTION_PARAMS: Final = (
    ("generation_config", "none"),
    ("response_format", "none"),
    ("service_tier", "none"),
)


# Requests


def model(path: str) -> str | None:
    """The model that a path names, less what stands before `models/`: a tuned model or an endpoint keeps its kind."""
    found = re.search(
        r"(?:^|/)(?:models/)?((?:tunedModels/|endpoints/)?[^/:?]+)(?::\w+)?(?:\?.*)?$", path
    )
    return text(found[1]) if found else None


def _tools(blocks: Blocks, tools: object) -> None:
    """One block a declared function, one for each tool that the server runs."""
    for tool in items(tools):
        declared = items(mapping(tool).get("functionDeclarations"))
        for one in declared or [tool]:
            kind = (
                "function"
                if declared
                else mapping(tool).get("type") or next(iter(mapping(tool)), None)
            )
            blocks.add("tools", kind, one)


def _kind(part: JSON) -> object:
    """The wire's own word, except that images are told from other data by their media type."""
    kind = part.get("type") or next(iter(part), None)
    held = mapping(part.get("inlineData") or part.get("fileData"))
    return "image" if (text(held.get("mimeType")) or "").startswith("image/") else kind


def _content(blocks: Blocks, section: Section, content: object, within: str = "parts") -> None:
    """One block a part; the first also holds what is said of the whole content."""
    fields = mapping(content)
    parts = items(fields.get(within))
    if not parts:
        blocks.add(section, fields.get("type") or "text", content)
        return
    around = {name: value for name, value in fields.items() if name != within}
    for part in parts:
        blocks.add(section, _kind(mapping(part)), {**around, within: part} if around else part)
        around = {}


def _prompt(request: Request) -> Prompt | None:
    body = request.body
    blocks = Blocks()
    if body.get("systemInstruction") is not None:
        _content(blocks, "system", body["systemInstruction"])
    _tools(blocks, body.get("tools"))
    for content in items(body.get("contents")):
        _content(blocks, "messages", content)
    state = text(body.get("cachedContent"))
    if not tuple(blocks) and state is None:
        return None
    return Prompt(tuple(blocks), params(body, _CONTENT_PARAMS), complete=state is None, state=state)


def _interaction_prompt(request: Request) -> Prompt | None:
    body = request.body
    blocks = Blocks()
    if body.get("system_instruction") is not None:
        blocks.add("system", "text", body["system_instruction"])
    _tools(blocks, body.get("tools"))
    given = body.get("input")
    for step in items(given) or ([given] if given else []):
        _content(blocks, "messages", step, "content")
    state = text(body.get("previous_interaction_id")) or text(body.get("cached_content"))
    if not tuple(blocks) and state is None:
        return None
    return Prompt(
        tuple(blocks), params(body, _INTERACTION_PARAMS), complete=state is None, state=state
    )


def named_cache_of(body: JSON) -> str | None:
    """The name of the cache that a request reads from."""
    return text(body.get("cachedContent")) or text(body.get("cached_content"))


# Responses


def _counts(spent: JSON) -> dict[str, Any]:
    """The counters by their names, those by modality as `promptTokensDetails.AUDIO`."""
    return dict(flatten(spent)) | dict(_by_modality(spent))


def _by_modality(spent: JSON) -> Iterator[tuple[str, Any]]:
    for name, value in spent.items():
        for entry in items(value):
            fields = mapping(entry)
            kind = text(fields.get("modality"))
            if kind:
                yield f"{name}.{kind.lower()}", fields.get("tokenCount", fields.get("tokens"))


def _read(event: JSON) -> Facts | None:
    candidates = [mapping(candidate) for candidate in items(event.get("candidates"))]
    spent = mapping(event.get("usageMetadata"))
    blocked = text(mapping(event.get("promptFeedback")).get("blockReason"))
    finish = tuple(
        reason for candidate in candidates if (reason := text(candidate.get("finishReason")))
    )
    finish = finish or ((blocked,) if blocked else ())
    return Facts(
        model=text(event.get("modelVersion")),
        id=text(event.get("responseId")),
        finish=finish,
        tier=text(spent.get("trafficType")) or text(event.get(SERVICE_TIER)),
        counts=_counts(spent),
        content=any(mapping(candidate.get("content")).get("parts") for candidate in candidates),
        terminal=bool(finish),
    )


_ENDED: Final = frozenset(
    {"completed", "incomplete", "failed", "cancelled", "requires_action", "requires_continuation"}
)


def _interaction_read(event: JSON) -> Facts | None:
    kind = text(event.get("event_type"))
    interaction = mapping(event.get("interaction")) if kind else event
    status = text(interaction.get("status"))
    over = status in _ENDED and kind in {None, "interaction.completed"}
    error = mapping(event.get("error")) or mapping(
        next(iter(items(interaction.get("errors"))), None)
    )
    return Facts(
        model=text(interaction.get("model")),
        id=text(interaction.get("id")),
        finish=(status,) if status and over else (),
        tier=text(interaction.get("service_tier")) or text(event.get(SERVICE_TIER)),
        counts=_counts(mapping(interaction.get("usage"))),
        content=kind is not None and kind.endswith(".delta"),
        terminal=over,
        failed=(text(error.get("code")) or "error") if error else None,
    )


def _interaction_dull(event: JSON) -> bool:
    return "interaction" not in event and "error" not in event and "event_type" in event


def _sum(counts: JSON, names: tuple[str, ...]) -> Any:
    """The sum of those that are reported; a malformed one is handed on as it is, to be flagged."""
    found = [counts[name] for name in names if name in counts]
    wrong = [value for value in found if number(value) is None]
    return wrong[0] if wrong else sum(found) if found else None


def _usage(facts: Facts, names: _Names) -> Usage | None:
    counts = facts.counts
    if names.input[0] not in counts:
        return None
    zero = 0 if names.omits_zeros else None
    output = _sum(counts, names.output)
    ours: dict[str, Any] = {
        "input": _sum(counts, names.input),
        "read": counts.get(names.read, zero),
        "output": zero if output is None else output,
        "reasoning": counts.get(names.output[1], zero),
    }
    for kind, theirs in _KINDS.items():
        fresh, read, output = (
            _sum(counts, tuple(f"{split}.{modality}" for split in splits for modality in theirs))
            for splits in (names.input_split, (names.read_split,), (names.output_split,))
        )
        ours |= {f"{kind}.input": fresh, f"{kind}.read": read, f"{kind}.output": output}
    return usage(
        facts._replace(counts={name: value for name, value in ours.items() if value is not None}),
        _COUNTERS,
    )


def _content_usage(facts: Facts) -> Usage | None:
    return _usage(facts, _CONTENT)


def _interaction_usage(facts: Facts) -> Usage | None:
    return _usage(facts, _INTERACTION)


def _never(event: JSON) -> bool:
    return False


CONTENT: Final = Wire("gemini.content", "generate_content", _prompt, _read, _content_usage, _never)
INTERACTION: Final = Wire(
    "gemini.interaction",
    "generate_content",
    _interaction_prompt,
    _interaction_read,
    _interaction_usage,
    _interaction_dull,
    fetched=True,
)

ROUTES: Final = (
    route("POST", r"[^/?]+:generateContent", CONTENT),
    route("POST", r"[^/?]+:streamGenerateContent", CONTENT),
)
INTERACTION_ROUTES: Final = (
    route("POST", r"interactions", INTERACTION),
    route("GET", r"interactions/[^/?]+", INTERACTION, fetch=True),
)
