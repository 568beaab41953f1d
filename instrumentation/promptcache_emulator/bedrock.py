"""Bedrock: Converse and InvokeModel, plain and streamed, for Claude and Nova, with cache points."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from promptcache_emulator import anthropic, anthropic_cache, eventstream
from promptcache_emulator.cache import (
    MESSAGES,
    SYSTEM,
    TOOLS,
    CacheResult,
    PromptBlock,
    PromptLayout,
)
from promptcache_emulator.json_util import (
    JSONObject,
    as_object,
    as_objects,
    content_text,
    to_compact_json,
    to_json_bytes,
)
from promptcache_emulator.profiles import BEDROCK_PROFILES
from promptcache_emulator.replies import Reply, ReplyRequest, generate_reply
from promptcache_emulator.wire import (
    EmulatorContext,
    ProviderError,
    ProviderRequest,
    ProviderResponse,
    Route,
    new_id,
)

_EXCEPTION_TYPES: Final = {
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
    529: "ModelNotReadyException",
}
_THROTTLING_EVENT: Final[JSONObject] = {
    "throttlingException": {"message": "Too many requests, please wait before trying again."}
}


def error_body(error: ProviderError) -> JSONObject:
    """The body of an HTTP error."""
    return {
        "__type": _EXCEPTION_TYPES.get(error.status, "ValidationException"),
        "message": error.message,
    }


def model_name(request: ProviderRequest) -> str:
    """The bare model name of an id, an inference profile or an ARN."""
    return re.sub(
        r"^.*?(?=claude-|nova-)", "", anthropic_cache.bare_model_name(request.path_params["model"])
    )


def parse_prompt(body: JSONObject, model: str) -> PromptLayout:
    """A Converse request as the cache reads it. A cache point marks what stands before it."""
    config = as_object(body.get("toolConfig"))
    pieces: list[PromptBlock] = []
    for tool in as_objects(config.get("tools")):
        _append_block(pieces, tool, TOOLS, "")
    for block in as_objects(body.get("system")):
        _append_block(pieces, block, SYSTEM, "")
    for message in as_objects(body.get("messages")):
        for index, block in enumerate(as_objects(message.get("content"))):
            _append_block(pieces, block, MESSAGES, "" if index else f"{message.get('role')}\n")
    more = as_object(body.get("additionalModelRequestFields"))
    images = any(
        "image" in block
        for message in as_objects(body.get("messages"))
        for block in as_objects(message.get("content"))
    )
    messages = to_compact_json(
        [config.get("toolChoice"), more.get("thinking"), more.get("output_config"), images]
    )
    return PromptLayout(tuple(pieces), (model, "", messages))


def _append_block(blocks: list[PromptBlock], block: JSONObject, level: int, header: str) -> None:
    if "cachePoint" not in block:
        weight = 1500 if {"image", "document", "video"} & block.keys() else None
        blocks.append(
            PromptBlock(
                header + (str(block["text"]) if "text" in block else to_compact_json(block)),
                level,
                fixed_tokens=weight,
            )
        )
    elif not blocks:
        raise ProviderError(400, "a cachePoint must follow the content that it caches")
    else:
        blocks[-1] = replace(
            blocks[-1], breakpoint_ttl=str(as_object(block["cachePoint"]).get("ttl") or "")
        )


def _run_request(
    context: EmulatorContext, request: ProviderRequest
) -> tuple[Reply, CacheResult, int, Callable[[], None]]:
    body, model = request.body, model_name(request)
    if not as_objects(body.get("messages")):
        raise ProviderError(400, "The messages field is required")
    seen = parse_prompt(body, model)
    said = generate_reply(_reply_request(request))
    output = said.token_count + 2
    planned = anthropic_cache.plan_cache(
        seen, context.profile_for(BEDROCK_PROFILES, model, request)
    )
    outcome, commit = context.run_cache_plan(request, model, planned, output)
    return said, outcome, output, commit


def _reply_request(request: ProviderRequest) -> ReplyRequest:
    config = as_object(request.body.get("toolConfig"))
    specs = [
        as_object(tool["toolSpec"])
        for tool in as_objects(config.get("tools"))
        if "toolSpec" in tool
    ]
    choice = as_object(config.get("toolChoice"))
    blocks = as_objects(as_objects(request.body.get("messages"))[-1].get("content"))
    return ReplyRequest(
        last_text=content_text(blocks),
        tools={spec["name"]: as_object(spec.get("inputSchema")).get("json") for spec in specs},
        tool_choice=str(
            as_object(choice.get("tool")).get("name") or ("required" if "any" in choice else "auto")
        ),
        is_tool_result=any("toolResult" in block for block in blocks),
        word_count=int(request.headers.get("x-emulator-words", 8)),
    )


def _content_blocks(reply: Reply) -> list[JSONObject]:
    calls = [
        {
            "toolUse": {
                "toolUseId": new_id("tooluse_", 22),
                "name": call.name,
                "input": call.arguments,
            }
        }
        for call in reply.calls
    ]
    return [*([{"text": reply.text}] if reply.text else []), *calls]


def _stop_reason(request: ProviderRequest, reply: Reply) -> str:
    if request.fault.failed:
        return "guardrail_intervened"
    return "max_tokens" if request.fault.incomplete else "tool_use" if reply.calls else "end_turn"


def _usage_body(result: CacheResult, output_tokens: int) -> JSONObject:
    """`TokenUsage` (botocore 1.44, bedrock-runtime): what was read and written stands beside the input."""
    return {
        "inputTokens": result.uncached_tokens,
        "outputTokens": output_tokens,
        "totalTokens": result.input_tokens + output_tokens,
        "cacheReadInputTokens": result.cache_read_tokens,
        "cacheWriteInputTokens": result.cache_write_tokens,
        "cacheDetails": [
            {"ttl": ttl, "inputTokens": count}
            for ttl, count in result.cache_write_by_ttl.items()
            if count
        ],
    }


def _nova_usage_body(result: CacheResult, output_tokens: int) -> JSONObject:
    """Usage in Nova's own body, as InvokeModel returns it (AWS Nova guide; names not in any SDK)."""
    shared = _usage_body(result, output_tokens)
    own = {
        "cacheReadInputTokenCount": result.cache_read_tokens,
        "cacheWriteInputTokenCount": result.cache_write_tokens,
    }
    return {name: shared[name] for name in ("inputTokens", "outputTokens", "totalTokens")} | own


