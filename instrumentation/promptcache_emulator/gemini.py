"""Gemini: generateContent, streamed and counted, implicit caching and named caches; Gemini API and Vertex paths."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from promptcache_emulator.cache import (
    SYSTEM,
    CachePlan,
    CacheResult,
    PromptBlock,
    PromptLayout,
    plan_automatic_cache,
)
from promptcache_emulator.json_util import (
    JSONObject,
    as_object,
    as_objects,
    content_text,
    to_compact_json,
)
from promptcache_emulator.profiles import GEMINI_PROFILES, VERTEX_PROFILES, CacheProfile
from promptcache_emulator.replies import Reply, ReplyRequest, generate_reply
from promptcache_emulator.wire import (
    EmulatorContext,
    ProviderError,
    ProviderRequest,
    ProviderResponse,
    Route,
    encode_sse,
    new_id,
)

_STATUS_NAMES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    529: "UNAVAILABLE",
}


def error_body(error: ProviderError) -> JSONObject:
    """The body of an HTTP error."""
    status = _STATUS_NAMES.get(error.status, "UNKNOWN")
    return {"error": {"code": error.status, "message": error.message, "status": status}}


@dataclass(slots=True)
class CachedContent:
    """A cache made by `cachedContents`: its pieces, and until when it lives. Use does not renew it."""

    resource: JSONObject
    cache_scope: str
    blocks: tuple[PromptBlock, ...]
    expires_at: float


def is_vertex(request: ProviderRequest) -> bool:
    return "/projects/" in request.path or "/publishers/" in request.path


def gemini_profile(context: EmulatorContext, request: ProviderRequest, model: str) -> CacheProfile:
    return context.profile_for(
        VERTEX_PROFILES if is_vertex(request) else GEMINI_PROFILES, model, request
    )


def prompt_blocks(body: JSONObject) -> list[PromptBlock]:
    """System instruction, tools, contents: a piece a part (the order is Google's own secret; this one is plausible)."""
    system = as_object(body.get("systemInstruction") or body.get("system_instruction"))
    found = [_prompt_block(part, SYSTEM, "system") for part in as_objects(system.get("parts"))]
    found += [PromptBlock(to_compact_json(tool), SYSTEM) for tool in as_objects(body.get("tools"))]
    for content in as_objects(body.get("contents")):
        for index, part in enumerate(as_objects(content.get("parts"))):
            found.append(_prompt_block(part, 2, "" if index else str(content.get("role", "user"))))
    return found


def _prompt_block(part: JSONObject, level: int, header: str) -> PromptBlock:
    heavy = 258 if {"inlineData", "fileData"} & part.keys() else None
    return PromptBlock(
        f"{header}\n{part['text']}" if "text" in part else header + to_compact_json(part),
        level,
        fixed_tokens=heavy,
    )


def use_named_or_implicit_cache(
    context: EmulatorContext,
    request: ProviderRequest,
    model: str,
    request_blocks: list[PromptBlock],
    output_tokens: int,
) -> tuple[CacheResult, Callable[[], None]]:
    """What was read: of a named cache all of it, else what the implicit one holds."""
    rules = gemini_profile(context, request, model)
    name = request.body.get("cachedContent") or request.body.get("cached_content")
    if not name:
        return context.run_cache_plan(
            request,
            model,
            plan_automatic_cache(PromptLayout(tuple(request_blocks), (model, "", "")), rules),
            output_tokens,
        )
    if any(piece.level == SYSTEM for piece in request_blocks):
        raise ProviderError(
            400,
            "CachedContent can not be used with GenerateContent request setting system_instruction or tools",
        )
    held = find_cached_content(context, request, str(name))
    prompt = PromptLayout((*held.blocks, *request_blocks), (model, "", ""))
    cached = PromptLayout(held.blocks).total_tokens
    outcome = CacheResult(prompt.total_tokens, cached, reusable_tokens=cached)
    context.record_request(
        request, model, CachePlan(prompt, (cached,), bills_writes=False), output_tokens, outcome
    )
    return outcome, lambda: None


def find_cached_content(
    context: EmulatorContext, request: ProviderRequest, name: str
) -> CachedContent:
    """The named cache, while it lives and for its owner only. Raises Refused."""
    held: CachedContent | None = context.resources.get(f"cachedContents/{name.rpartition('/')[2]}")
    if (
        held is None
        or held.cache_scope != request.cache_scope
        or held.expires_at <= context.clock()
    ):
        raise ProviderError(403, "CachedContent not found (or permission denied)")
    return held


def generate_content(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """`models/{model}:generateContent` and `:streamGenerateContent`."""
    model = request.path_params["model"]
    if not as_objects(request.body.get("contents")):
        raise ProviderError(400, "* GenerateContentRequest.contents: contents is not specified")
    said = generate_reply(_reply_request(request))
    thought = _count_thinking_tokens(request, model)
    outcome, commit = use_named_or_implicit_cache(
        context, request, model, prompt_blocks(request.body), said.token_count + thought
    )
    frame = {"modelVersion": model, "responseId": new_id("r", 22)}
    finish = (
        "MAX_TOKENS" if request.fault.incomplete else "SAFETY" if request.fault.failed else "STOP"
    )
    if request.path.endswith(":generateContent"):
        parts = [*_function_calls(said), *([{"text": said.text}] if said.text else [])]
        usage = _usage_metadata(request, outcome, said.token_count, thought)
        return ProviderResponse(
            frame | {"candidates": [_candidate(parts, finish)], "usageMetadata": usage},
            commit=commit,
        )
    events = [frame | event for event in _stream_events(request, said, outcome, thought, finish)]
    breaks = error_body(ProviderError(503, "The model is overloaded."))
    return ProviderResponse(
        events=list[Any](events),
        encode_event=encode_sse,
        media_type="text/event-stream",
        commit=commit,
        error_event=breaks,
    )


def _reply_request(request: ProviderRequest) -> ReplyRequest:
    body = request.body
    last = as_objects(body.get("contents"))[-1]
    declared = [
        item
        for tool in as_objects(body.get("tools"))
        for item in as_objects(tool.get("functionDeclarations"))
    ]
    calling = as_object(as_object(body.get("toolConfig")).get("functionCallingConfig"))
    config = as_object(body.get("generationConfig"))
    return ReplyRequest(
        last_text=content_text(last.get("parts")),
        tools={
            item["name"]: next((item[key] for key in _SCHEMA_KEYS if item.get(key)), None)
            for item in declared
        },
        tool_choice={"ANY": "required", "NONE": "none"}.get(str(calling.get("mode")), "auto"),
        is_tool_result=any("functionResponse" in part for part in as_objects(last.get("parts"))),
        json_schema=config.get("responseSchema") or config.get("responseJsonSchema"),
        word_count=int(request.headers.get("x-emulator-words", 8)),
    )


_SCHEMA_KEYS: Final = ("parameters", "parametersJsonSchema", "parameters_json_schema")


def _count_thinking_tokens(request: ProviderRequest, model: str) -> int:
    thinking = as_object(as_object(request.body.get("generationConfig")).get("thinkingConfig"))
    return (
        0
        if thinking.get("thinkingBudget") == 0 or not re.match(r"gemini-(2\.5|[3-9])", model)
        else 16
    )


def _function_calls(reply: Reply) -> Iterator[JSONObject]:
    for call in reply.calls:
        yield {"functionCall": {"name": call.name, "args": call.arguments}}


def _candidate(parts: list[JSONObject], finish_reason: str | None) -> JSONObject:
    done = {"finishReason": finish_reason} if finish_reason else {}
    return {"content": {"parts": parts, "role": "model"}, "index": 0, **done}


def _usage_metadata(
    request: ProviderRequest, result: CacheResult, output_tokens: int, thinking_tokens: int
) -> JSONObject:
    """`usageMetadata`. As protobuf's JSON has it, a count of 0 is left out."""
    counts = {
        "promptTokenCount": result.input_tokens,
        "candidatesTokenCount": output_tokens,
        "totalTokenCount": result.input_tokens + output_tokens + thinking_tokens,
        "cachedContentTokenCount": result.cache_read_tokens,
        "thoughtsTokenCount": thinking_tokens,
    }
    split = {
        "promptTokensDetails": result.input_tokens,
        "cacheTokensDetails": result.cache_read_tokens,
    }
    details = {
        name: [{"modality": "TEXT", "tokenCount": count}] for name, count in split.items() if count
    }
    traffic = {"trafficType": "ON_DEMAND"} if is_vertex(request) else {}
    return {name: count for name, count in counts.items() if count} | details | traffic


def _stream_events(
    request: ProviderRequest,
    reply: Reply,
    result: CacheResult,
    thinking_tokens: int,
    finish_reason: str,
) -> Iterator[JSONObject]:
    """Every chunk carries the usage so far; the last one has it all, and the finish reason."""
    parts = [*_function_calls(reply), *({"text": word} for word in reply.chunks)]
    for index, part in enumerate(parts, 1):
        last = index == len(parts)
        usage = _usage_metadata(request, result, reply.token_count if last else 0, thinking_tokens)
        yield {
            "candidates": [_candidate([part], finish_reason if last else None)],
            "usageMetadata": usage,
        }


def count_tokens(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """`models/{model}:countTokens`: no cache is asked."""
    body = as_object(request.body.get("generateContentRequest")) or request.body
    return ProviderResponse({"totalTokens": PromptLayout(tuple(prompt_blocks(body))).total_tokens})


def create_cache(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """`POST cachedContents`. Refuses what is below the model's minimum, as Google does."""
    body = request.body
    model = str(body.get("model", "")).rpartition("/")[2]
    kept = tuple(prompt_blocks(body))
    total, least = PromptLayout(kept).total_tokens, gemini_profile(context, request, model).minimum
    if total < least:
        raise ProviderError(
            400,
            f"Cached content is too small. total_token_count={total}, min_total_token_count={least}",
        )
    name = f"{request.path.partition('/')[2].partition('/')[2]}/{new_id('', 20)}"
    now = _format_timestamp(context.clock())
    resource: JSONObject = {
        "name": name,
        "model": body["model"],
        "createTime": now,
        "updateTime": now,
    }
    resource |= {"displayName": body["displayName"]} if body.get("displayName") else {}
    resource["usageMetadata"] = {"totalTokenCount": total}
    held = CachedContent(resource, request.cache_scope, kept, context.clock() + 3600)
    context.resources[f"cachedContents/{name.rpartition('/')[2]}"] = held
    return _set_expiry(held, request, context)


def _set_expiry(
    cached_content: CachedContent, request: ProviderRequest, context: EmulatorContext
) -> ProviderResponse:
    """The resource, after its lifetime has been set as the request wants it."""
    if ttl := request.body.get("ttl"):
        cached_content.expires_at = context.clock() + float(str(ttl).removesuffix("s"))
    elif at := request.body.get("expireTime"):
        cached_content.expires_at = datetime.fromisoformat(str(at)).timestamp()
    return ProviderResponse(
        cached_content.resource | {"expireTime": _format_timestamp(cached_content.expires_at)}
    )


def _format_timestamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def get_or_update_cache(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """`GET cachedContents/{name}`, and `PATCH`, which sets another lifetime."""
    held = find_cached_content(context, request, request.path_params["name"])
    if request.method == "PATCH":
        held.resource["updateTime"] = _format_timestamp(context.clock())
    return _set_expiry(held, request, context)


def list_caches(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """`GET cachedContents`: those of this credential that live."""
    mine = [
        held
        for held in context.resources.values()
        if isinstance(held, CachedContent) and held.cache_scope == request.cache_scope
    ]
    alive = [held for held in mine if held.expires_at > context.clock()]
    return ProviderResponse(
        {
            "cachedContents": [
                held.resource | {"expireTime": _format_timestamp(held.expires_at)} for held in alive
            ]
        }
    )


def delete_cache(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """`DELETE cachedContents/{name}`."""
    find_cached_content(context, request, request.path_params["name"])
    del context.resources[f"cachedContents/{request.path_params['name']}"]
    return ProviderResponse({})


_VERSION_PATH: Final = r"/v\d\w*(/projects/[^/]+/locations/[^/]+)?"
_MODEL_PATH: Final = _VERSION_PATH + r"(/publishers/google)?/(models|tunedModels)/(?P<model>[^/:]+)"
_CACHES_PATH: Final = _VERSION_PATH + r"/cachedContents"
ROUTES: Final[tuple[Route, ...]] = (
    Route("POST", _MODEL_PATH + r":(g|streamG)enerateContent", generate_content, error_body),
    Route("POST", _MODEL_PATH + r":countTokens", count_tokens, error_body),
    Route("POST", _CACHES_PATH, create_cache, error_body),
    Route("GET", _CACHES_PATH, list_caches, error_body),
    Route("GET", _CACHES_PATH + r"/(?P<name>[^/]+)", get_or_update_cache, error_body),
    Route("PATCH", _CACHES_PATH + r"/(?P<name>[^/]+)", get_or_update_cache, error_body),
    Route("DELETE", _CACHES_PATH + r"/(?P<name>[^/]+)", delete_cache, error_body),
)
