"""Gemini's Interactions API: plain and streamed, continued by `previous_interaction_id`, read again later."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from promptcache.emulator.cache import MESSAGES, SYSTEM, Outcome, Piece
from promptcache.emulator.gemini import refuse, settle
from promptcache.emulator.plain import JSON, compact, dump, is_array, obj, rows, text_of
from promptcache.emulator.replies import Ask, Reply, reply
from promptcache.emulator.wire import Answer, Host, Incoming, Refused, Route, unique


def create(host: Host, incoming: Incoming) -> Answer:
    """`POST interactions`."""
    body = incoming.body
    model = str(body.get("model") or body.get("agent") or "").rpartition("/")[2]
    if not model or not body.get("input"):
        raise Refused(400, "model and input are required")
    steps = _steps(host, body)
    own = (
        [Piece(f"system\n{body['system_instruction']}", SYSTEM)]
        if body.get("system_instruction")
        else []
    )
    own += [Piece(compact(tool), SYSTEM) for tool in rows(body.get("tools"))]
    own += [Piece(compact(step), MESSAGES) for step in steps]
    said = reply(_ask(incoming, steps))
    outcome, commit = settle(host, incoming, model, own, said.tokens + 16)
    interaction = _interaction(host, incoming, model, said, outcome)
    host.keep(str(interaction["id"]), (steps, interaction))
    if not body.get("stream"):
        return Answer(interaction, commit=commit)
    breaks = {
        "event_type": "error",
        "error": {"code": "unavailable", "message": "The model is overloaded."},
    }
    events = list[Any](_events(interaction))
    return Answer(
        events=events, frame=_sse, media="text/event-stream", commit=commit, breaks=breaks
    )


def _steps(host: Host, body: JSON) -> list[JSON]:
    """The whole input: what the server holds of earlier interactions, then what the request brings."""
    given = body["input"]
    brought = rows(given) if is_array(given) else [{"type": "text", "text": str(given)}]
    steps = [
        item
        if item.get("content") or "result" in item
        else {"type": "user_input", "content": [item]}
        for item in brought
    ]
    if not (parent := body.get("previous_interaction_id")):
        return steps
    held: tuple[list[JSON], JSON] | None = host.kept(str(parent))
    if held is None:
        raise Refused(404, f"interaction {parent} not found")
    return [*held[0], *rows(held[1]["steps"]), *steps]


def _ask(incoming: Incoming, steps: list[JSON]) -> Ask:
    body = incoming.body
    form = obj(body.get("response_format"))
    return Ask(
        last=text_of(steps[-1].get("content")),
        tools={
            tool["name"]: tool.get("parameters") or {}
            for tool in rows(body.get("tools"))
            if "name" in tool
        },
        answered=steps[-1].get("type") == "function_result",
        schema=form.get("schema"),
        words=int(incoming.headers.get("x-emulator-words", 8)),
    )


def _interaction(host: Host, incoming: Incoming, model: str, said: Reply, outcome: Outcome) -> JSON:
    fault = incoming.fault
    now = datetime.fromtimestamp(host.clock(), UTC).isoformat().replace("+00:00", "Z")
    steps: list[JSON] = [
        {
            "type": "function_call",
            "id": unique("fc_"),
            "name": call.name,
            "arguments": call.arguments,
        }
        for call in said.calls
    ]
    if said.text:
        steps.append({"type": "model_output", "content": [{"type": "text", "text": said.text}]})
    status = "failed" if fault.failed else "incomplete" if fault.incomplete else "completed"
    return {
        "id": unique("v1_", 40),
        "object": "interaction",
        "model": model,
        "status": "requires_action" if said.calls and status == "completed" else status,
        "created": now,
        "updated": now,
        "steps": steps,
        "usage": _usage(outcome, said.tokens),
    }


def _usage(outcome: Outcome, said: int) -> JSON:
    """`usage` of an interaction (google-genai 3.4.0, _gaos/types/interactions/usage.py)."""
    return {
        "total_input_tokens": outcome.input,
        "input_tokens_by_modality": [{"modality": "text", "tokens": outcome.input}],
        "total_cached_tokens": outcome.read,
        "total_output_tokens": said,
        "total_thought_tokens": 16,
        "total_tool_use_tokens": 0,
        "total_tokens": outcome.input + said + 16,
    }


def _events(interaction: JSON) -> Iterator[JSON]:
    """The stream; the usage stands in the last event alone."""
    begun = {key: value for key, value in interaction.items() if key not in {"steps", "usage"}}
    yield {"event_type": "interaction.created", "interaction": begun | {"status": "in_progress"}}
    for index, step in enumerate(interaction["steps"]):
        empty: JSON = {"content": []} if "content" in step else {}
        yield {"event_type": "step.start", "index": index, "step": step | empty}
        for word in Reply(text_of(step.get("content"))).chunks:
            yield {
                "event_type": "step.delta",
                "index": index,
                "delta": {"type": "text", "text": word},
            }
        yield {"event_type": "step.stop", "index": index}
    yield {"event_type": "interaction.completed", "interaction": interaction}


def _sse(event: JSON) -> bytes:
    return b"event: " + str(event["event_type"]).encode() + b"\ndata: " + dump(event) + b"\n\n"


def retrieve(host: Host, incoming: Incoming) -> Answer:
    """`GET interactions/{id}`: the same usage again."""
    held: tuple[list[JSON], JSON] | None = host.kept(incoming.params["id"])
    if held is None:
        raise Refused(404, f"interaction {incoming.params['id']} not found")
    return Answer(held[1])


_PATH: Final = r"/v\d\w*(/projects/[^/]+/locations/[^/]+)?/interactions"
ROUTES: Final[tuple[Route, ...]] = (
    Route("POST", _PATH, create, refuse),
    Route("GET", _PATH + r"/(?P<id>[^/]+)", retrieve, refuse),
)
