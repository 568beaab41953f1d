"""Chat Completions: plain and streamed, under `/v1`, without it, and as an Azure deployment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from promptcache.emulator import compatible, openai
from promptcache.emulator.plain import JSON, obj, rows, text_of
from promptcache.emulator.replies import Ask, Reply, reply
from promptcache.emulator.wire import Answer, Host, Incoming, Refused, Route, sse, unique

_FINGERPRINT: Final = "fp_50cad350e4"


def complete(host: Host, incoming: Incoming) -> Answer:
    """`POST .../chat/completions`."""
    body = incoming.body
    messages = rows(body.get("messages"))
    if not messages:
        raise Refused(400, "'messages' is too short: an array of at least one message is expected")
    model = openai.model_of(incoming)
    said = reply(_ask(incoming, messages))
    thought = openai.reasoning(model, body)
    plan, rules = openai.plan(host, incoming, model, openai.prompt(incoming, model, messages))
    choices = int(body.get("n") or 1)
    output = openai.spoken(said.tokens, thought) * choices
    outcome, commit = host.settle(incoming, model, plan, output)
    usage = openai.chat_usage(outcome, rules, output, thought * choices)
    frame: JSON = {
        "id": unique("chatcmpl-", 29),
        "object": "chat.completion",
        "created": int(host.clock()),
        "model": openai.snapshot(model),
        "service_tier": openai.tier_of(body),
        "system_fingerprint": _FINGERPRINT,
    }
    usage = compatible.usage(incoming, usage, outcome)
    finish = "length" if incoming.fault.incomplete else "tool_calls" if said.calls else "stop"
    if body.get("stream"):
        wanted = obj(body.get("stream_options")).get("include_usage")
        events = list(
            _chunks(
                frame | {"object": "chat.completion.chunk"},
                said,
                finish,
                choices,
                usage if wanted else None,
            )
        )
        compatible.unasked(incoming, events, usage)
        broken = {
            "error": {
                "message": "The server had an error",
                "type": "server_error",
                "param": None,
                "code": None,
            }
        }
        return Answer(
            events=events, frame=sse, media="text/event-stream", commit=commit, breaks=broken
        )
    shown = [_choice(index, said, finish) for index in range(choices)]
    return Answer(frame | {"choices": shown, "usage": usage}, commit=commit)


def _ask(incoming: Incoming, messages: list[JSON]) -> Ask:
    body = incoming.body
    functions = [
        tool["function"] for tool in rows(body.get("tools")) if tool.get("type") == "function"
    ]
    tools = {
        item["name"]: item.get("parameters")
        for item in [*functions, *(rows(body.get("functions")))]
    }
    choice = body.get("tool_choice") or "auto"
    form = obj(body.get("response_format"))
    schemas: dict[str, Any] = {
        "json_schema": obj(form.get("json_schema")).get("schema"),
        "json_object": {"type": "object"},
    }
    return Ask(
        last=text_of(messages[-1].get("content")),
        tools=tools,
        choice=choice
        if isinstance(choice, str)
        else str(obj(choice.get("function")).get("name", "auto")),
        answered=messages[-1].get("role") in {"tool", "function"},
        schema=schemas.get(str(form.get("type"))),
        words=int(incoming.headers.get("x-emulator-words", 8)),
    )


def _choice(index: int, said: Reply, finish: str) -> JSON:
    message: JSON = {
        "role": "assistant",
        "content": said.text or None,
        "refusal": None,
        "annotations": [],
    }
    if said.calls:
        message["tool_calls"] = list(_calls(said))
    return {"index": index, "message": message, "logprobs": None, "finish_reason": finish}


def _calls(said: Reply) -> Iterator[JSON]:
    for call in said.calls:
        function = {"name": call.name, "arguments": call.json}
        yield {"id": unique("call_"), "type": "function", "function": function}


def _chunks(
    frame: JSON, said: Reply, finish: str, choices: int, usage: JSON | None
) -> Iterator[JSON | str]:
    """The stream: role, words or calls, the finish reason, then the usage where it was asked for."""
    extra: JSON = {} if usage is None else {"usage": None}

    def chunk(index: int, delta: JSON, finish: str | None = None) -> JSON:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return frame | extra | {"choices": [choice]}

    for index in range(choices):
        yield chunk(
            index, {"role": "assistant", "content": None if said.calls else "", "refusal": None}
        )
        for order, call in enumerate(_calls(said)):
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
        for word in said.chunks:
            yield chunk(index, {"content": word})
        yield chunk(index, {}, finish)
    if usage is not None:
        yield frame | {"choices": [], "usage": usage}
    yield "[DONE]"


ROUTES: Final[tuple[Route, ...]] = tuple(
    Route("POST", path, complete, openai.refuse)
    for path in (
        r"(/(?P<dialect>[a-z-]+))?(/api)?(/openai)?(/v1)?/chat/completions",
        r"/openai/deployments/(?P<deployment>[^/]+)/chat/completions",
    )
)
