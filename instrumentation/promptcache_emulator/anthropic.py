"""Messages: plain and streamed, counted, in batches; on Anthropic's own paths and on Vertex."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from promptcache_emulator import tokens
from promptcache_emulator.anthropic_cache import (
    PromptFingerprint,
    bare_model_name,
    diagnose_miss,
    parse_prompt,
    plan_cache,
    usage_body,
)
from promptcache_emulator.json_util import (
    JSONObject,
    as_object,
    as_objects,
    content_text,
    to_json_bytes,
)
from promptcache_emulator.profiles import ANTHROPIC_PROFILES, CacheProfile
from promptcache_emulator.replies import Reply, ReplyRequest, generate_reply
from promptcache_emulator.wire import (
    EmulatorContext,
    ProviderError,
    ProviderRequest,
    ProviderResponse,
    Route,
    encode_named_sse,
    new_id,
)

_ERROR_TYPES: Final = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_THINKING_TEXT: Final = "the question is simple"


def error_body(error: ProviderError) -> JSONObject:
    """The body of an HTTP error."""
    kind = _ERROR_TYPES.get(
        error.status, "api_error" if error.status >= 500 else "invalid_request_error"
    )
    return {
        "type": "error",
        "error": {"type": kind, "message": error.message},
        "request_id": new_id("req_011"),
    }


def create_message(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """`POST /v1/messages`, and Vertex's `rawPredict` and `streamRawPredict`."""
    said, commit = run_request(context, request, ANTHROPIC_PROFILES)
    if not (request.body.get("stream") or request.path.endswith(":streamRawPredict")):
        return ProviderResponse(said, commit=commit)
    return ProviderResponse(
        events=list(stream_events(said)),
        encode_event=encode_named_sse,
        media_type="text/event-stream",
        commit=commit,
        error_event=OVERLOADED_EVENT,
    )


OVERLOADED_EVENT: Final[JSONObject] = {
    "type": "error",
    "error": {"type": "overloaded_error", "message": "Overloaded"},
}


def run_request(
    context: EmulatorContext,
    request: ProviderRequest,
    profiles: tuple[CacheProfile, ...],
    service_tier: str = "standard",
) -> tuple[JSONObject, Callable[[], None]]:
    """Runs one request against the cache: the message, and the commit of what it writes."""
    body = _with_thread_history(context, request.body)
    request = replace(request, body=body)
    model = str(body.get("model") or request.path_params.get("model") or "")
    if (
        not model
        or not as_objects(body.get("messages"))
        or not isinstance(body.get("max_tokens"), int)
    ):
        raise ProviderError(400, "model, messages and max_tokens: Field required")
    silent = body["max_tokens"] == 0
    if silent and (body.get("stream") or as_object(body.get("thinking")).get("type") == "enabled"):
        raise ProviderError(400, "max_tokens: 0 is not supported with stream or thinking")
    seen = parse_prompt(body, model, request.headers.get("anthropic-beta", ""))
    rules = context.profile_for(profiles, bare_model_name(model), request)
    said = Reply() if silent else generate_reply(_reply_request(request))
    thought = (
        0
        if silent or as_object(body.get("thinking")).get("type") in {None, "disabled"}
        else tokens.count_tokens(_THINKING_TEXT)
    )
    output = 0 if silent else said.token_count + thought + 2
    planned = plan_cache(seen, rules, body.get("cache_control"))
    outcome, commit = context.run_cache_plan(request, model, planned, output)
    more = {
        "service_tier": service_tier,
        "inference_geo": body.get("inference_geo", "global"),
        "server_tool_use": None,
    }
    more |= {"speed": body["speed"]} if body.get("speed") else {}
    message: JSONObject = {
        "id": new_id("msg_01", 22),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": list(_content_blocks(said, thought)),
        "stop_reason": _stop_reason(request, said, silent),
        "stop_sequence": None,
        "usage": usage_body(outcome, output, thought, **more),
    }
    print_ = PromptFingerprint(
        f"{model} {body.get('speed')}", seen, outcome.cache_read_tokens + outcome.cache_write_tokens
    )
    message |= _diagnostics_field(context, body, print_)
    context.store_value(str(message["id"]), print_)
    if body.get("thread"):
        said_so_far = [*body["messages"], {"role": "assistant", "content": message["content"]}]
        context.store_value(f"thread/{message['id']}", body | {"messages": said_so_far})
    return message, commit


