"""Gemini's Interactions API: plain and streamed, continued by `previous_interaction_id`, read again later."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from promptcache_emulator.cache import MESSAGES, SYSTEM, CacheResult, PromptBlock
from promptcache_emulator.gemini import error_body, use_named_or_implicit_cache
from promptcache_emulator.json_util import (
    JSONObject,
    as_object,
    as_objects,
    content_text,
    is_array,
    to_compact_json,
    to_json_bytes,
)
from promptcache_emulator.replies import Reply, ReplyRequest, generate_reply
from promptcache_emulator.wire import (
    EmulatorContext,
    ProviderError,
    ProviderRequest,
    ProviderResponse,
    Route,
    new_id,
)


def create_interaction(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """`POST interactions`."""
    body = request.body
    model = str(body.get("model") or body.get("agent") or "").rpartition("/")[2]
    if not model or not body.get("input"):
        raise ProviderError(400, "model and input are required")
    steps = _all_steps(context, body)
    own = (
        [PromptBlock(f"system\n{body['system_instruction']}", SYSTEM)]
        if body.get("system_instruction")
        else []
    )
    own += [PromptBlock(to_compact_json(tool), SYSTEM) for tool in as_objects(body.get("tools"))]
    own += [PromptBlock(to_compact_json(step), MESSAGES) for step in steps]
    said = generate_reply(_reply_request(request, steps))
    outcome, commit = use_named_or_implicit_cache(
        context, request, model, own, said.token_count + 16
    )
    interaction = _interaction_body(context, request, model, said, outcome)
    context.store_value(str(interaction["id"]), (steps, interaction))
    if not body.get("stream"):
        return ProviderResponse(interaction, commit=commit)
    breaks = {
        "event_type": "error",
        "error": {"code": "unavailable", "message": "The model is overloaded."},
    }
    events = list[Any](_stream_events(interaction))
    return ProviderResponse(
        events=events,
        encode_event=_encode_event,
        media_type="text/event-stream",
        commit=commit,
        error_event=breaks,
    )


def _all_steps(context: EmulatorContext, body: JSONObject) -> list[JSONObject]:
    """The whole input: what the server holds of earlier interactions, then what the request brings."""
    given = body["input"]
    brought = as_objects(given) if is_array(given) else [{"type": "text", "text": str(given)}]
    steps = [
        item
        if item.get("content") or "result" in item
        else {"type": "user_input", "content": [item]}
        for item in brought
    ]
    if not (parent := body.get("previous_interaction_id")):
        return steps
    held: tuple[list[JSONObject], JSONObject] | None = context.stored_value(str(parent))
    if held is None:
        raise ProviderError(404, f"interaction {parent} not found")
    return [*held[0], *as_objects(held[1]["steps"]), *steps]


def _reply_request(request: ProviderRequest, steps: list[JSONObject]) -> ReplyRequest:
    body = request.body
    form = as_object(body.get("response_format"))
    return ReplyRequest(
        last_text=content_text(steps[-1].get("content")),
        tools={
            tool["name"]: tool.get("parameters") or {}
            for tool in as_objects(body.get("tools"))
            if "name" in tool
        },
        is_tool_result=steps[-1].get("type") == "function_result",
        json_schema=form.get("schema"),
        word_count=int(request.headers.get("x-emulator-words", 8)),
    )


def _interaction_body(
    context: EmulatorContext,
    request: ProviderRequest,
    model: str,
    reply: Reply,
    result: CacheResult,
) -> JSONObject:
    fault = request.fault
    now = datetime.fromtimestamp(context.clock(), UTC).isoformat().replace("+00:00", "Z")
    steps: list[JSONObject] = [
        {
            "type": "function_call",
            "id": new_id("fc_"),
            "name": call.name,
            "arguments": call.arguments,
        }
        for call in reply.calls
    ]
    if reply.text:
        steps.append({"type": "model_output", "content": [{"type": "text", "text": reply.text}]})
    status = "failed" if fault.failed else "incomplete" if fault.incomplete else "completed"
    return {
        "id": new_id("v1_", 40),
        "object": "interaction",
        "model": model,
        "status": "requires_action" if reply.calls and status == "completed" else status,
        "created": now,
        "updated": now,
        "steps": steps,
        "usage": _usage_body(result, reply.token_count),
    }


def _usage_body(result: CacheResult, output_tokens: int) -> JSONObject:
    """`usage` of an interaction (google-genai 3.4.0, _gaos/types/interactions/usage.py)."""
    return {
        "total_input_tokens": result.input_tokens,
        "input_tokens_by_modality": [{"modality": "text", "tokens": result.input_tokens}],
        "total_cached_tokens": result.cache_read_tokens,
        "total_output_tokens": output_tokens,
        "total_thought_tokens": 16,
        "total_tool_use_tokens": 0,
        "total_tokens": result.input_tokens + output_tokens + 16,
    }


def _stream_events(interaction: JSONObject) -> Iterator[JSONObject]:
    """The stream; the usage stands in the last event alone."""
    begun = {key: value for key, value in interaction.items() if key not in {"steps", "usage"}}
    yield {"event_type": "interaction.created", "interaction": begun | {"status": "in_progress"}}
    for index, step in enumerate(interaction["steps"]):
        empty: JSONObject = {"content": []} if "content" in step else {}
        yield {"event_type": "step.start", "index": index, "step": step | empty}
        for word in Reply(content_text(step.get("content"))).chunks:
            yield {
                "event_type": "step.delta",
                "index": index,
                "delta": {"type": "text", "text": word},
            }
        yield {"event_type": "step.stop", "index": index}
    yield {"event_type": "interaction.completed", "interaction": interaction}


def _encode_event(event: JSONObject) -> bytes:
    return (
        b"event: "
        + str(event["event_type"]).encode()
        + b"\ndata: "
        + to_json_bytes(event)
        + b"\n\n"
    )


def get_interaction(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """`GET interactions/{id}`: the same usage again."""
    held: tuple[list[JSONObject], JSONObject] | None = context.stored_value(
        request.path_params["id"]
    )
    if held is None:
        raise ProviderError(404, f"interaction {request.path_params['id']} not found")
    return ProviderResponse(held[1])


_INTERACTIONS_PATH: Final = r"/v\d\w*(/projects/[^/]+/locations/[^/]+)?/interactions"
ROUTES: Final[tuple[Route, ...]] = (
    Route("POST", _INTERACTIONS_PATH, create_interaction, error_body),
    Route("GET", _INTERACTIONS_PATH + r"/(?P<id>[^/]+)", get_interaction, error_body),
)
