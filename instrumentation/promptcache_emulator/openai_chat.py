"""Chat Completions: plain and streamed, under `/v1`, without it, and as an Azure deployment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from promptcache_emulator import compatible, openai
from promptcache_emulator.json_util import JSONObject, as_object, as_objects, content_text
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

_SYSTEM_FINGERPRINT: Final = "fp_50cad350e4"


def create_completion(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """`POST .../chat/completions`."""
    body = request.body
    messages = as_objects(body.get("messages"))
    if not messages:
        raise ProviderError(
            400, "'messages' is too short: an array of at least one message is expected"
        )
    model = openai.requested_model(request)
    said = generate_reply(_reply_request(request, messages))
    thought = openai.count_reasoning_tokens(model, body)
    plan, rules = openai.plan_cache(
        context, request, model, openai.parse_prompt(request, model, messages)
    )
    choices = int(body.get("n") or 1)
    output = openai.count_output_tokens(said.token_count, thought) * choices
    outcome, commit = context.run_cache_plan(request, model, plan, output)
    usage = openai.chat_usage(outcome, rules, output, thought * choices)
    frame: JSONObject = {
        "id": new_id("chatcmpl-", 29),
        "object": "chat.completion",
        "created": int(context.clock()),
        "model": openai.snapshot_name(model),
        "service_tier": openai.reported_tier(body),
        "system_fingerprint": _SYSTEM_FINGERPRINT,
    }
    usage = compatible.translate_usage(request, usage, outcome)
    finish = "length" if request.fault.incomplete else "tool_calls" if said.calls else "stop"
    if body.get("stream"):
        wanted = as_object(body.get("stream_options")).get("include_usage")
        events = list(
            _stream_events(
                frame | {"object": "chat.completion.chunk"},
                said,
                finish,
                choices,
                usage if wanted else None,
            )
        )
        compatible.add_unrequested_usage(request, events, usage)
        broken = {
            "error": {
                "message": "The server had an error",
                "type": "server_error",
                "param": None,
                "code": None,
            }
        }
        return ProviderResponse(
            events=events,
            encode_event=encode_sse,
            media_type="text/event-stream",
            commit=commit,
            error_event=broken,
        )
    shown = [_choice(index, said, finish) for index in range(choices)]
    return ProviderResponse(frame | {"choices": shown, "usage": usage}, commit=commit)


def _reply_request(request: ProviderRequest, messages: list[JSONObject]) -> ReplyRequest:
    body = request.body
    functions = [
        tool["function"] for tool in as_objects(body.get("tools")) if tool.get("type") == "function"
    ]
    tools = {
        item["name"]: item.get("parameters")
        for item in [*functions, *(as_objects(body.get("functions")))]
    }
    choice = body.get("tool_choice") or "auto"
    form = as_object(body.get("response_format"))
    schemas: dict[str, Any] = {
        "json_schema": as_object(form.get("json_schema")).get("schema"),
        "json_object": {"type": "object"},
    }
    return ReplyRequest(
        last_text=content_text(messages[-1].get("content")),
        tools=tools,
        tool_choice=choice
        if isinstance(choice, str)
        else str(as_object(choice.get("function")).get("name", "auto")),
        is_tool_result=messages[-1].get("role") in {"tool", "function"},
        json_schema=schemas.get(str(form.get("type"))),
        word_count=int(request.headers.get("x-emulator-words", 8)),
    )


def _choice(index: int, reply: Reply, finish_reason: str) -> JSONObject:
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
    frame: JSONObject, reply: Reply, finish: str, choice_count: int, usage: JSONObject | None
) -> Iterator[JSONObject | str]:
    """The stream: role, words or calls, the finish reason, then the usage where it was asked for."""
    extra: JSONObject = {} if usage is None else {"usage": None}

    def chunk(index: int, delta: JSONObject, finish: str | None = None) -> JSONObject:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return frame | extra | {"choices": [choice]}

    for index in range(choice_count):
        yield chunk(
            index, {"role": "assistant", "content": None if reply.calls else "", "refusal": None}
        )
        for order, call in enumerate(_tool_calls(reply)):
            function = call["function"]
            yield chunk(
                index,
                {
                    "tool_calls": [
                        {"index": order} | call | {"function": function | {"arguments": ""}}
                    ]
                },
            )
            yield chunk(
                index,
                {
                    "tool_calls": [
                        {"index": order, "function": {"arguments": function["arguments"]}}
                    ]
                },
            )
        for word in reply.chunks:
            yield chunk(index, {"content": word})
        yield chunk(index, {}, finish)
    if usage is not None:
        yield frame | {"choices": [], "usage": usage}
    yield "[DONE]"


ROUTES: Final[tuple[Route, ...]] = tuple(
    Route("POST", path, create_completion, openai.error_body)
    for path in (
        r"(/(?P<dialect>[a-z-]+))?(/api)?(/openai)?(/v1)?/chat/completions",
        r"/openai/deployments/(?P<deployment>[^/]+)/chat/completions",
    )
)