def _with_thread_history(context: EmulatorContext, body: JSONObject) -> JSONObject:
    """The whole request where the server holds its beginning (beta: message threads, anthropic 2.11.0)."""
    if not (parent := as_object(body.get("thread")).get("previous_message_id")):
        return body
    held: JSONObject | None = context.stored_value(f"thread/{parent}")
    if held is None:
        raise ProviderError(404, f"thread: no message {parent}")
    return held | body | {"messages": [*held["messages"], *as_objects(body.get("messages"))]}


def _diagnostics_field(
    context: EmulatorContext, body: JSONObject, current: PromptFingerprint
) -> JSONObject:
    """`diagnostics`, where asked for: null on a first turn and where nothing diverged."""
    if body.get("diagnostics") is None:
        return {}
    previous = as_object(body["diagnostics"]).get("previous_message_id")
    reason = diagnose_miss(context.stored_value(str(previous)), current) if previous else None
    return {"diagnostics": {"cache_miss_reason": reason} if reason else None}


def _stop_reason(request: ProviderRequest, reply: Reply, is_prewarm: bool) -> str:
    if request.fault.failed:
        return "refusal"
    if is_prewarm or request.fault.incomplete:
        return "max_tokens"
    return "tool_use" if reply.calls else "end_turn"


def _reply_request(request: ProviderRequest) -> ReplyRequest:
    body = request.body
    last = as_objects(body.get("messages"))[-1]
    blocks = as_objects(last.get("content"))
    choice = as_object(body.get("tool_choice"))
    form = as_object(
        body.get("output_format") or as_object(body.get("output_config")).get("format")
    )
    return ReplyRequest(
        last_text=content_text(last.get("content")),
        tools={
            tool["name"]: tool["input_schema"]
            for tool in as_objects(body.get("tools"))
            if "input_schema" in tool
        },
        tool_choice=str(
            choice.get("name")
            or {"any": "required"}.get(str(choice.get("type")), choice.get("type", "auto"))
        ),
        is_tool_result=any(block.get("type") == "tool_result" for block in blocks),
        json_schema=form.get("schema"),
        word_count=int(request.headers.get("x-emulator-words", 8)),
    )


def _content_blocks(reply: Reply, thinking_tokens: int) -> Iterator[JSONObject]:
    if thinking_tokens:
        yield {"type": "thinking", "thinking": _THINKING_TEXT, "signature": new_id("EqQB", 40)}
    if reply.text:
        yield {"type": "text", "text": reply.text, "citations": None}
    for call in reply.calls:
        yield {
            "type": "tool_use",
            "id": new_id("toolu_01", 22),
            "name": call.name,
            "input": call.arguments,
        }


def stream_events(message: JSONObject) -> Iterator[JSONObject]:
    """The stream of a message. Usage stands at its start, and again, cumulative, at its end."""
    counted: JSONObject = message["usage"]
    begun: JSONObject = {
        "content": [],
        "stop_reason": None,
        "usage": counted | {"output_tokens": min(1, counted["output_tokens"])},
    }
    yield {"type": "message_start", "message": message | begun}
    yield {"type": "ping"}
    for index, block in enumerate(message["content"]):
        empty: dict[str, JSONObject] = {
            "text": {"text": ""},
            "tool_use": {"input": {}},
            "thinking": {"thinking": "", "signature": ""},
        }
        yield {
            "type": "content_block_start",
            "index": index,
            "content_block": block | empty[block["type"]],
        }
        for delta in _content_deltas(block):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    final = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    cumulative = (
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "output_tokens",
        "output_tokens_details",
    )
    yield {
        "type": "message_delta",
        "delta": final,
        "usage": {name: counted[name] for name in cumulative},
    }
    yield {"type": "message_stop"}


def _content_deltas(block: JSONObject) -> Iterator[JSONObject]:
    if block["type"] == "text":
        for word in Reply(block["text"]).chunks:
            yield {"type": "text_delta", "text": word}
    elif block["type"] == "tool_use":
        yield {"type": "input_json_delta", "partial_json": to_json_bytes(block["input"]).decode()}
    else:
        yield {"type": "thinking_delta", "thinking": block["thinking"]}
        yield {"type": "signature_delta", "signature": block["signature"]}


