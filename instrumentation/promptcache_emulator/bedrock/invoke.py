"""Bedrock InvokeModel, plain and streamed, with the body of the model's maker."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import Final

from promptcache_emulator.anthropic.messages import run_request as run_anthropic_request
from promptcache_emulator.anthropic.stream import stream_events as anthropic_stream_events
from promptcache_emulator.bedrock.converse import (
    converse_usage,
    event_stream_response,
    run_request,
    stream_events,
)
from promptcache_emulator.bedrock.errors import THROTTLING_EVENT, error_body
from promptcache_emulator.bedrock.eventstream import encode_message
from promptcache_emulator.bedrock.prompt import model_name
from promptcache_emulator.cache import CacheResult
from promptcache_emulator.context import EmulatorContext
from promptcache_emulator.json_util import JSONObject, to_json_bytes
from promptcache_emulator.profiles import BEDROCK_PROFILES
from promptcache_emulator.request import ProviderRequest
from promptcache_emulator.response import ProviderResponse
from promptcache_emulator.routing import Route


def invoke_model(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `POST /model/{id}/invoke`."""
    if _is_claude_model(request):
        message, commit = run_anthropic_request(context, request, BEDROCK_PROFILES)
        return ProviderResponse(_replace_with_bare_model_name(message, request), commit=commit)
    result = run_request(context, request)
    body = {
        "output": {"message": result.to_message()},
        "stopReason": result.stop_reason,
        "usage": _nova_usage(result.cache_result, result.output_tokens),
    }
    return ProviderResponse(body, commit=result.commit)


def invoke_model_stream(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `POST /model/{id}/invoke-with-response-stream`.

    Each event of the maker is in a `chunk`. The last one also has Bedrock's metrics.
    """
    if _is_claude_model(request):
        message, commit = run_anthropic_request(context, request, BEDROCK_PROFILES)
        events = list(anthropic_stream_events(_replace_with_bare_model_name(message, request)))
        metrics = _invocation_metrics(message["usage"])
        events[-1] |= {"amazon-bedrock-invocationMetrics": metrics}
    else:
        result = run_request(context, request)
        commit = result.commit
        usage = _nova_usage(result.cache_result, result.output_tokens)
        events = list(stream_events(result, usage))
    return replace(event_stream_response(events, commit), encode_event=_encode_chunk)


def _is_claude_model(request: ProviderRequest) -> bool:
    return "claude" in request.path_params["model"]


def _nova_usage(result: CacheResult, output_tokens: int) -> JSONObject:
    """Return the usage in Nova's own body (AWS Nova guide; no SDK has these names)."""
    usage = converse_usage(result, output_tokens)
    counts = {name: usage[name] for name in ("inputTokens", "outputTokens", "totalTokens")}
    return counts | {
        "cacheReadInputTokenCount": result.cache_read_tokens,
        "cacheWriteInputTokenCount": result.cache_write_tokens,
    }


def _encode_chunk(event: JSONObject) -> bytes:
    """Return a `chunk` message. The exception of a fault is sent without a chunk."""
    if event == THROTTLING_EVENT:
        return encode_message(event)
    return encode_message({"chunk": {"bytes": b64encode(to_json_bytes(event)).decode()}})


def _replace_with_bare_model_name(message: JSONObject, request: ProviderRequest) -> JSONObject:
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
    Route("POST", _MODEL_PATH + "invoke", invoke_model, error_body),
    Route("POST", _MODEL_PATH + "invoke-with-response-stream", invoke_model_stream, error_body),
)
