"""Responses, plain, streamed and in the background; retrieved later; compacted; diagnosed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from promptcache_emulator.cache import CommitWrites
from promptcache_emulator.context import EmulatorContext
from promptcache_emulator.errors import ProviderError
from promptcache_emulator.identifiers import new_id
from promptcache_emulator.json_util import JSONObject, as_json_object, as_json_objects, content_text
from promptcache_emulator.openai.cache import plan_cache
from promptcache_emulator.openai.diagnostics import diagnose_miss
from promptcache_emulator.openai.errors import error_body
from promptcache_emulator.openai.models import (
    count_output_tokens,
    count_reasoning_tokens,
    reported_tier,
    requested_model,
    snapshot_name,
)
from promptcache_emulator.openai.prompt import cache_salts_by_name, parse_prompt
from promptcache_emulator.openai.response_stream import UNFINISHED_FIELDS, stream_events
from promptcache_emulator.openai.stored_response import StoredResponse
from promptcache_emulator.openai.usage import responses_usage
from promptcache_emulator.replies import Reply, ReplyRequest, generate_reply
from promptcache_emulator.request import ProviderRequest
from promptcache_emulator.response import ProviderResponse
from promptcache_emulator.routing import Route
from promptcache_emulator.sse import MEDIA_TYPE, encode_named_sse

_REQUEST_DEFAULTS: Final[JSONObject] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "background": False,
}
"""Request parameters that a response repeats, with their defaults."""

_COMPACTION_TOKENS: Final = 24


def create_response(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `POST /responses`."""
    body = request.body
    stored, commit = run_request(context, request)
    if body.get("stream"):
        return ProviderResponse(
            events=stored.events,
            encode_event=encode_named_sse,
            media_type=MEDIA_TYPE,
            commit=commit,
            error_event=_error_event(len(stored.events)),
        )
    if body.get("background"):
        stored.polls_until_done = int(request.headers.get("x-emulator-polls", 1))
        queued = stored.response | UNFINISHED_FIELDS | {"status": "queued"}
        return ProviderResponse(queued, commit=commit)
    return ProviderResponse(stored.response, commit=commit)


def _error_event(sequence_number: int) -> JSONObject:
    return {
        "type": "error",
        "code": "server_error",
        "message": "The server had an error",
        "param": None,
        "sequence_number": sequence_number,
    }


def run_request(
    context: EmulatorContext, request: ProviderRequest
) -> tuple[StoredResponse, CommitWrites]:
    """Run one request against the cache and store the response under its id.

    Return the stored response and the function that stores the cache entries.
    """
    body = request.body
    model = requested_model(request)
    items = _items_with_history(context, body)
    prompt = parse_prompt(request, model, items, body.get("instructions"))
    plan, profile = plan_cache(context, request, model, prompt)
    is_prewarm = bool(as_json_object(body.get("prompt_cache_options")).get("prewarm"))
    reply = Reply() if is_prewarm else generate_reply(_build_reply_request(request, items))
    reasoning_tokens = 0 if is_prewarm else count_reasoning_tokens(model, body)
    output_tokens = 0 if is_prewarm else count_output_tokens(reply.token_count, reasoning_tokens)
    result, commit = context.run_cache_plan(request, model, plan, output_tokens)
    usage = responses_usage(result, profile, output_tokens, reasoning_tokens)
    response = _response_body(context, request, model, reply) | {"usage": usage}
    stored = StoredResponse(items, response, [], prompt, cache_salts_by_name(request, model))
    if profile.bills_writes:
        read = result.cache_read_tokens
        response |= _prompt_cache_fields(context, body, stored, read, profile.ttl)
    stored.events = list(stream_events(response, bool(body.get("background"))))
    context.store_value(str(response["id"]), stored)
    if key := _conversation_id(body):
        context.store_value(key, [*items, *response["output"]])
    return stored, commit


def _items_with_history(context: EmulatorContext, body: JSONObject) -> list[Any]:
    """Return the whole input: the items that the server stores, then those of the request."""
    given = body.get("input")
    new: list[Any] = (
        [{"role": "user", "content": given}]
        if isinstance(given, str)
        else list(as_json_objects(given))
    )
    if key := _conversation_id(body):
        return [*(context.stored_value(key) or ()), *new]
    if not (parent := body.get("previous_response_id")):
        return new
    previous: StoredResponse | None = context.stored_value(str(parent))
    if previous is None:
        raise ProviderError(400, f"Previous response with id '{parent}' not found.")
    return [*previous.items, *previous.response["output"], *new]


def _conversation_id(body: JSONObject) -> str | None:
    """Return the name under which the items of the request's conversation are stored."""
    given = body.get("conversation")
    return f"conversation/{as_json_object(given).get('id', given)}" if given else None


def _build_reply_request(request: ProviderRequest, items: list[Any]) -> ReplyRequest:
    body = request.body
    tools = {
        tool["name"]: tool.get("parameters")
        for tool in as_json_objects(body.get("tools"))
        if tool.get("type") == "function"
    }
    choice = body.get("tool_choice") or "auto"
    text_format = as_json_object(as_json_object(body.get("text")).get("format"))
    schemas: JSONObject = {
        "json_schema": text_format.get("schema"),
        "json_object": {"type": "object"},
    }
    last: JSONObject = items[-1] if items else {}
    return ReplyRequest(
        last_text=content_text(last.get("content")) or str(last.get("output", "")),
        tools=tools,
        tool_choice=choice if isinstance(choice, str) else str(choice.get("name", "auto")),
        is_tool_result=str(last.get("type", "")).endswith("_output"),
        json_schema=schemas.get(str(text_format.get("type"))),
        word_count=request.word_count,
    )