def count_tokens(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """`POST /v1/messages/count_tokens`: no cache is asked."""
    return ProviderResponse(
        {"input_tokens": parse_prompt(request.body, str(request.body.get("model"))).total_tokens}
    )


def create_batch(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """`POST /v1/messages/batches`: every request runs now; its result is read later."""
    results = [
        _run_batch_item(context, request, row) for row in as_objects(request.body.get("requests"))
    ]
    if not results:
        raise ProviderError(400, "requests: List should have at least 1 item")
    now = datetime.fromtimestamp(context.clock(), UTC).isoformat()
    batch: JSONObject = {
        "id": new_id("msgbatch_01", 22),
        "type": "message_batch",
        "processing_status": "in_progress",
        "request_counts": {
            "processing": len(results),
            "succeeded": 0,
            "errored": 0,
            "canceled": 0,
            "expired": 0,
        },
        "created_at": now,
        "expires_at": now,
        "ended_at": None,
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": None,
    }
    context.resources[str(batch["id"])] = (batch, results)
    return ProviderResponse(batch)


def _run_batch_item(
    context: EmulatorContext, request: ProviderRequest, batch_item: JSONObject
) -> JSONObject:
    one = ProviderRequest(
        "POST",
        request.path,
        as_object(batch_item.get("params")),
        request.headers,
        {},
        request.cache_scope,
        request.fault,
    )
    try:
        message, commit = run_request(context, one, ANTHROPIC_PROFILES, "batch")
    except ProviderError as refused:
        return {
            "custom_id": batch_item.get("custom_id"),
            "result": {"type": "errored", "error": error_body(refused)},
        }
    commit()
    return {
        "custom_id": batch_item.get("custom_id"),
        "result": {"type": "succeeded", "message": message},
    }


def _find_batch(
    context: EmulatorContext, request: ProviderRequest
) -> tuple[JSONObject, list[JSONObject]]:
    held: tuple[JSONObject, list[JSONObject]] | None = context.resources.get(
        request.path_params["id"]
    )
    if held is None:
        raise ProviderError(404, f"no such batch: {request.path_params['id']}")
    return held


def get_batch(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """`GET /v1/messages/batches/{id}`: it has ended by the time somebody asks."""
    batch, results = _find_batch(context, request)
    succeeded = sum(row["result"]["type"] == "succeeded" for row in results)
    counts = {
        "processing": 0,
        "succeeded": succeeded,
        "errored": len(results) - succeeded,
        "canceled": 0,
        "expired": 0,
    }
    base = f"http://{request.headers.get('host', 'localhost')}"
    ended = {
        "processing_status": "ended",
        "ended_at": batch["created_at"],
        "request_counts": counts,
    }
    return ProviderResponse(
        batch | ended | {"results_url": f"{base}/v1/messages/batches/{batch['id']}/results"}
    )


def get_batch_results(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """`GET /v1/messages/batches/{id}/results`: one JSON object a line."""
    _, results = _find_batch(context, request)
    return ProviderResponse(
        events=list[Any](results),
        encode_event=lambda row: to_json_bytes(row) + b"\n",
        media_type="application/x-jsonl",
    )


_VERTEX_MODEL_PATH: Final = r"(/v1)?/projects/[^/]+/locations/[^/]+/publishers/anthropic/models/"
_BATCHES_PATH: Final = r"(/anthropic)?/v1/messages/batches"
ROUTES: Final[tuple[Route, ...]] = (
    Route("POST", r"(/anthropic)?/v1/messages", create_message, error_body),
    Route("POST", r"(/anthropic)?/v1/messages/count_tokens", count_tokens, error_body),
    Route("POST", _BATCHES_PATH, create_batch, error_body),
    Route("GET", _BATCHES_PATH + r"/(?P<id>[^/]+)", get_batch, error_body),
    Route("GET", _BATCHES_PATH + r"/(?P<id>[^/]+)/results", get_batch_results, error_body),
    Route("POST", _VERTEX_MODEL_PATH + r"count-tokens:rawPredict", count_tokens, error_body),
    Route(
        "POST",
        _VERTEX_MODEL_PATH + r"(?P<model>[^/]+):(streamRawPredict|rawPredict)",
        create_message,
        error_body,
    ),
)
