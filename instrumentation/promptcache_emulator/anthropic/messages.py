"""Anthropic Messages, plain and streamed, and token counts. Also under Vertex AI's paths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from promptcache_emulator.anthropic.cache import plan_cache
from promptcache_emulator.anthropic.cache_control_check import check_cache_controls
from promptcache_emulator.anthropic.diagnostics import RequestFingerprint, diagnose_miss
from promptcache_emulator.anthropic.errors import OVERLOADED_EVENT, error_body
from promptcache_emulator.anthropic.prompt import bare_model_name, parse_prompt
from promptcache_emulator.anthropic.stream import stream_events
from promptcache_emulator.cache import CacheResult, CommitWrites
from promptcache_emulator.context import EmulatorContext
from promptcache_emulator.errors import ProviderError
from promptcache_emulator.identifiers import new_id
from promptcache_emulator.json_util import JSONObject, as_json_object, as_json_objects, content_text
from promptcache_emulator.profiles import ANTHROPIC_PROFILES, CacheProfile
from promptcache_emulator.replies import Reply, ReplyRequest, generate_reply
from promptcache_emulator.request import ProviderRequest
from promptcache_emulator.response import ProviderResponse
from promptcache_emulator.routing import Route
from promptcache_emulator.sse import MEDIA_TYPE, encode_named_sse
from promptcache_emulator.tokens import count_tokens

_THINKING_TEXT: Final = "the question is simple"


def create_message(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `POST /v1/messages`, and Vertex's `rawPredict` and `streamRawPredict`."""
    message, commit = run_request(context, request, ANTHROPIC_PROFILES)
    if not (request.body.get("stream") or request.path.endswith(":streamRawPredict")):
        return ProviderResponse(message, commit=commit)
    return ProviderResponse(
        events=list(stream_events(message)),
        encode_event=encode_named_sse,
        media_type=MEDIA_TYPE,
        commit=commit,
        error_event=OVERLOADED_EVENT,
    )


def run_request(
    context: EmulatorContext,
    request: ProviderRequest,
    profiles: tuple[CacheProfile, ...],
    service_tier: str = "standard",
) -> tuple[JSONObject, CommitWrites]:
    """Run one request against the cache.

    Return the message and the function that stores the cache entries. Raise ProviderError where
    Anthropic refuses the request.
    """
    body = _add_thread_history(context, request.body)
    request = replace(request, body=body)
    model = str(body.get("model") or request.path_params.get("model") or "")
    is_prewarm = _check_messages_request(body, model, is_batch=service_tier == "batch")
    prompt = parse_prompt(body, model, request.headers.get("anthropic-beta", ""))
    profile = context.profile_for(profiles, bare_model_name(model), request)
    reply = Reply() if is_prewarm else generate_reply(_build_reply_request(request))
    thinking_tokens = 0 if is_prewarm else _count_thinking_tokens(body)
    output_tokens = 0 if is_prewarm else reply.token_count + thinking_tokens + 2
    plan = plan_cache(prompt, profile, body.get("cache_control"))
    result, commit = context.run_cache_plan(request, model, plan, output_tokens)
    message: JSONObject = {
        "id": new_id("msg_01", 22),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": list(_content_blocks(reply, thinking_tokens)),
        "stop_reason": _stop_reason(request, reply, is_prewarm),
        "stop_sequence": None,
        "usage": _message_usage(result, output_tokens, thinking_tokens)
        | _message_usage_metadata(body, service_tier),
    }
    cached_tokens = result.cache_read_tokens + result.cache_write_tokens
    fingerprint = RequestFingerprint(f"{model} {body.get('speed')}", prompt, cached_tokens)
    message |= _diagnostics_field(context, body, fingerprint)
    _store_message(context, body, message, fingerprint)
    return message, commit


def _check_messages_request(body: JSONObject, model: str, *, is_batch: bool) -> bool:
    """Raise ProviderError for an invalid request. Return whether it only prewarms the cache."""
    max_tokens = body.get("max_tokens")
    if not model or not as_json_objects(body.get("messages")) or not isinstance(max_tokens, int):
        raise ProviderError(400, "model, messages and max_tokens: Field required")
    check_cache_controls(body)
    if max_tokens != 0:
        return False
    if found := "a batch" if is_batch else next(_not_with_prewarming(body), None):
        raise ProviderError(400, f"max_tokens: 0 is not supported with {found}")
    return True


def _not_with_prewarming(body: JSONObject) -> Iterator[str]:
    """Yield what Anthropic's page on prompt caching excludes with `max_tokens: 0`."""
    if body.get("stream"):
        yield "stream"
    if as_json_object(body.get("thinking")).get("type") == "enabled":
        yield "thinking"
    if body.get("output_format") or as_json_object(body.get("output_config")).get("format"):
        yield "an output format"
    if as_json_object(body.get("tool_choice")).get("type") in ("any", "tool"):
        yield "a forced tool_choice"


def _count_thinking_tokens(body: JSONObject) -> int:
    mode = as_json_object(body.get("thinking")).get("type")
    return 0 if mode in {None, "disabled"} else count_tokens(_THINKING_TEXT)


