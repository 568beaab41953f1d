"""Bedrock Converse, plain and streamed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from promptcache_emulator.anthropic.cache import plan_cache
from promptcache_emulator.bedrock.errors import THROTTLING_EVENT, error_body
from promptcache_emulator.bedrock.eventstream import MEDIA_TYPE, encode_message
from promptcache_emulator.bedrock.prompt import model_name, parse_prompt
from promptcache_emulator.cache import CacheResult, CommitWrites
from promptcache_emulator.context import EmulatorContext
from promptcache_emulator.errors import ProviderError
from promptcache_emulator.identifiers import new_id
from promptcache_emulator.json_util import (
    JSONObject,
    as_json_object,
    as_json_objects,
    content_text,
    to_compact_json,
)
from promptcache_emulator.profiles import BEDROCK_PROFILES
from promptcache_emulator.replies import Reply, ReplyRequest, generate_reply
from promptcache_emulator.request import ProviderRequest
from promptcache_emulator.response import ProviderResponse
from promptcache_emulator.routing import Route

_METRICS: Final = {"latencyMs": 12}


@dataclass(frozen=True, slots=True)
class ConverseResult:
    """The reply to a Converse request, and what the cache did."""

    reply: Reply
    stop_reason: str
    cache_result: CacheResult
    output_tokens: int
    commit: CommitWrites

    def to_message(self) -> JSONObject:
        return {"role": "assistant", "content": content_blocks(self.reply)}


def run_request(context: EmulatorContext, request: ProviderRequest) -> ConverseResult:
    """Run one Converse request against the cache. Raise ProviderError where Bedrock refuses it."""
    body, model = request.body, model_name(request)
    if not as_json_objects(body.get("messages")):
        raise ProviderError(400, "The messages field is required")
    prompt = parse_prompt(body, model)
    reply = generate_reply(_build_reply_request(request))
    output_tokens = reply.token_count + 2
    plan = plan_cache(prompt, context.profile_for(BEDROCK_PROFILES, model, request))
    result, commit = context.run_cache_plan(request, model, plan, output_tokens)
    return ConverseResult(reply, _stop_reason(request, reply), result, output_tokens, commit)


def _build_reply_request(request: ProviderRequest) -> ReplyRequest:
    config = as_json_object(request.body.get("toolConfig"))
    specs = [
        as_json_object(tool["toolSpec"])
        for tool in as_json_objects(config.get("tools"))
        if "toolSpec" in tool
    ]
    choice = as_json_object(config.get("toolChoice"))
    blocks = as_json_objects(as_json_objects(request.body.get("messages"))[-1].get("content"))
    return ReplyRequest(
        last_text=content_text(blocks),
        tools={spec["name"]: as_json_object(spec.get("inputSchema")).get("json") for spec in specs},
        tool_choice=str(
            as_json_object(choice.get("tool")).get("name")
            or ("required" if "any" in choice else "auto")
        ),
        is_tool_result=any("toolResult" in block for block in blocks),
        word_count=request.word_count,
    )


def content_blocks(reply: Reply) -> list[JSONObject]:
    """Return the content of the assistant's message."""
    blocks: list[JSONObject] = [{"text": reply.text}] if reply.text else []
    for call in reply.calls:
        tool_use = {
            "toolUseId": new_id("tooluse_", 22),
            "name": call.name,
            "input": call.arguments,
        }
        blocks.append({"toolUse": tool_use})
    return blocks


def _stop_reason(request: ProviderRequest, reply: Reply) -> str:
    if request.fault.is_failed:
        return "guardrail_intervened"
    if request.fault.is_incomplete:
        return "max_tokens"
    return "tool_use" if reply.calls else "end_turn"


def converse_usage(result: CacheResult, output_tokens: int) -> JSONObject:
    """Return `TokenUsage`. The input excludes cache reads and writes (botocore 1.44)."""
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


def converse(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `POST /model/{id}/converse`."""
    result = run_request(context, request)
    body = {
        "output": {"message": result.to_message()},
        "stopReason": result.stop_reason,
        "metrics": _METRICS,
        "usage": converse_usage(result.cache_result, result.output_tokens),
    }
    return ProviderResponse(body, commit=result.commit)


def converse_stream(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `POST /model/{id}/converse-stream`. The last event, `metadata`, has the usage."""
    result = run_request(context, request)
    usage = converse_usage(result.cache_result, result.output_tokens)
    return event_stream_response(list(stream_events(result, usage)), result.commit)


def event_stream_response(events: list[Any], commit: CommitWrites) -> ProviderResponse:
    """Return a response in the framing of AWS event streams."""
    return ProviderResponse(
        events=events,
        encode_event=encode_message,
        media_type=MEDIA_TYPE,
        commit=commit,
        error_event=THROTTLING_EVENT,
    )


def stream_events(result: ConverseResult, usage: JSONObject) -> Iterator[JSONObject]:
    """Yield the events of a streamed reply."""
    yield {"messageStart": {"role": "assistant"}}
    for index, block in enumerate(content_blocks(result.reply)):
        position = {"contentBlockIndex": index}
        if "toolUse" in block:
            tool_use = block["toolUse"]
            start = {key: tool_use[key] for key in ("toolUseId", "name")}
            yield {"contentBlockStart": {"start": {"toolUse": start}} | position}
            delta = {"toolUse": {"input": to_compact_json(tool_use["input"])}}
            yield {"contentBlockDelta": {"delta": delta} | position}
        for word in Reply(block.get("text", "")).chunks:
            yield {"contentBlockDelta": {"delta": {"text": word}} | position}
        yield {"contentBlockStop": position}
    yield {"messageStop": {"stopReason": result.stop_reason}}
    yield {"metadata": {"usage": usage, "metrics": _METRICS}}


_MODEL_PATH: Final = r"/model/(?P<model>.+)/"
ROUTES: Final[tuple[Route, ...]] = (
    Route("POST", _MODEL_PATH + "converse", converse, error_body),
    Route("POST", _MODEL_PATH + "converse-stream", converse_stream, error_body),
)
