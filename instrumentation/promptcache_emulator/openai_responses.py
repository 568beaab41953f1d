"""Responses: plain and streamed, in the background, read again later, compacted, diagnosed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from promptcache_emulator import openai
from promptcache_emulator.cache import CachePlan
from promptcache_emulator.json_util import JSONObject, as_object, as_objects, content_text
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


@dataclass(slots=True)
class StoredResponse:
    """What the server keeps of a response: its input, its final form, its events, what its prefix was made of."""

    items: list[Any]
    response: JSONObject
    events: list[JSONObject]
    plan: CachePlan
    salts: dict[str, str]
    polls_until_done: int = 0
    extra: JSONObject = field(default_factory=dict[str, Any])


def create_response(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """`POST /responses`."""
    body = request.body
    held, commit = run_request(context, request)
    if body.get("stream"):
        broken = {
            "type": "error",
            "code": "server_error",
            "message": "The server had an error",
            "param": None,
            "sequence_number": len(held.events),
        }
        return ProviderResponse(
            events=held.events,
            encode_event=encode_named_sse,
            media_type="text/event-stream",
            commit=commit,
            error_event=broken,
        )
    if body.get("background"):
        held.polls_until_done = int(request.headers.get("x-emulator-polls", 1))
        return ProviderResponse(
            held.response | _UNFINISHED_FIELDS | {"status": "queued"}, commit=commit
        )
    return ProviderResponse(held.response, commit=commit)


_UNFINISHED_FIELDS: Final[JSONObject] = {
    "output": [],
    "usage": None,
    "completed_at": None,
    "error": None,
}


def run_request(context: EmulatorContext, request: ProviderRequest) -> tuple[StoredResponse, Any]:
    """Runs one request against the cache and keeps the response under its id."""
    body = request.body
    model = openai.requested_model(request)
    items = _all_items(context, body)
    plan, rules = openai.plan_cache(
        context,
        request,
        model,
        openai.parse_prompt(request, model, items, body.get("instructions")),
    )
    silent = bool(as_object(body.get("prompt_cache_options")).get("prewarm"))
    said = Reply() if silent else generate_reply(_reply_request(request, items))
    thought = 0 if silent else openai.count_reasoning_tokens(model, body)
    output = 0 if silent else openai.count_output_tokens(said.token_count, thought)
    outcome, commit = context.run_cache_plan(request, model, plan, output)
    salts = openai.named_salts(request, model)
    final = _response_body(context, request, model, said) | {
        "usage": openai.responses_usage(outcome, rules, output, thought)
    }
    if rules.bills:
        final |= _cache_options_fields(
            context,
            body,
            StoredResponse(items, final, [], plan, salts),
            outcome.cache_read_tokens,
            rules.ttl,
        )
    held = StoredResponse(
        items, final, list(_stream_events(final, bool(body.get("background")))), plan, salts
    )
    context.store_value(str(final["id"]), held)
    if talk := _conversation_key(body):
        context.store_value(talk, [*items, *final["output"]])
    return held, commit


def _all_items(context: EmulatorContext, body: JSONObject) -> list[Any]:
    """The whole input: what the server holds of earlier responses, then what the request brings."""
    given = body.get("input")
    new: list[Any] = (
        [{"role": "user", "content": given}] if isinstance(given, str) else list(as_objects(given))
    )
    if talk := _conversation_key(body):
        return [*(context.stored_value(talk) or ()), *new]
    if not (parent := body.get("previous_response_id")):
        return new
    earlier: StoredResponse | None = context.stored_value(str(parent))
    if earlier is None:
        raise ProviderError(400, f"Previous response with id '{parent}' not found.")
    return [*earlier.items, *earlier.response["output"], *new]


def _conversation_key(body: JSONObject) -> str | None:
    """Where the items of the request's conversation are kept."""
    given = body.get("conversation")
    return f"conversation/{as_object(given).get('id', given)}" if given else None


