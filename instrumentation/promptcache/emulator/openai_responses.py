"""Responses: plain and streamed, in the background, read again later, compacted, diagnosed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from promptcache.emulator import openai
from promptcache.emulator.cache import Plan
from promptcache.emulator.plain import JSON, obj, rows, text_of
from promptcache.emulator.replies import Ask, Reply, reply
from promptcache.emulator.wire import Answer, Host, Incoming, Refused, Route, named_sse, unique

_ECHOED: Final[JSON] = {
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
class Held:
    """What the server keeps of a response: its input, its final form, its events, what its prefix was made of."""

    items: list[Any]
    final: JSON
    events: list[JSON]
    plan: Plan
    salts: dict[str, str]
    polls: int = 0
    extra: JSON = field(default_factory=dict[str, Any])


def create(host: Host, incoming: Incoming) -> Answer:
    """`POST /responses`."""
    body = incoming.body
    held, commit = respond(host, incoming)
    if body.get("stream"):
        broken = {
            "type": "error",
            "code": "server_error",
            "message": "The server had an error",
            "param": None,
            "sequence_number": len(held.events),
        }
        return Answer(
            events=held.events,
            frame=named_sse,
            media="text/event-stream",
            commit=commit,
            breaks=broken,
        )
    if body.get("background"):
        held.polls = int(incoming.headers.get("x-emulator-polls", 1))
        return Answer(held.final | _UNFINISHED | {"status": "queued"}, commit=commit)
    return Answer(held.final, commit=commit)


_UNFINISHED: Final[JSON] = {"output": [], "usage": None, "completed_at": None, "error": None}


def respond(host: Host, incoming: Incoming) -> tuple[Held, Any]:
    """Runs one request against the cache and keeps the response under its id."""
    body = incoming.body
    model = openai.model_of(incoming)
    items = _items(host, body)
    plan, rules = openai.plan(
        host, incoming, model, openai.prompt(incoming, model, items, body.get("instructions"))
    )
    silent = bool(obj(body.get("prompt_cache_options")).get("prewarm"))
    said = Reply() if silent else reply(_ask(incoming, items))
    thought = 0 if silent else openai.reasoning(model, body)
    output = 0 if silent else openai.spoken(said.tokens, thought)
    outcome, commit = host.settle(incoming, model, plan, output)
    salts = openai.salts(incoming, model)
    final = _final(host, incoming, model, said) | {
        "usage": openai.responses_usage(outcome, rules, output, thought)
    }
    if rules.bills:
        final |= _options(host, body, Held(items, final, [], plan, salts), outcome.read, rules.ttl)
    held = Held(items, final, list(_events(final, bool(body.get("background")))), plan, salts)
    host.keep(str(final["id"]), held)
    if talk := _conversation(body):
        host.keep(talk, [*items, *final["output"]])
    return held, commit


def _items(host: Host, body: JSON) -> list[Any]:
    """The whole input: what the server holds of earlier responses, then what the request brings."""
    given = body.get("input")
    new: list[Any] = (
        [{"role": "user", "content": given}] if isinstance(given, str) else list(rows(given))
    )
    if talk := _conversation(body):
        return [*(host.kept(talk) or ()), *new]
    if not (parent := body.get("previous_response_id")):
        return new
    earlier: Held | None = host.kept(str(parent))
    if earlier is None:
        raise Refused(400, f"Previous response with id '{parent}' not found.")
    return [*earlier.items, *earlier.final["output"], *new]


def _conversation(body: JSON) -> str | None:
    """Where the items of the request's conversation are kept."""
    given = body.get("conversation")
    return f"conversation/{obj(given).get('id', given)}" if given else None


def _ask(incoming: Incoming, items: list[Any]) -> Ask:
    body = incoming.body
    tools = {
        tool["name"]: tool.get("parameters")
        for tool in rows(body.get("tools"))
        if tool.get("type") == "function"
    }
    choice = body.get("tool_choice") or "auto"
    form = obj(obj(body.get("text")).get("format"))
    schemas: JSON = {"json_schema": form.get("schema"), "json_object": {"type": "object"}}
    last: JSON = items[-1] if items else {}
    return Ask(
        last=text_of(last.get("content")) or str(last.get("output", "")),
        tools=tools,
        choice=choice if isinstance(choice, str) else str(choice.get("name", "auto")),
        answered=str(last.get("type", "")).endswith("_output"),
        schema=schemas.get(str(form.get("type"))),
        words=int(incoming.headers.get("x-emulator-words", 8)),
    )


def _final(host: Host, incoming: Incoming, model: str, said: Reply) -> JSON:
    """The response as it is in the end, less its usage."""
    body, fault = incoming.body, incoming.fault
    now = host.clock()
    status = "failed" if fault.failed else "incomplete" if fault.incomplete else "completed"
    echoed = {name: body[name] for name in _ECHOED if body.get(name) is not None}
    error = {"code": "server_error", "message": "A fault on demand"} if fault.failed else None
    return {
        "id": unique("resp_", 48),
        "object": "response",
        "created_at": int(now),
        "status": status,
        "completed_at": int(now) if status == "completed" else None,
        "error": error,
        "incomplete_details": {"reason": "max_output_tokens"} if fault.incomplete else None,
        "model": openai.snapshot(model),
        "output": [] if fault.failed else list(_output(said, status)),
        "service_tier": openai.tier_of(body),
        "store": body.get("store", True),
        "user": None,
        **_ECHOED,
        **echoed,
    }


