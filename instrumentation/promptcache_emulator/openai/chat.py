"""Chat Completions, plain and streamed: under `/v1`, without it, and as an Azure deployment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from promptcache_emulator.bounds import MAX_CHOICES, MAX_WORDS, bounded_int
from promptcache_emulator.context import EmulatorContext
from promptcache_emulator.errors import ProviderError
from promptcache_emulator.identifiers import new_id
from promptcache_emulator.json_util import JSONObject, as_json_object, as_json_objects, content_text
from promptcache_emulator.openai.cache import plan_cache
from promptcache_emulator.openai.errors import error_body
from promptcache_emulator.openai.models import (
    count_output_tokens,
    count_reasoning_tokens,
    reported_tier,
    requested_model,
    snapshot_name,
)
from promptcache_emulator.openai.prompt import parse_prompt
from promptcache_emulator.openai.usage import chat_usage
from promptcache_emulator.openai.usage_dialects import (
    add_unrequested_usage,
    translate_usage_for_provider,
)
from promptcache_emulator.replies import Reply, ReplyRequest, generate_reply
from promptcache_emulator.request import ProviderRequest
from promptcache_emulator.response import ProviderResponse
from promptcache_emulator.routing import Route
from promptcache_emulator.sse import MEDIA_TYPE, encode_sse

_SYSTEM_FINGERPRINT: Final = "fp_50cad350e4"
_ERROR_EVENT: Final = error_body(ProviderError(500, "The server had an error", "server_error"))


def create_completion(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `POST .../chat/completions`."""
    body = request.body
    messages = as_json_objects(body.get("messages"))
    if not messages:
        raise ProviderError(
            400, "'messages' is too short: an array of at least one message is expected"
        )
    model = requested_model(request)
    reply = generate_reply(_build_reply_request(request, messages))
    reasoning_tokens = count_reasoning_tokens(model, body)
    prompt = parse_prompt(request, model, messages)
    plan, profile = plan_cache(context, request, model, prompt)
    choice_count = _requested_choice_count(request)
    output_tokens = count_output_tokens(reply.token_count, reasoning_tokens) * choice_count
    result, commit = context.run_cache_plan(request, model, plan, output_tokens)
    usage = chat_usage(result, profile, output_tokens, reasoning_tokens * choice_count)
    usage = translate_usage_for_provider(request, usage, result)
    frame = _completion_fields(context, body, model)
    finish_reason = _finish_reason(request, reply)
    if body.get("stream"):
        events = _stream_events(body, frame, reply, finish_reason, choice_count, usage)
        add_unrequested_usage(request, events, usage)
        return ProviderResponse(
            events=events,
            encode_event=encode_sse,
            media_type=MEDIA_TYPE,
            commit=commit,
            error_event=_ERROR_EVENT,
        )
    choices = [_build_choice(index, reply, finish_reason) for index in range(choice_count)]
    return ProviderResponse(frame | {"choices": choices, "usage": usage}, commit=commit)


def _requested_choice_count(request: ProviderRequest) -> int:
    """Return `n`. Raise ValueError beyond OpenAI's limit, and beyond the emulator's for words."""
    count = bounded_int(request.body.get("n") or 1, "n", 1, MAX_CHOICES)
    bounded_int(count * request.word_count, "n times x-emulator-words", 1, MAX_WORDS)
    return count


def _completion_fields(context: EmulatorContext, body: JSONObject, model: str) -> JSONObject:
    """Return the fields that a completion and each chunk of a stream share."""
    return {
        "id": new_id("chatcmpl-", 29),
        "object": "chat.completion",
        "created": int(context.clock()),
        "model": snapshot_name(model),
        "service_tier": reported_tier(body),
        "system_fingerprint": _SYSTEM_FINGERPRINT,
    }


def _finish_reason(request: ProviderRequest, reply: Reply) -> str:
    if request.fault.is_incomplete:
        return "length"
    return "tool_calls" if reply.calls else "stop"


def _build_reply_request(request: ProviderRequest, messages: list[JSONObject]) -> ReplyRequest:
    body = request.body
    functions = [
        tool["function"]
        for tool in as_json_objects(body.get("tools"))
        if tool.get("type") == "function"
    ]
    functions += as_json_objects(body.get("functions"))
    choice = body.get("tool_choice") or "auto"
    if not isinstance(choice, str):
        choice = str(as_json_object(choice.get("function")).get("name", "auto"))
    response_format = as_json_object(body.get("response_format"))
    schemas: dict[str, Any] = {
        "json_schema": as_json_object(response_format.get("json_schema")).get("schema"),
        "json_object": {"type": "object"},
    }
    return ReplyRequest(
        last_text=content_text(messages[-1].get("content")),
        tools={function["name"]: function.get("parameters") for function in functions},
        tool_choice=choice,
        is_tool_result=messages[-1].get("role") in {"tool", "function"},
        json_schema=schemas.get(str(response_format.get("type"))),
        word_count=request.word_count,
    )


def _build_choice(index: int, reply: Reply, finish_reason: str) -> JSONObject:
    message: JSONObject = {
        "role": "assistant",
        "content": reply.text or None,
        "refusal": None,
        "annotations": [],
    }
    if reply.calls:
        message["tool_calls"] = list(_tool_calls(reply))
    return {"index": index, "message": message, "logprobs": None, "finish_reason": finish_reason}


def _tool_calls(reply: Reply) -> Iterator[JSONObject]:
    for call in reply.calls:
        function = {"name": call.name, "arguments": call.arguments_json}
        yield {"id": new_id("call_"), "type": "function", "function": function}


def _stream_events(
    body: JSONObject,
    frame: JSONObject,
    reply: Reply,
    finish_reason: str,
    choice_count: int,
    usage: JSONObject,
) -> list[JSONObject | str]:
    """Return the stream: the chunks of each choice, then the usage if the request asks for it."""
    includes_usage = bool(as_json_object(body.get("stream_options")).get("include_usage"))
    chunk_frame = frame | {"object": "chat.completion.chunk"}
    no_usage: JSONObject = {"usage": None} if includes_usage else {}
    events: list[JSONObject | str] = [
        chunk_frame | no_usage | {"choices": [choice]}
        for index in range(choice_count)
        for choice in _choice_deltas(index, reply, finish_reason)
    ]
    if includes_usage:
        events.append(chunk_frame | {"choices": [], "usage": usage})
    return [*events, "[DONE]"]


def _choice_deltas(index: int, reply: Reply, finish_reason: str) -> Iterator[JSONObject]:
    """Yield the chunks of one choice: role, tool calls or words, finish reason."""

    def choice(delta: JSONObject, finish_reason: str | None = None) -> JSONObject:
        fields = {"index": index, "delta": delta, "logprobs": None}
        return fields | {"finish_reason": finish_reason}

    content = None if reply.calls else ""
    yield choice({"role": "assistant", "content": content, "refusal": None})
    for number, call in enumerate(_tool_calls(reply)):
        function = call["function"]
        start = {"index": number} | call | {"function": function | {"arguments": ""}}
        yield choice({"tool_calls": [start]})
        arguments = {"index": number, "function": {"arguments": function["arguments"]}}
        yield choice({"tool_calls": [arguments]})
    for word in reply.chunks:
        yield choice({"content": word})
    yield choice({}, finish_reason)


ROUTES: Final[tuple[Route, ...]] = tuple(
    Route("POST", path_pattern, create_completion, error_body)
    for path_pattern in (
        r"(/(?P<dialect>[a-z-]+))?(/api)?(/openai)?(/v1)?/chat/completions",
        r"/openai/deployments/(?P<deployment>[^/]+)/chat/completions",
    )
)
