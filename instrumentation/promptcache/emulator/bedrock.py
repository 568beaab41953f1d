"""Bedrock: Converse and InvokeModel, plain and streamed, for Claude and Nova, with cache points."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from promptcache.emulator import anthropic, anthropic_cache, eventstream
from promptcache.emulator.cache import MESSAGES, SYSTEM, TOOLS, Outcome, Piece, Prompt
from promptcache.emulator.plain import JSON, compact, dump, obj, rows, text_of
from promptcache.emulator.profiles import BEDROCK
from promptcache.emulator.replies import Ask, Reply, reply
from promptcache.emulator.wire import Answer, Host, Incoming, Refused, Route, unique

_TYPES: Final = {
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
    529: "ModelNotReadyException",
}
_BROKEN: Final[JSON] = {
    "throttlingException": {"message": "Too many requests, please wait before trying again."}
}


def refuse(refused: Refused) -> JSON:
    """The body of an HTTP error."""
    return {"__type": _TYPES.get(refused.status, "ValidationException"), "message": refused.message}


def model_of(incoming: Incoming) -> str:
    """The bare model name of an id, an inference profile or an ARN."""
    return re.sub(r"^.*?(?=claude-|nova-)", "", anthropic_cache.family(incoming.params["model"]))


def prompt(body: JSON, model: str) -> Prompt:
    """A Converse request as the cache reads it. A cache point marks what stands before it."""
    config = obj(body.get("toolConfig"))
    pieces: list[Piece] = []
    for tool in rows(config.get("tools")):
        _add(pieces, tool, TOOLS, "")
    for block in rows(body.get("system")):
        _add(pieces, block, SYSTEM, "")
    for message in rows(body.get("messages")):
        for index, block in enumerate(rows(message.get("content"))):
            _add(pieces, block, MESSAGES, "" if index else f"{message.get('role')}\n")
    more = obj(body.get("additionalModelRequestFields"))
    images = any(
        "image" in block
        for message in rows(body.get("messages"))
        for block in rows(message.get("content"))
    )
    messages = compact(
        [config.get("toolChoice"), more.get("thinking"), more.get("output_config"), images]
    )
    return Prompt(tuple(pieces), (model, "", messages))


def _add(pieces: list[Piece], block: JSON, level: int, head: str) -> None:
    if "cachePoint" not in block:
        weight = 1500 if {"image", "document", "video"} & block.keys() else None
        pieces.append(
            Piece(
                head + (str(block["text"]) if "text" in block else compact(block)),
                level,
                weight=weight,
            )
        )
    elif not pieces:
        raise Refused(400, "a cachePoint must follow the content that it caches")
    else:
        pieces[-1] = replace(pieces[-1], mark=str(obj(block["cachePoint"]).get("ttl") or ""))


def _answer(host: Host, incoming: Incoming) -> tuple[Reply, Outcome, int, Callable[[], None]]:
    body, model = incoming.body, model_of(incoming)
    if not rows(body.get("messages")):
        raise Refused(400, "The messages field is required")
    seen = prompt(body, model)
    said = reply(_ask(incoming))
    output = said.tokens + 2
    planned = anthropic_cache.plan(seen, host.rules(BEDROCK, model, incoming))
    outcome, commit = host.settle(incoming, model, planned, output)
    return said, outcome, output, commit


def _ask(incoming: Incoming) -> Ask:
    config = obj(incoming.body.get("toolConfig"))
    specs = [obj(tool["toolSpec"]) for tool in rows(config.get("tools")) if "toolSpec" in tool]
    choice = obj(config.get("toolChoice"))
    blocks = rows(rows(incoming.body.get("messages"))[-1].get("content"))
    return Ask(
        last=text_of(blocks),
        tools={spec["name"]: obj(spec.get("inputSchema")).get("json") for spec in specs},
        choice=str(
            obj(choice.get("tool")).get("name") or ("required" if "any" in choice else "auto")
        ),
        answered=any("toolResult" in block for block in blocks),
        words=int(incoming.headers.get("x-emulator-words", 8)),
    )


def _content(said: Reply) -> list[JSON]:
    calls = [
        {
            "toolUse": {
                "toolUseId": unique("tooluse_", 22),
                "name": call.name,
                "input": call.arguments,
            }
        }
        for call in said.calls
    ]
    return [*([{"text": said.text}] if said.text else []), *calls]


def _stop(incoming: Incoming, said: Reply) -> str:
    if incoming.fault.failed:
        return "guardrail_intervened"
    return "max_tokens" if incoming.fault.incomplete else "tool_use" if said.calls else "end_turn"


def _usage(outcome: Outcome, output: int) -> JSON:
    """`TokenUsage` (botocore 1.44, bedrock-runtime): what was read and written stands beside the input."""
    return {
        "inputTokens": outcome.uncached,
        "outputTokens": output,
        "totalTokens": outcome.input + output,
        "cacheReadInputTokens": outcome.read,
        "cacheWriteInputTokens": outcome.write,
        "cacheDetails": [
            {"ttl": ttl, "inputTokens": count} for ttl, count in outcome.written.items() if count
        ],
    }


def _nova_usage(outcome: Outcome, output: int) -> JSON:
    """Usage in Nova's own body, as InvokeModel returns it (AWS Nova guide; names not in any SDK)."""
    shared = _usage(outcome, output)
    own = {"cacheReadInputTokenCount": outcome.read, "cacheWriteInputTokenCount": outcome.write}
    return {name: shared[name] for name in ("inputTokens", "outputTokens", "totalTokens")} | own