def _output(said: Reply, status: str) -> Iterator[JSON]:
    for call in said.calls:
        yield {
            "id": unique("fc_", 48),
            "type": "function_call",
            "status": status,
            "call_id": unique("call_"),
            "name": call.name,
            "arguments": call.json,
        }
    if said.text:
        content: JSON = {
            "type": "output_text",
            "text": said.text,
            "annotations": [],
            "logprobs": [],
        }
        yield {
            "id": unique("msg_", 48),
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": [content],
        }


def _options(host: Host, body: JSON, held: Held, read: int, ttl: str) -> JSON:
    """What GPT-5.6 and later say about the cache: the options applied, and a diagnosis where one is asked for."""
    asked = obj(body.get("prompt_cache_options"))
    applied: JSON = {"mode": asked.get("mode", "implicit"), "ttl": asked.get("ttl", ttl)}
    if not (other := asked.get("comparison_response_id")):
        return {"prompt_cache_options": applied}
    applied["comparison_response_id"] = other
    return {
        "prompt_cache_options": applied,
        "prompt_cache_diagnostics": diagnose(host.kept(str(other)), held, read),
    }


def diagnose(earlier: Held | None, held: Held, read: int) -> JSON:
    """OpenAI's own word on a miss: the first reason in its order, and what could have been reused.

    Diagnostics page of autumn 2026; it explains neither expiry nor breakpoints, and says `unavailable` then.
    """
    if earlier is None:
        return {"type": "comparison_response_not_found"}
    before, now = earlier.plan.prompt, held.plan.prompt
    same = 0
    for old, new in zip(before.pieces, now.pieces, strict=False):
        if old.text != new.text:
            break
        same += 1
    shared = now.ends[same - 1] if same else 0
    changed = [name for name, value in held.salts.items() if value != earlier.salts.get(name)]
    tools = [
        [piece.text for piece in prompt.pieces if piece.level == 0] for prompt in (before, now)
    ]
    if (
        "tools_changed" not in changed
        and tools[0] != tools[1]
        and "text_format_changed" not in changed
    ):
        changed.append("tools_changed")
    changed.sort(key=list(held.salts).index)
    if not changed and same < len(before.pieces):
        changed.append("input_changed")
    if not changed:
        return {"type": "cache_hit" if read else "unavailable"}
    reusable = shared if changed[0] == "input_changed" else 0
    return {
        "type": "cache_miss",
        "reason": changed[0],
        "cache_missed_tokens": before.total - reusable,
        "comparison_reusable_tokens": shared,
    }


def _events(final: JSON, background: bool) -> Iterator[JSON]:
    """The stream of a response, numbered."""
    for number, event in enumerate(_unnumbered(final, background)):
        yield event | {"sequence_number": number}


def _unnumbered(final: JSON, background: bool) -> Iterator[JSON]:
    begun = final | _UNFINISHED | {"status": "in_progress", "incomplete_details": None}
    yield {
        "type": "response.created",
        "response": begun | ({"status": "queued"} if background else {}),
    }
    if background:
        yield {"type": "response.queued", "response": begun | {"status": "queued"}}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(final["output"]):
        yield from _item(index, item)
    yield {"type": f"response.{final['status']}", "response": final}


def _item(index: int, item: JSON) -> Iterator[JSON]:
    at: JSON = {"output_index": index}
    empty: JSON = {"arguments": ""} if item["type"] == "function_call" else {"content": []}
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


def retrieve(host: Host, incoming: Incoming) -> Answer:
    """`GET /responses/{id}`: the same usage again; of a background response, for the first time."""
    held: Held | None = host.kept(incoming.params["id"])
    if held is None:
        raise Refused(404, f"Response with id '{incoming.params['id']}' not found.")
    if incoming.query.get("stream") == "true":
        after = int(incoming.query.get("starting_after", -1))
        events = [event for event in held.events if event["sequence_number"] > after]
        return Answer(events=events, frame=named_sse, media="text/event-stream")
    held.polls -= 1
    if held.polls > 0:
        return Answer(held.final | _UNFINISHED | {"status": "in_progress"})
    return Answer(held.final)


def compact(host: Host, incoming: Incoming) -> Answer:
    """`POST /responses/compact`: the user's messages and one opaque item; the pass has a usage of its own."""
    body = incoming.body
    model = openai.model_of(incoming)
    items = _items(host, body)
    plan, rules = openai.plan(
        host, incoming, model, openai.prompt(incoming, model, items, body.get("instructions"))
    )
    outcome, commit = host.settle(incoming, model, plan, 24)
    kept = [
        {
            "type": "message",
            "id": unique("msg_", 48),
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_text", "text": text_of(item.get("content"))}],
        }
        for item in items
        if item.get("role") == "user"
    ]
    opaque = {
        "type": "compaction",
        "id": unique("cmp_", 48),
        "encrypted_content": unique("gAAAA", 64),
    }
    whole: JSON = {
        "id": unique("resp_", 48),
        "object": "response.compaction",
        "created_at": int(host.clock()),
    }
    usage = openai.responses_usage(outcome, rules, 24, 0)
    return Answer(whole | {"output": [*kept, opaque], "usage": usage}, commit=commit)


_BASE: Final = r"(/[a-z-]+)?(/openai)?(/v1)?/responses"
ROUTES: Final[tuple[Route, ...]] = (
    Route("POST", _BASE, create, openai.refuse),
    Route("POST", _BASE + "/compact", compact, openai.refuse),
    Route("GET", _BASE + "/(?P<id>[^/]+)", retrieve, openai.refuse),
)
