"""Messages: plain and streamed, counted, in batches; on Anthropic's own paths and on Vertex."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from promptcache.emulator import tokens
from promptcache.emulator.anthropic_cache import Print, diagnose, family, plan, prompt, usage
from promptcache.emulator.plain import JSON, dump, obj, rows, text_of
from promptcache.emulator.profiles import ANTHROPIC, Rules
from promptcache.emulator.replies import Ask, Reply, reply
from promptcache.emulator.wire import Answer, Host, Incoming, Refused, Route, named_sse, unique

_KINDS: Final = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_THOUGHT: Final = "the question is simple"


def refuse(refused: Refused) -> JSON:
    """The body of an HTTP error."""
    kind = _KINDS.get(
        refused.status, "api_error" if refused.status >= 500 else "invalid_request_error"
    )
    return {
        "type": "error",
        "error": {"type": kind, "message": refused.message},
        "request_id": unique("req_011"),
    }


def create(host: Host, incoming: Incoming) -> Answer:
    """`POST /v1/messages`, and Vertex's `rawPredict` and `streamRawPredict`."""
    said, commit = respond(host, incoming, ANTHROPIC)
    if not (incoming.body.get("stream") or incoming.path.endswith(":streamRawPredict")):
        return Answer(said, commit=commit)
    return Answer(
        events=list(events(said)),
        frame=named_sse,
        media="text/event-stream",
        commit=commit,
        breaks=ERROR,
    )


ERROR: Final[JSON] = {
    "type": "error",
    "error": {"type": "overloaded_error", "message": "Overloaded"},
}


def respond(
    host: Host, incoming: Incoming, table: tuple[Rules, ...], tier: str = "standard"
) -> tuple[JSON, Callable[[], None]]:
    """Runs one request against the cache: the message, and the commit of what it writes."""
    body = _threaded(host, incoming.body)
    incoming = replace(incoming, body=body)
    model = str(body.get("model") or incoming.params.get("model") or "")
    if not model or not rows(body.get("messages")) or not isinstance(body.get("max_tokens"), int):
        raise Refused(400, "model, messages and max_tokens: Field required")
    silent = body["max_tokens"] == 0
    if silent and (body.get("stream") or obj(body.get("thinking")).get("type") == "enabled"):
        raise Refused(400, "max_tokens: 0 is not supported with stream or thinking")
    seen = prompt(body, model, incoming.headers.get("anthropic-beta", ""))
    rules = host.rules(table, family(model), incoming)
    said = Reply() if silent else reply(_ask(incoming))
    thought = (
        0
        if silent or obj(body.get("thinking")).get("type") in {None, "disabled"}
        else tokens.count(_THOUGHT)
    )
    output = 0 if silent else said.tokens + thought + 2
    planned = plan(seen, rules, body.get("cache_control"))
    outcome, commit = host.settle(incoming, model, planned, output)
    more = {
        "service_tier": tier,
        "inference_geo": body.get("inference_geo", "global"),
        "server_tool_use": None,
    }
    more |= {"speed": body["speed"]} if body.get("speed") else {}
    message: JSON = {
        "id": unique("msg_01", 22),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": list(_content(said, thought)),
        "stop_reason": _stop(incoming, said, silent),
        "stop_sequence": None,
        "usage": usage(outcome, output, thought, **more),
    }
    print_ = Print(f"{model} {body.get('speed')}", seen, outcome.read + outcome.write)
    message |= _diagnostics(host, body, print_)
    host.keep(str(message["id"]), print_)
    if body.get("thread"):
        said_so_far = [*body["messages"], {"role": "assistant", "content": message["content"]}]
        host.keep(f"thread/{message['id']}", body | {"messages": said_so_far})
    return message, commit


def _threaded(host: Host, body: JSON) -> JSON:
    """The whole request where the server holds its beginning (beta: message threads, anthropic 2.11.0)."""
    if not (parent := obj(body.get("thread")).get("previous_message_id")):
        return body
    held: JSON | None = host.kept(f"thread/{parent}")
    if held is None:
        raise Refused(404, f"thread: no message {parent}")
    return held | body | {"messages": [*held["messages"], *rows(body.get("messages"))]}


def _diagnostics(host: Host, body: JSON, now: Print) -> JSON:
    """`diagnostics`, where asked for: null on a first turn and where nothing diverged."""
    if body.get("diagnostics") is None:
        return {}
    previous = obj(body["diagnostics"]).get("previous_message_id")
    reason = diagnose(host.kept(str(previous)), now) if previous else None
    return {"diagnostics": {"cache_miss_reason": reason} if reason else None}


def _stop(incoming: Incoming, said: Reply, silent: bool) -> str:
    if incoming.fault.failed:
        return "refusal"
    if silent or incoming.fault.incomplete:
        return "max_tokens"
    return "tool_use" if said.calls else "end_turn"


def _ask(incoming: Incoming) -> Ask:
    body = incoming.body
    last = rows(body.get("messages"))[-1]
    blocks = rows(last.get("content"))
    choice = obj(body.get("tool_choice"))
    form = obj(body.get("output_format") or obj(body.get("output_config")).get("format"))
    return Ask(
        last=text_of(last.get("content")),
        tools={
            tool["name"]: tool["input_schema"]
            for tool in rows(body.get("tools"))
            if "input_schema" in tool
        },
        choice=str(
            choice.get("name")
            or {"any": "required"}.get(str(choice.get("type")), choice.get("type", "auto"))
        ),
        answered=any(block.get("type") == "tool_result" for block in blocks),
        schema=form.get("schema"),
        words=int(incoming.headers.get("x-emulator-words", 8)),
    )