def _reply_request(request: ProviderRequest, items: list[Any]) -> ReplyRequest:
    body = request.body
    tools = {
        tool["name"]: tool.get("parameters")
        for tool in as_objects(body.get("tools"))
        if tool.get("type") == "function"
    }
    choice = body.get("tool_choice") or "auto"
    form = as_object(as_object(body.get("text")).get("format"))
    schemas: JSONObject = {"json_schema": form.get("schema"), "json_object": {"type": "object"}}
    last: JSONObject = items[-1] if items else {}
    return ReplyRequest(
        last_text=content_text(last.get("content")) or str(last.get("output", "")),
        tools=tools,
        tool_choice=choice if isinstance(choice, str) else str(choice.get("name", "auto")),
        is_tool_result=str(last.get("type", "")).endswith("_output"),
        json_schema=schemas.get(str(form.get("type"))),
        word_count=int(request.headers.get("x-emulator-words", 8)),
    )


def _response_body(
    context: EmulatorContext, request: ProviderRequest, model: str, reply: Reply
) -> JSONObject:
    """The response as it is in the end, less its usage."""
    body, fault = request.body, request.fault
    now = context.clock()
    status = "failed" if fault.failed else "incomplete" if fault.incomplete else "completed"
    echoed = {name: body[name] for name in _REQUEST_DEFAULTS if body.get(name) is not None}
    error = {"code": "server_error", "message": "A fault on demand"} if fault.failed else None
    return {
        "id": new_id("resp_", 48),
        "object": "response",
        "created_at": int(now),
        "status": status,
        "completed_at": int(now) if status == "completed" else None,
        "error": error,
        "incomplete_details": {"reason": "max_output_tokens"} if fault.incomplete else None,
        "model": openai.snapshot_name(model),
        "output": [] if fault.failed else list(_output_items(reply, status)),
        "service_tier": openai.reported_tier(body),
        "store": body.get("store", True),
        "user": None,
        **_REQUEST_DEFAULTS,
        **echoed,
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


def _cache_options_fields(
    context: EmulatorContext,
    body: JSONObject,
    stored: StoredResponse,
    cache_read_tokens: int,
    ttl: str,
) -> JSONObject:
    """What GPT-5.6 and later say about the cache: the options applied, and a diagnosis where one is asked for."""
    asked = as_object(body.get("prompt_cache_options"))
    applied: JSONObject = {"mode": asked.get("mode", "implicit"), "ttl": asked.get("ttl", ttl)}
    if not (other := asked.get("comparison_response_id")):
        return {"prompt_cache_options": applied}
    applied["comparison_response_id"] = other
    return {
        "prompt_cache_options": applied,
        "prompt_cache_diagnostics": diagnose_miss(
            context.stored_value(str(other)), stored, cache_read_tokens
        ),
    }


def diagnose_miss(
    previous: StoredResponse | None, current: StoredResponse, cache_read_tokens: int
) -> JSONObject:
    """OpenAI's own word on a miss: the first reason in its order, and what could have been reused.

    Diagnostics page of autumn 2026; it explains neither expiry nor breakpoints, and says `unavailable` then.
    """
    if previous is None:
        return {"type": "comparison_response_not_found"}
    before, now = previous.plan.prompt, current.plan.prompt
    same = 0
    for old, new in zip(before.blocks, now.blocks, strict=False):
        if old.text != new.text:
            break
        same += 1
    shared = now.end_offsets[same - 1] if same else 0
    changed = [name for name, value in current.salts.items() if value != previous.salts.get(name)]
    tools = [
        [piece.text for piece in prompt.blocks if piece.level == 0] for prompt in (before, now)
    ]
    if (
        "tools_changed" not in changed
        and tools[0] != tools[1]
        and "text_format_changed" not in changed
    ):
        changed.append("tools_changed")
    changed.sort(key=list(current.salts).index)
    if not changed and same < len(before.blocks):
        changed.append("input_changed")
    if not changed:
        return {"type": "cache_hit" if cache_read_tokens else "unavailable"}
    reusable = shared if changed[0] == "input_changed" else 0
    return {
        "type": "cache_miss",
        "reason": changed[0],
        "cache_missed_tokens": before.total_tokens - reusable,
        "comparison_reusable_tokens": shared,
    }


def _stream_events(response: JSONObject, background: bool) -> Iterator[JSONObject]:
    """The stream of a response, numbered."""
    for number, event in enumerate(_unnumbered_events(response, background)):
        yield event | {"sequence_number": number}


def _unnumbered_events(response: JSONObject, background: bool) -> Iterator[JSONObject]:
    begun = response | _UNFINISHED_FIELDS | {"status": "in_progress", "incomplete_details": None}
    yield {
        "type": "response.created",
        "response": begun | ({"status": "queued"} if background else {}),
    }
    if background:
        yield {"type": "response.queued", "response": begun | {"status": "queued"}}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(response["output"]):
        yield from _item_events(index, item)
    yield {"type": f"response.{response['status']}", "response": response}


def _item_events(index: int, item: JSONObject) -> Iterator[JSONObject]:
    at: JSONObject = {"output_index": index}
    empty: JSONObject = {"arguments": ""} if item["type"] == "function_call" else {"content": []}
    yield {
        "type": "response.output_item.added",
        "item": item | {"status": "in_progress"} | empty,
        **at,
    }
    named = at | {"item_id": item["id"]}
    if item["type"] == "function_call":
        said = item["arguments"]
        yield {"type": "response.function_call_arguments.delta", "delta": said, **named}
        yield {
            "type": "response.function_call_arguments.done",
            "arguments": said,
            "name": item["name"],
            **named,
        }
    for number, part in enumerate(item.get("content", [])):
        here = named | {"content_index": number}
        yield {"type": "response.content_part.added", "part": part | {"text": ""}, **here}
        for word in Reply(part["text"]).chunks:
            yield {"type": "response.output_text.delta", "delta": word, "logprobs": [], **here}
        yield {"type": "response.output_text.done", "text": part["text"], "logprobs": [], **here}
        yield {"type": "response.content_part.done", "part": part, **here}
    yield {"type": "response.output_item.done", "item": item, **at}


def get_response(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """`GET /responses/{id}`: the same usage again; of a background response, for the first time."""
    held: StoredResponse | None = context.stored_value(request.path_params["id"])
    if held is None:
        raise ProviderError(404, f"Response with id '{request.path_params['id']}' not found.")
    if request.query.get("stream") == "true":
        after = int(request.query.get("starting_after", -1))
        events = [event for event in held.events if event["sequence_number"] > after]
        return ProviderResponse(
            events=events, encode_event=encode_named_sse, media_type="text/event-stream"
        )
    held.polls_until_done -= 1
    if held.polls_until_done > 0:
        return ProviderResponse(held.response | _UNFINISHED_FIELDS | {"status": "in_progress"})
    return ProviderResponse(held.response)


def compact_response(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """`POST /responses/compact`: the user's messages and one opaque item; the pass has a usage of its own."""
    body = request.body
    model = openai.requested_model(request)
    items = _all_items(context, body)
    plan, rules = openai.plan_cache(
        context,
        request,
        model,
        openai.parse_prompt(request, model, items, body.get("instructions")),
    )
    outcome, commit = context.run_cache_plan(request, model, plan, 24)
    kept = [
        {
            "type": "message",
            "id": new_id("msg_", 48),
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_text", "text": content_text(item.get("content"))}],
        }
        for item in items
        if item.get("role") == "user"
    ]
    opaque = {
        "type": "compaction",
        "id": new_id("cmp_", 48),
        "encrypted_content": new_id("gAAAA", 64),
    }
    whole: JSONObject = {
        "id": new_id("resp_", 48),
        "object": "response.compaction",
        "created_at": int(context.clock()),
    }
    usage = openai.responses_usage(outcome, rules, 24, 0)
    return ProviderResponse(whole | {"output": [*kept, opaque], "usage": usage}, commit=commit)


_RESPONSES_PATH: Final = r"(/[a-z-]+)?(/openai)?(/v1)?/responses"
ROUTES: Final[tuple[Route, ...]] = (
    Route("POST", _RESPONSES_PATH, create_response, openai.error_body),
    Route("POST", _RESPONSES_PATH + "/compact", compact_response, openai.error_body),
    Route("GET", _RESPONSES_PATH + "/(?P<id>[^/]+)", get_response, openai.error_body),
)