def _response_body(
    context: EmulatorContext, request: ProviderRequest, model: str, reply: Reply
) -> JSONObject:
    """Return the finished response without its usage."""
    body, fault = request.body, request.fault
    now = int(context.clock())
    status = "completed"
    if fault.is_failed:
        status = "failed"
    elif fault.is_incomplete:
        status = "incomplete"
    failure = {"code": "server_error", "message": "A fault on demand"}
    given = {name: body[name] for name in _REQUEST_DEFAULTS if body.get(name) is not None}
    return {
        "id": new_id("resp_", 48),
        "object": "response",
        "created_at": now,
        "status": status,
        "completed_at": now if status == "completed" else None,
        "error": failure if fault.is_failed else None,
        "incomplete_details": {"reason": "max_output_tokens"} if fault.is_incomplete else None,
        "model": snapshot_name(model),
        "output": [] if fault.is_failed else list(_output_items(reply, status)),
        "service_tier": reported_tier(body),
        "store": body.get("store", True),
        "user": None,
        **_REQUEST_DEFAULTS,
        **given,
    }


def _output_items(reply: Reply, status: str) -> Iterator[JSONObject]:
    for call in reply.calls:
        yield {
            "id": new_id("fc_", 48),
            "type": "function_call",
            "status": status,
            "call_id": new_id("call_"),
            "name": call.name,
            "arguments": call.arguments_json,
        }
    if reply.text:
        content: JSONObject = {
            "type": "output_text",
            "text": reply.text,
            "annotations": [],
            "logprobs": [],
        }
        yield {
            "id": new_id("msg_", 48),
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": [content],
        }


def _prompt_cache_fields(
    context: EmulatorContext,
    body: JSONObject,
    stored: StoredResponse,
    cache_read_tokens: int,
    default_ttl: str,
) -> JSONObject:
    """Return the cache options that were applied, and a diagnosis if the request asks for one.

    Only GPT-5.6 and later report them.
    """
    requested = as_json_object(body.get("prompt_cache_options"))
    applied: JSONObject = {
        "mode": requested.get("mode", "implicit"),
        "ttl": requested.get("ttl", default_ttl),
    }
    if not (other := requested.get("comparison_response_id")):
        return {"prompt_cache_options": applied}
    applied["comparison_response_id"] = other
    previous: StoredResponse | None = context.stored_value(str(other))
    return {
        "prompt_cache_options": applied,
        "prompt_cache_diagnostics": diagnose_miss(previous, stored, cache_read_tokens),
    }


def get_response(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `GET /responses/{id}`.

    It returns the same usage again. For a background response this is the first time.
    """
    response_id = request.path_params["id"]
    stored: StoredResponse | None = context.stored_value(response_id)
    if stored is None:
        raise ProviderError(404, f"Response with id '{response_id}' not found.")
    if request.query.get("stream") == "true":
        after = int(request.query.get("starting_after", -1))
        return ProviderResponse(
            events=[event for event in stored.events if event["sequence_number"] > after],
            encode_event=encode_named_sse,
            media_type=MEDIA_TYPE,
        )
    stored.polls_until_done -= 1
    if stored.polls_until_done > 0:
        return ProviderResponse(stored.response | UNFINISHED_FIELDS | {"status": "in_progress"})
    return ProviderResponse(stored.response)


def compact_response(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `POST /responses/compact`: the user's messages and one opaque item.

    The compaction has a usage of its own.
    """
    body = request.body
    model = requested_model(request)
    items = _items_with_history(context, body)
    prompt = parse_prompt(request, model, items, body.get("instructions"))
    plan, profile = plan_cache(context, request, model, prompt)
    result, commit = context.run_cache_plan(request, model, plan, _COMPACTION_TOKENS)
    messages = [_user_message(item) for item in items if item.get("role") == "user"]
    compaction = {
        "type": "compaction",
        "id": new_id("cmp_", 48),
        "encrypted_content": new_id("gAAAA", 64),
    }
    response: JSONObject = {
        "id": new_id("resp_", 48),
        "object": "response.compaction",
        "created_at": int(context.clock()),
        "output": [*messages, compaction],
        "usage": responses_usage(result, profile, _COMPACTION_TOKENS, 0),
    }
    return ProviderResponse(response, commit=commit)


def _user_message(item: JSONObject) -> JSONObject:
    return {
        "type": "message",
        "id": new_id("msg_", 48),
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_text", "text": content_text(item.get("content"))}],
    }


_RESPONSES_PATH: Final = r"(/[a-z-]+)?(/openai)?(/v1)?/responses"
ROUTES: Final[tuple[Route, ...]] = (
    Route("POST", _RESPONSES_PATH, create_response, error_body),
    Route("POST", _RESPONSES_PATH + "/compact", compact_response, error_body),
    Route("GET", _RESPONSES_PATH + "/(?P<id>[^/]+)", get_response, error_body),
)