def converse(host: Host, incoming: Incoming) -> Answer:
    """`POST /model/{id}/converse`."""
    said, outcome, output, commit = _answer(host, incoming)
    message = {"role": "assistant", "content": _content(said)}
    whole = {
        "output": {"message": message},
        "stopReason": _stop(incoming, said),
        "metrics": {"latencyMs": 12},
    }
    return Answer(whole | {"usage": _usage(outcome, output)}, commit=commit)


def converse_stream(host: Host, incoming: Incoming) -> Answer:
    """`POST /model/{id}/converse-stream`: usage stands in the last event, `metadata`."""
    said, outcome, output, commit = _answer(host, incoming)
    events = list[Any](_events(said, _stop(incoming, said), _usage(outcome, output)))
    return _binary(events, commit)


def _binary(events: list[Any], commit: Callable[[], None]) -> Answer:
    return Answer(
        events=events,
        frame=eventstream.frame,
        media=eventstream.MEDIA,
        commit=commit,
        breaks=_BROKEN,
    )


def _events(said: Reply, stop: str, usage: JSON) -> Iterator[JSON]:
    yield {"messageStart": {"role": "assistant"}}
    for index, block in enumerate(_content(said)):
        at = {"contentBlockIndex": index}
        if "toolUse" in block:
            begun = {key: block["toolUse"][key] for key in ("toolUseId", "name")}
            yield {"contentBlockStart": {"start": {"toolUse": begun}} | at}
            yield {
                "contentBlockDelta": {
                    "delta": {"toolUse": {"input": compact(block["toolUse"]["input"])}}
                }
                | at
            }
        for word in Reply(block.get("text", "")).chunks:
            yield {"contentBlockDelta": {"delta": {"text": word}} | at}
        yield {"contentBlockStop": at}
    yield {"messageStop": {"stopReason": stop}}
    yield {"metadata": {"usage": usage, "metrics": {"latencyMs": 12}}}


def invoke(host: Host, incoming: Incoming) -> Answer:
    """`POST /model/{id}/invoke`: the body is the model maker's own."""
    if "claude" in incoming.params["model"]:
        message, commit = anthropic.respond(host, incoming, BEDROCK)
        return Answer(_plain(message, incoming), commit=commit)
    said, outcome, output, commit = _answer(host, incoming)
    message = {"output": {"message": {"role": "assistant", "content": _content(said)}}}
    return Answer(
        message | {"stopReason": _stop(incoming, said), "usage": _nova_usage(outcome, output)},
        commit=commit,
    )


def invoke_stream(host: Host, incoming: Incoming) -> Answer:
    """`POST /model/{id}/invoke-with-response-stream`: the maker's events, each in a `chunk`; metrics in the last."""
    if "claude" in incoming.params["model"]:
        message, commit = anthropic.respond(host, incoming, BEDROCK)
        events = list(anthropic.events(_plain(message, incoming)))
        events[-1] |= {"amazon-bedrock-invocationMetrics": _metrics(message["usage"])}
    else:
        said, outcome, output, commit = _answer(host, incoming)
        events = list(_events(said, _stop(incoming, said), _nova_usage(outcome, output)))
    return replace(_binary(list[Any](events), commit), frame=_chunk)


def _chunk(event: JSON) -> bytes:
    """A `chunk`; a fault's exception goes out as itself."""
    return eventstream.frame(
        event if event == _BROKEN else {"chunk": {"bytes": b64encode(dump(event)).decode()}}
    )


def _plain(message: JSON, incoming: Incoming) -> JSON:
    return message | {"model": model_of(incoming)}


def _metrics(usage: JSON) -> JSON:
    return {
        "inputTokenCount": usage["input_tokens"],
        "outputTokenCount": usage["output_tokens"],
        "cacheReadInputTokenCount": usage["cache_read_input_tokens"],
        "cacheWriteInputTokenCount": usage["cache_creation_input_tokens"],
        "invocationLatency": 12,
        "firstByteLatency": 5,
    }


_MODEL: Final = r"/model/(?P<model>.+)/"
ROUTES: Final[tuple[Route, ...]] = (
    Route("POST", _MODEL + "converse", converse, refuse),
    Route("POST", _MODEL + "converse-stream", converse_stream, refuse),
    Route("POST", _MODEL + "invoke", invoke, refuse),
    Route("POST", _MODEL + "invoke-with-response-stream", invoke_stream, refuse),
)