def _message_usage(result: CacheResult, output_tokens: int, thinking_tokens: int) -> JSONObject:
    """Return `usage`. The input excludes cache reads and writes (anthropic 2.11.0, usage.py)."""
    written = result.cache_write_by_ttl
    return {
        "input_tokens": result.uncached_tokens,
        "cache_creation_input_tokens": result.cache_write_tokens,
        "cache_read_input_tokens": result.cache_read_tokens,
        "cache_creation": {
            f"ephemeral_{ttl}_input_tokens": written.get(ttl, 0) for ttl in ("5m", "1h")
        },
        "output_tokens": output_tokens,
        "output_tokens_details": {"thinking_tokens": thinking_tokens},
    }


def _message_usage_metadata(body: JSONObject, service_tier: str) -> JSONObject:
    """Return the fields of `usage` that are no token counts."""
    speed = {"speed": body["speed"]} if body.get("speed") else {}
    return {
        "service_tier": service_tier,
        "inference_geo": body.get("inference_geo", "global"),
        "server_tool_use": None,
        **speed,
    }


def _store_message(
    context: EmulatorContext,
    body: JSONObject,
    message: JSONObject,
    fingerprint: RequestFingerprint,
) -> None:
    """Store what later requests refer to: the fingerprint and, in a thread, the messages."""
    context.store_value(str(message["id"]), fingerprint)
    if body.get("thread"):
        answer = {"role": "assistant", "content": message["content"]}
        history = body | {"messages": [*body["messages"], answer]}
        context.store_value(f"thread/{message['id']}", history)


def _add_thread_history(context: EmulatorContext, body: JSONObject) -> JSONObject:
    """Return the whole request if the server holds its first messages.

    Source: message threads, beta of anthropic 2.11.0.
    """
    if not (parent := as_json_object(body.get("thread")).get("previous_message_id")):
        return body
    history: JSONObject | None = context.stored_value(f"thread/{parent}")
    if history is None:
        raise ProviderError(404, f"thread: no message {parent}")
    messages = [*history["messages"], *as_json_objects(body.get("messages"))]
    return history | body | {"messages": messages}


def _diagnostics_field(
    context: EmulatorContext, body: JSONObject, current: RequestFingerprint
) -> JSONObject:
    """Return `diagnostics` if the request asks for it.

    It is null for a first turn, and if nothing changed.
    """
    if body.get("diagnostics") is None:
        return {}
    parent = as_json_object(body["diagnostics"]).get("previous_message_id")
    reason = diagnose_miss(context.stored_value(str(parent)), current) if parent else None
    return {"diagnostics": {"cache_miss_reason": reason} if reason else None}


def _stop_reason(request: ProviderRequest, reply: Reply, is_prewarm: bool) -> str:
    if request.fault.is_failed:
        return "refusal"
    if is_prewarm or request.fault.is_incomplete:
        return "max_tokens"
    return "tool_use" if reply.calls else "end_turn"


def _build_reply_request(request: ProviderRequest) -> ReplyRequest:
    body = request.body
    last = as_json_objects(body.get("messages"))[-1]
    blocks = as_json_objects(last.get("content"))
    choice = as_json_object(body.get("tool_choice"))
    choice_type = choice.get("type", "auto")
    output_format = body.get("output_format") or as_json_object(body.get("output_config")).get(
        "format"
    )
    return ReplyRequest(
        last_text=content_text(last.get("content")),
        tools={
            tool["name"]: tool["input_schema"]
            for tool in as_json_objects(body.get("tools"))
            if "input_schema" in tool
        },
        tool_choice=str(
            choice.get("name") or ("required" if choice_type == "any" else choice_type)
        ),
        is_tool_result=any(block.get("type") == "tool_result" for block in blocks),
        json_schema=as_json_object(output_format).get("schema"),
        word_count=request.word_count,
    )


def _content_blocks(reply: Reply, thinking_tokens: int) -> Iterator[JSONObject]:
    if thinking_tokens:
        signature = new_id("EqQB", 40)
        yield {"type": "thinking", "thinking": _THINKING_TEXT, "signature": signature}
    if reply.text:
        yield {"type": "text", "text": reply.text, "citations": None}
    for call in reply.calls:
        call_id = new_id("toolu_01", 22)
        yield {"type": "tool_use", "id": call_id, "name": call.name, "input": call.arguments}


def count_message_tokens(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `POST /v1/messages/count_tokens`. It does not use the cache."""
    prompt = parse_prompt(request.body, str(request.body.get("model")))
    return ProviderResponse({"input_tokens": prompt.total_tokens})


_VERTEX_MODEL_PATH: Final = r"(/v1)?/projects/[^/]+/locations/[^/]+/publishers/anthropic/models/"
ROUTES: Final[tuple[Route, ...]] = (
    Route("POST", r"(/anthropic)?/v1/messages", create_message, error_body),
    Route("POST", r"(/anthropic)?/v1/messages/count_tokens", count_message_tokens, error_body),
    Route(
        "POST", _VERTEX_MODEL_PATH + r"count-tokens:rawPredict", count_message_tokens, error_body
    ),
    Route(
        "POST",
        _VERTEX_MODEL_PATH + r"(?P<model>[^/]+):(streamRawPredict|rawPredict)",
        create_message,
        error_body,
    ),
)