def _content(said: Reply, thought: int) -> Iterator[JSON]:
    if thought:
        yield {"type": "thinking", "thinking": _THOUGHT, "signature": unique("EqQB", 40)}
    if said.text:
        yield {"type": "text", "text": said.text, "citations": None}
    for call in said.calls:
        yield {
            "type": "tool_use",
            "id": unique("toolu_01", 22),
            "name": call.name,
            "input": call.arguments,
        }


def events(message: JSON) -> Iterator[JSON]:
    """The stream of a message. Usage stands at its start, and again, cumulative, at its end."""
    counted: JSON = message["usage"]
    begun: JSON = {
        "content": [],
        "stop_reason": None,
        "usage": counted | {"output_tokens": min(1, counted["output_tokens"])},
    }
    yield {"type": "message_start", "message": message | begun}
    yield {"type": "ping"}
    for index, block in enumerate(message["content"]):
        empty: dict[str, JSON] = {
            "text": {"text": ""},
            "tool_use": {"input": {}},
            "thinking": {"thinking": "", "signature": ""},
        }
        yield {
            "type": "content_block_start",
            "index": index,
            "content_block": block | empty[block["type"]],
        }
        for delta in _deltas(block):
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


def _deltas(block: JSON) -> Iterator[JSON]:
    if block["type"] == "text":
        for word in Reply(block["text"]).chunks:
            yield {"type": "text_delta", "text": word}
    elif block["type"] == "tool_use":
        yield {"type": "input_json_delta", "partial_json": dump(block["input"]).decode()}
    else:
        yield {"type": "thinking_delta", "thinking": block["thinking"]}
        yield {"type": "signature_delta", "signature": block["signature"]}


def count_tokens(host: Host, incoming: Incoming) -> Answer:
    """`POST /v1/messages/count_tokens`: no cache is asked."""
    return Answer({"input_tokens": prompt(incoming.body, str(incoming.body.get("model"))).total})


def create_batch(host: Host, incoming: Incoming) -> Answer:
    """`POST /v1/messages/batches`: every request runs now; its result is read later."""
    results = [_result(host, incoming, row) for row in rows(incoming.body.get("requests"))]
    if not results:
        raise Refused(400, "requests: List should have at least 1 item")
    now = datetime.fromtimestamp(host.clock(), UTC).isoformat()
    batch: JSON = {
        "id": unique("msgbatch_01", 22),
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
    host.named[str(batch["id"])] = (batch, results)
    return Answer(batch)


def _result(host: Host, incoming: Incoming, row: JSON) -> JSON:
    one = Incoming(
        "POST",
        incoming.path,
        obj(row.get("params")),
        incoming.headers,
        {},
        incoming.tenant,
        incoming.fault,
    )
    try:
        message, commit = respond(host, one, ANTHROPIC, "batch")
    except Refused as refused:
        return {
            "custom_id": row.get("custom_id"),
            "result": {"type": "errored", "error": refuse(refused)},
        }
    commit()
    return {"custom_id": row.get("custom_id"), "result": {"type": "succeeded", "message": message}}


def _held(host: Host, incoming: Incoming) -> tuple[JSON, list[JSON]]:
    held: tuple[JSON, list[JSON]] | None = host.named.get(incoming.params["id"])
    if held is None:
        raise Refused(404, f"no such batch: {incoming.params['id']}")
    return held


def get_batch(host: Host, incoming: Incoming) -> Answer:
    """`GET /v1/messages/batches/{id}`: it has ended by the time somebody asks."""
    batch, results = _held(host, incoming)
    succeeded = sum(row["result"]["type"] == "succeeded" for row in results)
    counts = {
        "processing": 0,
        "succeeded": succeeded,
        "errored": len(results) - succeeded,
        "canceled": 0,
        "expired": 0,
    }
    base = f"http://{incoming.headers.get('host', 'localhost')}"
    ended = {
        "processing_status": "ended",
        "ended_at": batch["created_at"],
        "request_counts": counts,
    }
    return Answer(
        batch | ended | {"results_url": f"{base}/v1/messages/batches/{batch['id']}/results"}
    )


def batch_results(host: Host, incoming: Incoming) -> Answer:
    """`GET /v1/messages/batches/{id}/results`: one JSON object a line."""
    _, results = _held(host, incoming)
    return Answer(
        events=list[Any](results), frame=lambda row: dump(row) + b"\n", media="application/x-jsonl"
    )


_VERTEX: Final = r"(/v1)?/projects/[^/]+/locations/[^/]+/publishers/anthropic/models/"
_BATCHES: Final = r"(/anthropic)?/v1/messages/batches"
ROUTES: Final[tuple[Route, ...]] = (
    Route("POST", r"(/anthropic)?/v1/messages", create, refuse),
    Route("POST", r"(/anthropic)?/v1/messages/count_tokens", count_tokens, refuse),
    Route("POST", _BATCHES, create_batch, refuse),
    Route("GET", _BATCHES + r"/(?P<id>[^/]+)", get_batch, refuse),
    Route("GET", _BATCHES + r"/(?P<id>[^/]+)/results", batch_results, refuse),
    Route("POST", _VERTEX + r"count-tokens:rawPredict", count_tokens, refuse),
    Route("POST", _VERTEX + r"(?P<model>[^/]+):(streamRawPredict|rawPredict)", create, refuse),
)