def converse(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """`POST /model/{id}/converse`."""
    said, outcome, output, commit = _run_request(context, request)
    message = {"role": "assistant", "content": _content_blocks(said)}
    whole = {
        "output": {"message": message},
        "stopReason": _stop_reason(request, said),
        "metrics": {"latencyMs": 12},
    }
    return ProviderResponse(whole | {"usage": _usage_body(outcome, output)}, commit=commit)


def converse_stream(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """`POST /model/{id}/converse-stream`: usage stands in the last event, `metadata`."""
    said, outcome, output, commit = _run_request(context, request)
    events = list[Any](
        _stream_events(said, _stop_reason(request, said), _usage_body(outcome, output))
    )
    return _event_stream_response(events, commit)


def _event_stream_response(events: list[Any], commit: Callable[[], None]) -> ProviderResponse:
    return ProviderResponse(
        events=events,
        encode_event=eventstream.encode_message,
        media_type=eventstream.MEDIA_TYPE,
        commit=commit,
        error_event=_THROTTLING_EVENT,
    )


def _stream_events(reply: Reply, stop_reason: str, usage: JSONObject) -> Iterator[JSONObject]:
    yield {"messageStart": {"role": "assistant"}}
    for index, block in enumerate(_content_blocks(reply)):
        at = {"contentBlockIndex": index}
        if "toolUse" in block:
            begun = {key: block["toolUse"][key] for key in ("toolUseId", "name")}
            yield {"contentBlockStart": {"start": {"toolUse": begun}} | at}
            yield {
                "contentBlockDelta": {
                    "delta": {"toolUse": {"input": to_compact_json(block["toolUse"]["input"])}}
                }
                | at
            }
        for word in Reply(block.get("text", "")).chunks:
            yield {"contentBlockDelta": {"delta": {"text": word}} | at}
        yield {"contentBlockStop": at}
    yield {"messageStop": {"stopReason": stop_reason}}
    yield {"metadata": {"usage": usage, "metrics": {"latencyMs": 12}}}


def invoke_model(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """`POST /model/{id}/invoke`: the body is the model maker's own."""
    if "claude" in request.path_params["model"]:
        message, commit = anthropic.run_request(context, request, BEDROCK_PROFILES)
        return ProviderResponse(_with_bare_model(message, request), commit=commit)
    said, outcome, output, commit = _run_request(context, request)
    message = {"output": {"message": {"role": "assistant", "content": _content_blocks(said)}}}
    return ProviderResponse(
        message
        | {"stopReason": _stop_reason(request, said), "usage": _nova_usage_body(outcome, output)},
        commit=commit,
    )


def invoke_model_stream(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """`POST /model/{id}/invoke-with-response-stream`: the maker's events, each in a `chunk`; metrics in the last."""
    if "claude" in request.path_params["model"]:
        message, commit = anthropic.run_request(context, request, BEDROCK_PROFILES)
        events = list(anthropic.stream_events(_with_bare_model(message, request)))
        events[-1] |= {"amazon-bedrock-invocationMetrics": _invocation_metrics(message["usage"])}
    else:
        said, outcome, output, commit = _run_request(context, request)
        events = list(
            _stream_events(said, _stop_reason(request, said), _nova_usage_body(outcome, output))
        )
    return replace(_event_stream_response(list[Any](events), commit), encode_event=_encode_chunk)


def _encode_chunk(event: JSONObject) -> bytes:
    """A `chunk`; a fault's exception goes out as itself."""
    return eventstream.encode_message(
        event
        if event == _THROTTLING_EVENT
        else {"chunk": {"bytes": b64encode(to_json_bytes(event)).decode()}}
    )


def _with_bare_model(message: JSONObject, request: ProviderRequest) -> JSONObject:
    return message | {"model": model_name(request)}


def _invocation_metrics(usage: JSONObject) -> JSONObject:
    return {
        "inputTokenCount": usage["input_tokens"],
        "outputTokenCount": usage["output_tokens"],
        "cacheReadInputTokenCount": usage["cache_read_input_tokens"],
        "cacheWriteInputTokenCount": usage["cache_creation_input_tokens"],
        "invocationLatency": 12,
        "firstByteLatency": 5,
    }


_MODEL_PATH: Final = r"/model/(?P<model>.+)/"
ROUTES: Final[tuple[Route, ...]] = (
    Route("POST", _MODEL_PATH + "converse", converse, error_body),
    Route("POST", _MODEL_PATH + "converse-stream", converse_stream, error_body),
    Route("POST", _MODEL_PATH + "invoke", invoke_model, error_body),
    Route("POST", _MODEL_PATH + "invoke-with-response-stream", invoke_model_stream, error_body),
)
