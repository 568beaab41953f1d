"""OpenAI's cache: a request as the cache reads it, where it looks and writes, and the usage that it reports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from promptcache_emulator import tokens
from promptcache_emulator.cache import (
    MESSAGES,
    SYSTEM,
    TOOLS,
    CachePlan,
    CacheResult,
    CacheWrite,
    PromptBlock,
    PromptLayout,
    plan_automatic_cache,
)
from promptcache_emulator.json_util import (
    JSONObject,
    as_object,
    as_objects,
    is_array,
    to_compact_json,
)
from promptcache_emulator.profiles import OPENAI_PROFILES, CacheProfile
from promptcache_emulator.wire import EmulatorContext, ProviderError, ProviderRequest

BREAKPOINT_KEY: Final = "prompt_cache_breakpoint"
_NON_TEXT_TYPES: Final = ("image_url", "input_image", "input_audio", "file", "input_file")
_IGNORED_KEYS: Final = frozenset({"id", "status", BREAKPOINT_KEY, "phase"})
_MODEL_SNAPSHOTS: Final = {
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-5": "gpt-5-2025-08-07",
    "gpt-5-mini": "gpt-5-mini-2025-08-07",
    "o3": "o3-2025-04-16",
    "o4-mini": "o4-mini-2025-04-16",
}
_REPORTED_TIERS: Final = {"auto": "default", "fast": "priority"}
_REASONING_TOKENS: Final = {
    "none": 0,
    "minimal": 0,
    "low": 16,
    "medium": 32,
    "high": 64,
    "xhigh": 128,
}


def requested_model(request: ProviderRequest) -> str:
    """The model asked for, by body or by Azure deployment; a deployment's name may contain the model's."""
    name = str(request.body.get("model") or request.path_params.get("deployment") or "")
    if not name:
        raise ProviderError(400, "you must provide a model parameter")
    known = re.search(r"(ft:)?(gpt-\d[\w.:-]*|o\d[\w.:-]*)", name)
    return known[0] if known and "deployment" in request.path_params else name


def snapshot_name(model: str) -> str:
    """The dated name under which the response reports the model."""
    return _MODEL_SNAPSHOTS.get(model, model)


def reported_tier(body: JSONObject) -> str:
    """The service tier that the response reports."""
    asked = str(body.get("service_tier") or "auto")
    return _REPORTED_TIERS.get(asked, asked)


def count_reasoning_tokens(model: str, body: JSONObject) -> int:
    """Reasoning tokens of the reply: by effort, none on models that do not reason."""
    effort = (
        body.get("reasoning_effort") or as_object(body.get("reasoning")).get("effort") or "medium"
    )
    return (
        _REASONING_TOKENS.get(str(effort), 32) if re.match(r"(ft:)?(gpt-[5-9]|o\d)", model) else 0
    )


def named_salts(request: ProviderRequest, model: str) -> dict[str, str]:
    """What makes a prefix another one without being text of it, by name, in the order of OpenAI's diagnosis.

    Guide and diagnostics page of autumn 2026; `prompt_cache_key` separates reuse on GPT-5.6+ and routes before.
    """
    body = request.body
    text, thought = as_object(body.get("text")), as_object(body.get("reasoning"))
    named = {
        "model_changed": model,
        "prompt_cache_key_changed": body.get("prompt_cache_key"),
        "service_tier_changed": reported_tier(body),
        "tools_changed": body.get("parallel_tool_calls"),
        "text_format_changed": body.get("response_format") or text.get("format"),
        "reasoning_effort_changed": body.get("reasoning_effort") or thought.get("effort"),
        "verbosity_changed": body.get("verbosity") or text.get("verbosity"),
        "context_compacted": body.get("context_management"),
    }
    return {name: to_compact_json(value) for name, value in named.items()}


def parse_prompt(
    request: ProviderRequest, model: str, items: list[Any], instructions: Any = None
) -> PromptLayout:
    """The request as the cache reads it: schema, tools, instructions, then messages or input items in order."""
    body = request.body
    pieces = [PromptBlock(to_compact_json(form), TOOLS) for form in _json_schemas(body)]
    listed = [*(as_objects(body.get("tools"))), *(as_objects(body.get("functions")))]
    pieces += [
        PromptBlock(to_compact_json(tool), TOOLS)
        for tool in listed
        if not tool.get("defer_loading")
    ]
    if instructions:
        pieces.append(PromptBlock(f"developer\n{_as_text(instructions)}", SYSTEM))
    leading = True
    for item in items:
        leading = leading and item.get("role") in {"system", "developer"}
        pieces += _item_blocks(item, SYSTEM if leading else MESSAGES)
    if not pieces:
        raise ProviderError(400, "nothing to answer: the request holds no message")
    return PromptLayout(tuple(pieces), (to_compact_json(named_salts(request, model)), "", ""))


def _json_schemas(body: JSONObject) -> Iterator[Any]:
    for form in (body.get("response_format"), as_object(body.get("text")).get("format")):
        if as_object(form).get("type") == "json_schema":
            yield form


def _item_blocks(item: JSONObject, level: int) -> list[PromptBlock]:
    """One message or input item: its own fields, then each part of its content."""
    own = {
        key: value for key, value in item.items() if key not in {*_IGNORED_KEYS, "content", "role"}
    }
    head = str(item.get("role", "")) + (to_compact_json(own) if set(own) - {"type"} else "") + "\n"
    content = item.get("content")
    if not is_array(content) or not content:
        return [PromptBlock(head + (content if isinstance(content, str) else ""), level)]
    parts = as_objects(content)
    pieces: list[PromptBlock] = []
    for index, part in enumerate(parts):
        mark = part.get(BREAKPOINT_KEY)
        text, weight = _part_text(part)
        pieces.append(
            PromptBlock(
                (head if index == 0 else "\n") + text,
                level,
                None if mark is None else str(mark.get("ttl") or ""),
                index == len(parts) - 1,
                weight,
            )
        )
    return pieces


def _part_text(part: JSONObject) -> tuple[str, int | None]:
    kind = str(part.get("type"))
    if kind in _NON_TEXT_TYPES:
        detail = part.get("detail") or as_object(part.get("image_url")).get("detail")
        return to_compact_json(
            {key: value for key, value in part.items() if key != BREAKPOINT_KEY}
        ), 85 if detail == "low" else 765
    return str(part.get("text", part.get("refusal", ""))), None


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else to_compact_json(value)


def plan_cache(
    context: EmulatorContext, request: ProviderRequest, model: str, prompt: PromptLayout
) -> tuple[CachePlan, CacheProfile]:
    """Where this request looks and writes, by the profile in force."""
    rules = context.profile_for(OPENAI_PROFILES, model, request)
    if rules.implicit != "none":
        return _plan_breakpoints(prompt, rules, request.body), rules
    brief = request.body.get("prompt_cache_retention") == "in_memory"
    return plan_automatic_cache(
        prompt, replace(rules, ttl="10m", age=3600.0) if brief else rules
    ), rules


def _plan_breakpoints(prompt: PromptLayout, profile: CacheProfile, body: JSONObject) -> CachePlan:
    """GPT-5.6 and later: explicit breakpoints, and in implicit mode those that the provider sets by itself."""
    options = as_object(body.get("prompt_cache_options"))
    default = str(options.get("ttl") or profile.ttl)
    marked = {
        end: piece.breakpoint_ttl or default
        for piece, end in zip(prompt.blocks, prompt.end_offsets, strict=True)
        if piece.breakpoint_ttl is not None
    }
    own: tuple[int, ...] = ()
    reads = set(list(marked)[:2]) | set(list(marked)[-profile.lookback :])
    if options.get("mode", "implicit") == "implicit":
        own, earlier = _implicit_offsets(prompt, profile)
        reads |= {*own, *earlier}
    chosen = dict(list(marked.items())[-(profile.marks - bool(own)) :]) | {
        cut: marked.get(cut, default) for cut in own
    }
    writes = [
        CacheWrite(cut, ttl, profile.ttl_seconds(ttl))
        for cut, ttl in sorted(chosen.items())
        if cut >= profile.minimum
    ]
    return CachePlan(prompt, tuple(cut for cut in reads if cut >= profile.minimum), tuple(writes))


def _implicit_offsets(
    prompt: PromptLayout, profile: CacheProfile
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Token offsets that implicit mode writes (and reads), and those that it only reads."""
    row = list(zip(prompt.blocks, prompt.end_offsets, strict=True))
    closing = [end for piece, end in row if piece.ends_message and piece.level != TOOLS]
    developer = [end for piece, end in row if piece.ends_message and piece.level == SYSTEM][-1:]
    latest = closing[-1:]
    if profile.implicit == "latest":
        return tuple(latest), tuple(closing[-1 - profile.endings :])
    if profile.implicit == "pinned":
        return (*developer, *latest), ()
    return (*developer, *latest), tuple(closing[-1 - profile.endings :])


