"""Gemini interactions, plain and streamed, continued by `previous_interaction_id`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from promptcache_emulator.cache import CacheResult
from promptcache_emulator.context import EmulatorContext
from promptcache_emulator.errors import ProviderError
from promptcache_emulator.google.cache import use_named_or_implicit_cache
from promptcache_emulator.google.errors import error_body
from promptcache_emulator.google.paths import VERSION_PATH
from promptcache_emulator.identifiers import new_id
from promptcache_emulator.json_util import (
    JSONObject,
    as_json_object,
    as_json_objects,
    content_text,
    is_json_array,
    to_compact_json,
    to_json_bytes,
)
from promptcache_emulator.prompt_layout import MESSAGES, SYSTEM, PromptBlock
from promptcache_emulator.replies import Reply, ReplyRequest, generate_reply
from promptcache_emulator.request import ProviderRequest
from promptcache_emulator.response import ProviderResponse
from promptcache_emulator.routing import Route
from promptcache_emulator.sse import MEDIA_TYPE

_THINKING_TOKENS: Final = 16
_ERROR_EVENT: Final[JSONObject] = {
    "event_type": "error",
    "error": {"code": "unavailable", "message": "The model is overloaded."},
}


def create_interaction(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `POST interactions`."""
    body = request.body
    model = str(body.get("model") or body.get("agent") or "").rpartition("/")[2]
    if not model or not body.get("input"):
        raise ProviderError(400, "model and input are required")
    steps = _steps_with_history(context, body)
    reply = generate_reply(_build_reply_request(request, steps))
    result, commit = use_named_or_implicit_cache(
        context, request, model, _prompt_blocks(body, steps), reply.token_count + _THINKING_TOKENS
    )
    interaction = _interaction_body(context, request, model, reply, result)
    context.store_value(str(interaction["id"]), (steps, interaction))
    if not body.get("stream"):
        return ProviderResponse(interaction, commit=commit)
    return ProviderResponse(
        events=list(_stream_events(interaction)),
        encode_event=_encode_stream_event,
        media_type=MEDIA_TYPE,
        commit=commit,
        error_event=_ERROR_EVENT,
    )


def _prompt_blocks(body: JSONObject, steps: list[JSONObject]) -> list[PromptBlock]:
    system = body.get("system_instruction")
    blocks = [PromptBlock(f"system\n{system}", SYSTEM)] if system else []
    blocks += [
        PromptBlock(to_compact_json(tool), SYSTEM) for tool in as_json_objects(body.get("tools"))
    ]
    return [*blocks, *(PromptBlock(to_compact_json(step), MESSAGES) for step in steps)]


def _steps_with_history(context: EmulatorContext, body: JSONObject) -> list[JSONObject]:
    """Return the whole input: the steps that the server stores, then those of the request."""
    given = body["input"]
    items = (
        as_json_objects(given) if is_json_array(given) else [{"type": "text", "text": str(given)}]
    )
    steps = [_item_as_step(item) for item in items]
    if not (parent := body.get("previous_interaction_id")):
        return steps
    earlier_steps, interaction = _find_interaction(context, str(parent))
    return [*earlier_steps, *as_json_objects(interaction["steps"]), *steps]


def _item_as_step(item: JSONObject) -> JSONObject:
    if item.get("content") or "result" in item:
        return item
    return {"type": "user_input", "content": [item]}


def _find_interaction(
    context: EmulatorContext, interaction_id: str
) -> tuple[list[JSONObject], JSONObject]:
    """Return the input steps of an interaction and the interaction. Raise ProviderError."""
    found: tuple[list[JSONObject], JSONObject] | None = context.stored_value(interaction_id)
    if found is None:
        raise ProviderError(404, f"interaction {interaction_id} not found")
    return found


def _build_reply_request(request: ProviderRequest, steps: list[JSONObject]) -> ReplyRequest:
    body = request.body
    return ReplyRequest(
        last_text=content_text(steps[-1].get("content")),
        tools={
            tool["name"]: tool.get("parameters") or {}
            for tool in as_json_objects(body.get("tools"))
            if "name" in tool
        },
        is_tool_result=steps[-1].get("type") == "function_result",
        json_schema=as_json_object(body.get("response_format")).get("schema"),
        word_count=request.word_count,
    )


def _interaction_body(
    context: EmulatorContext,
    request: ProviderRequest,
    model: str,
    reply: Reply,
    result: CacheResult,
) -> JSONObject:
    now = datetime.fromtimestamp(context.clock(), UTC).isoformat().replace("+00:00", "Z")
    return {
        "id": new_id("v1_", 40),
        "object": "interaction",
        "model": model,
        "status": _interaction_status(request, reply),
        "created": now,
        "updated": now,
        "steps": list(_output_steps(reply)),
        "usage": _interaction_usage(result, reply.token_count),
    }


def _interaction_status(request: ProviderRequest, reply: Reply) -> str:
    if request.fault.is_failed:
        return "failed"
    if request.fault.is_incomplete:
        return "incomplete"
    return "requires_action" if reply.calls else "completed"


def _output_steps(reply: Reply) -> Iterator[JSONObject]:
    for call in reply.calls:
        yield {
            "type": "function_call",
            "id": new_id("fc_"),
            "name": call.name,
            "arguments": call.arguments,
        }
    if reply.text:
        yield {"type": "model_output", "content": [{"type": "text", "text": reply.text}]}


def _interaction_usage(result: CacheResult, output_tokens: int) -> JSONObject:
    """Return `usage` (google-genai 3.4.0, _gaos/types/interactions/usage.py)."""
    return {
        "total_input_tokens": result.input_tokens,
        "input_tokens_by_modality": [{"modality": "text", "tokens": result.input_tokens}],
        "total_cached_tokens": result.cache_read_tokens,
        "total_output_tokens": output_tokens,
        "total_thought_tokens": _THINKING_TOKENS,
        "total_tool_use_tokens": 0,
        "total_tokens": result.input_tokens + output_tokens + _THINKING_TOKENS,
    }


def _stream_events(interaction: JSONObject) -> Iterator[JSONObject]:
    """Yield the stream. Only the last event has the usage."""
    start = {key: value for key, value in interaction.items() if key not in {"steps", "usage"}}
    in_progress = start | {"status": "in_progress"}
    yield {"event_type": "interaction.created", "interaction": in_progress}
    for index, step in enumerate(interaction["steps"]):
        empty: JSONObject = {"content": []} if "content" in step else {}
        yield {"event_type": "step.start", "index": index, "step": step | empty}
        for word in Reply(content_text(step.get("content"))).chunks:
            delta = {"type": "text", "text": word}
            yield {"event_type": "step.delta", "index": index, "delta": delta}
        yield {"event_type": "step.stop", "index": index}
    yield {"event_type": "interaction.completed", "interaction": interaction}


def _encode_stream_event(event: Any) -> bytes:
    return (
        b"event: "
        + str(event["event_type"]).encode()
        + b"\ndata: "
        + to_json_bytes(event)
        + b"\n\n"
    )


def get_interaction(context: EmulatorContext, request: ProviderRequest) -> ProviderResponse:
    """Answer `GET interactions/{id}`. It returns the same usage again."""
    _, interaction = _find_interaction(context, request.path_params["id"])
    return ProviderResponse(interaction)


_INTERACTIONS_PATH: Final = VERSION_PATH + r"/interactions"
ROUTES: Final[tuple[Route, ...]] = (
    Route("POST", _INTERACTIONS_PATH, create_interaction, error_body),
    Route("GET", _INTERACTIONS_PATH + r"/(?P<id>[^/]+)", get_interaction, error_body),
)
