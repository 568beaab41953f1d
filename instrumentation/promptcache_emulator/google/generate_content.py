"""Gemini generateContent, plain and streamed, and token counts. Paths of Gemini API and Vertex."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from promptcache_emulator.cache import CacheResult
from promptcache_emulator.context import EmulatorContext
from promptcache_emulator.errors import ProviderError
from promptcache_emulator.google.cache import use_named_or_implicit_cache
from promptcache_emulator.google.errors import error_body
from promptcache_emulator.google.paths import VERSION_PATH
from promptcache_emulator.google.prompt import is_vertex_request, prompt_blocks
from promptcache_emulator.identifiers import new_id
from promptcache_emulator.json_util import JSONObject, as_json_object, as_json_objects, content_text
from promptcache_emulator.prompt_layout import PromptLayout
from promptcache_emulator.replies import Reply, ReplyRequest, generate_reply
from promptcache_emulator.request import ProviderRequest
from promptcache_emulator.response import ProviderResponse
from promptcache_emulator.routing import Route
from promptcache_emulator.sse import MEDIA_TYPE, encode_sse

_SCHEMA_KEYS: Final = ("parameters", "parametersJsonSchema", "parameters_json_schema")
_THINKING_TOKENS: Final = 16


def generate_content(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `models/{model}:generateContent` and `:streamGenerateContent`."""
    model = request.path_params["model"]
    if not as_json_objects(request.body.get("contents")):
        raise ProviderError(400, "* GenerateContentRequest.contents: contents is not specified")
    reply = generate_reply(_build_reply_request(request))
    thinking_tokens = _count_thinking_tokens(request, model)
    result, commit = use_named_or_implicit_cache(
        context, request, model, prompt_blocks(request.body), reply.token_count + thinking_tokens
    )
    frame = {"modelVersion": model, "responseId": new_id("r", 22)}
    finish_reason = _finish_reason(request)
    if request.path.endswith(":generateContent"):
        parts = [*_function_calls(reply), *([{"text": reply.text}] if reply.text else [])]
        usage = _usage_metadata(request, result, reply.token_count, thinking_tokens)
        body = {"candidates": [_build_candidate(parts, finish_reason)], "usageMetadata": usage}
        return ProviderResponse(frame | body, commit=commit)
    stream = _stream_events(request, reply, result, thinking_tokens, finish_reason)
    return ProviderResponse(
        events=[frame | event for event in stream],
        encode_event=encode_sse,
        media_type=MEDIA_TYPE,
        commit=commit,
        error_event=error_body(ProviderError(503, "The model is overloaded.")),
    )


def _finish_reason(request: ProviderRequest) -> str:
    if request.fault.is_incomplete:
        return "MAX_TOKENS"
    return "SAFETY" if request.fault.is_failed else "STOP"


def _build_reply_request(request: ProviderRequest) -> ReplyRequest:
    body = request.body
    last = as_json_objects(body.get("contents"))[-1]
    functions = [
        function
        for tool in as_json_objects(body.get("tools"))
        for function in as_json_objects(tool.get("functionDeclarations"))
    ]
    calling = as_json_object(as_json_object(body.get("toolConfig")).get("functionCallingConfig"))
    choices = {"ANY": "required", "NONE": "none"}
    config = as_json_object(body.get("generationConfig"))
    return ReplyRequest(
        last_text=content_text(last.get("parts")),
        tools={function["name"]: _function_schema(function) for function in functions},
        tool_choice=choices.get(str(calling.get("mode")), "auto"),
        is_tool_result=any(
            "functionResponse" in part for part in as_json_objects(last.get("parts"))
        ),
        json_schema=config.get("responseSchema") or config.get("responseJsonSchema"),
        word_count=request.word_count,
    )


def _function_schema(function: JSONObject) -> Any:
    return next((function[key] for key in _SCHEMA_KEYS if function.get(key)), None)


def _count_thinking_tokens(request: ProviderRequest, model: str) -> int:
    config = as_json_object(request.body.get("generationConfig"))
    budget = as_json_object(config.get("thinkingConfig")).get("thinkingBudget")
    thinks = budget != 0 and re.match(r"gemini-(2\.5|[3-9])", model)
    return _THINKING_TOKENS if thinks else 0


def _function_calls(reply: Reply) -> Iterator[JSONObject]:
    for call in reply.calls:
        yield {"functionCall": {"name": call.name, "args": call.arguments}}


def _build_candidate(parts: list[JSONObject], finish_reason: str | None) -> JSONObject:
    candidate: JSONObject = {"content": {"parts": parts, "role": "model"}, "index": 0}
    return candidate | ({"finishReason": finish_reason} if finish_reason else {})


def _usage_metadata(
    request: ProviderRequest, result: CacheResult, output_tokens: int, thinking_tokens: int
) -> JSONObject:
    """Return `usageMetadata`. Counts of 0 are absent, as in the JSON of protobuf."""
    counts = {
        "promptTokenCount": result.input_tokens,
        "candidatesTokenCount": output_tokens,
        "totalTokenCount": result.input_tokens + output_tokens + thinking_tokens,
        "cachedContentTokenCount": result.cache_read_tokens,
        "thoughtsTokenCount": thinking_tokens,
    }
    by_modality = {
        "promptTokensDetails": result.input_tokens,
        "cacheTokensDetails": result.cache_read_tokens,
    }
    details = {
        name: [{"modality": "TEXT", "tokenCount": count}]
        for name, count in by_modality.items()
        if count
    }
    traffic = {"trafficType": "ON_DEMAND"} if is_vertex_request(request) else {}
    return {name: count for name, count in counts.items() if count} | details | traffic


def _stream_events(
    request: ProviderRequest,
    reply: Reply,
    result: CacheResult,
    thinking_tokens: int,
    finish_reason: str,
) -> Iterator[JSONObject]:
    """Yield the chunks. Each has the usage so far; the last one has all of it and the reason."""
    parts = [*_function_calls(reply), *({"text": word} for word in reply.chunks)]
    for number, part in enumerate(parts, 1):
        is_last = number == len(parts)
        output_tokens = reply.token_count if is_last else 0
        yield {
            "candidates": [_build_candidate([part], finish_reason if is_last else None)],
            "usageMetadata": _usage_metadata(request, result, output_tokens, thinking_tokens),
        }


def count_content_tokens(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `models/{model}:countTokens`. It does not use the cache."""
    body = as_json_object(request.body.get("generateContentRequest")) or request.body
    prompt = PromptLayout(tuple(prompt_blocks(body)))
    return ProviderResponse({"totalTokens": prompt.total_tokens})


_MODEL_PATH: Final = VERSION_PATH + r"(/publishers/google)?/(models|tunedModels)/(?P<model>[^/:]+)"
ROUTES: Final[tuple[Route, ...]] = (
    Route("POST", _MODEL_PATH + r":(g|streamG)enerateContent", generate_content, error_body),
    Route("POST", _MODEL_PATH + r":countTokens", count_content_tokens, error_body),
)