def chat_usage(
    result: CacheResult, profile: CacheProfile, output_tokens: int, reasoning_tokens: int
) -> JSONObject:
    """`usage` of a chat completion. Models that do not bill writes do not report them."""
    details: JSONObject = {"cached_tokens": result.cache_read_tokens, "audio_tokens": 0}
    if profile.bills:
        details["cache_write_tokens"] = result.cache_write_tokens
    return {
        "prompt_tokens": result.input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": result.input_tokens + output_tokens,
        "prompt_tokens_details": details,
        "completion_tokens_details": {
            "reasoning_tokens": reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def responses_usage(
    result: CacheResult, profile: CacheProfile, output_tokens: int, reasoning_tokens: int
) -> JSONObject:
    """`usage` of a response (openai 3.52.0, types/responses/response_usage.py)."""
    details: JSONObject = {
        "cached_tokens": result.cache_read_tokens,
        "cache_write_tokens": result.cache_write_tokens,
    }
    if profile.bills:
        details["cache_write_tokens_details"] = {
            f"ttl_{ttl}_tokens": result.cache_write_by_ttl.get(ttl, 0) for ttl in ("30m", "12h")
        }
    return {
        "input_tokens": result.input_tokens,
        "input_tokens_details": details,
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning_tokens},
        "total_tokens": result.input_tokens + output_tokens,
    }


def error_body(error: ProviderError) -> JSONObject:
    """The body of an HTTP error."""
    return {
        "error": {"message": error.message, "type": error.error_type, "param": None, "code": None}
    }


def count_output_tokens(reply_tokens: int, reasoning_tokens: int) -> int:
    """Output tokens: what was said and what was thought, and the end of the turn."""
    return reply_tokens + reasoning_tokens + tokens.count_tokens("\n")
