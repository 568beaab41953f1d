"""Gemini: generateContent, streamed and counted, implicit caching and named caches; Gemini API and Vertex paths."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from promptcache.emulator.cache import SYSTEM, Outcome, Piece, Plan, Prompt, stepped
from promptcache.emulator.plain import JSON, compact, obj, rows, text_of
from promptcache.emulator.profiles import GEMINI, VERTEX, Rules
from promptcache.emulator.replies import Ask, Reply, reply
from promptcache.emulator.wire import Answer, Host, Incoming, Refused, Route, sse, unique

_STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    529: "UNAVAILABLE",
}


def refuse(refused: Refused) -> JSON:
    """The body of an HTTP error."""
    status = _STATUS.get(refused.status, "UNKNOWN")
    return {"error": {"code": refused.status, "message": refused.message, "status": status}}


@dataclass(slots=True)
class Named:
    """A cache made by `cachedContents`: its pieces, and until when it lives. Use does not renew it."""

    resource: JSON
    tenant: str
    pieces: tuple[Piece, ...]
    expires: float


def is_vertex(incoming: Incoming) -> bool:
    return "/projects/" in incoming.path or "/publishers/" in incoming.path


def rules_of(host: Host, incoming: Incoming, model: str) -> Rules:
    return host.rules(VERTEX if is_vertex(incoming) else GEMINI, model, incoming)


def pieces(body: JSON) -> list[Piece]:
    """System instruction, tools, contents: a piece a part (the order is Google's own secret; this one is plausible)."""
    system = obj(body.get("systemInstruction") or body.get("system_instruction"))
    found = [_piece(part, SYSTEM, "system") for part in rows(system.get("parts"))]
    found += [Piece(compact(tool), SYSTEM) for tool in rows(body.get("tools"))]
    for content in rows(body.get("contents")):
        for index, part in enumerate(rows(content.get("parts"))):
            found.append(_piece(part, 2, "" if index else str(content.get("role", "user"))))
    return found


def _piece(part: JSON, level: int, head: str) -> Piece:
    heavy = 258 if {"inlineData", "fileData"} & part.keys() else None
    return Piece(
        f"{head}\n{part['text']}" if "text" in part else head + compact(part), level, weight=heavy
    )


def settle(
    host: Host, incoming: Incoming, model: str, own: list[Piece], output: int
) -> tuple[Outcome, Callable[[], None]]:
    """What was read: of a named cache all of it, else what the implicit one holds."""
    rules = rules_of(host, incoming, model)
    name = incoming.body.get("cachedContent") or incoming.body.get("cached_content")
    if not name:
        return host.settle(
            incoming, model, stepped(Prompt(tuple(own), (model, "", "")), rules), output
        )
    if any(piece.level == SYSTEM for piece in own):
        raise Refused(
            400,
            "CachedContent can not be used with GenerateContent request setting system_instruction or tools",
        )
    held = lookup(host, incoming, str(name))
    prompt = Prompt((*held.pieces, *own), (model, "", ""))
    cached = Prompt(held.pieces).total
    outcome = Outcome(prompt.total, cached, reusable=cached)
    host.note(incoming, model, Plan(prompt, (cached,), bills=False), output, outcome)
    return outcome, lambda: None


def lookup(host: Host, incoming: Incoming, name: str) -> Named:
    """The named cache, while it lives and for its owner only. Raises Refused."""
    held: Named | None = host.named.get(f"cachedContents/{name.rpartition('/')[2]}")
    if held is None or held.tenant != incoming.tenant or held.expires <= host.clock():
        raise Refused(403, "CachedContent not found (or permission denied)")
    return held


def generate(host: Host, incoming: Incoming) -> Answer:
    """`models/{model}:generateContent` and `:streamGenerateContent`."""
    model = incoming.params["model"]
    if not rows(incoming.body.get("contents")):
        raise Refused(400, "* GenerateContentRequest.contents: contents is not specified")
    said = reply(_ask(incoming))
    thought = _thought(incoming, model)
    outcome, commit = settle(host, incoming, model, pieces(incoming.body), said.tokens + thought)
    frame = {"modelVersion": model, "responseId": unique("r", 22)}
    finish = (
        "MAX_TOKENS" if incoming.fault.incomplete else "SAFETY" if incoming.fault.failed else "STOP"
    )
    if incoming.path.endswith(":generateContent"):
        parts = [*_calls(said), *([{"text": said.text}] if said.text else [])]
        usage = _usage(incoming, outcome, said.tokens, thought)
        return Answer(
            frame | {"candidates": [_candidate(parts, finish)], "usageMetadata": usage},
            commit=commit,
        )
    events = [frame | event for event in _stream(incoming, said, outcome, thought, finish)]
    breaks = refuse(Refused(503, "The model is overloaded."))
    return Answer(
        events=list[Any](events), frame=sse, media="text/event-stream", commit=commit, breaks=breaks
    )


def _ask(incoming: Incoming) -> Ask:
    body = incoming.body
    last = rows(body.get("contents"))[-1]
    declared = [
        item for tool in rows(body.get("tools")) for item in rows(tool.get("functionDeclarations"))
    ]
    calling = obj(obj(body.get("toolConfig")).get("functionCallingConfig"))
    config = obj(body.get("generationConfig"))
    return Ask(
        last=text_of(last.get("parts")),
        tools={
            item["name"]: next((item[key] for key in _SCHEMAS if item.get(key)), None)
            for item in declared
        },
        choice={"ANY": "required", "NONE": "none"}.get(str(calling.get("mode")), "auto"),
        answered=any("functionResponse" in part for part in rows(last.get("parts"))),
        schema=config.get("responseSchema") or config.get("responseJsonSchema"),
        words=int(incoming.headers.get("x-emulator-words", 8)),
    )


_SCHEMAS: Final = ("parameters", "parametersJsonSchema", "parameters_json_schema")


def _thought(incoming: Incoming, model: str) -> int:
    thinking = obj(obj(incoming.body.get("generationConfig")).get("thinkingConfig"))
    return (
        0
        if thinking.get("thinkingBudget") == 0 or not re.match(r"gemini-(2\.5|[3-9])", model)
        else 16
    )


def _calls(said: Reply) -> Iterator[JSON]:
    for call in said.calls:
        yield {"functionCall": {"name": call.name, "args": call.arguments}}


def _candidate(parts: list[JSON], finish: str | None) -> JSON:
    done = {"finishReason": finish} if finish else {}
    return {"content": {"parts": parts, "role": "model"}, "index": 0, **done}


def _usage(incoming: Incoming, outcome: Outcome, said: int, thought: int) -> JSON:
    """`usageMetadata`. As protobuf's JSON has it, a count of 0 is left out."""
    counts = {
        "promptTokenCount": outcome.input,
        "candidatesTokenCount": said,
        "totalTokenCount": outcome.input + said + thought,
        "cachedContentTokenCount": outcome.read,
        "thoughtsTokenCount": thought,
    }
    split = {"promptTokensDetails": outcome.input, "cacheTokensDetails": outcome.read}
    details = {
        name: [{"modality": "TEXT", "tokenCount": count}] for name, count in split.items() if count
    }
    traffic = {"trafficType": "ON_DEMAND"} if is_vertex(incoming) else {}
    return {name: count for name, count in counts.items() if count} | details | traffic


def _stream(
    incoming: Incoming, said: Reply, outcome: Outcome, thought: int, finish: str
) -> Iterator[JSON]:
    """Every chunk carries the usage so far; the last one has it all, and the finish reason."""
    parts = [*_calls(said), *({"text": word} for word in said.chunks)]
    for index, part in enumerate(parts, 1):
        last = index == len(parts)
        usage = _usage(incoming, outcome, said.tokens if last else 0, thought)
        yield {"candidates": [_candidate([part], finish if last else None)], "usageMetadata": usage}


def count_tokens(host: Host, incoming: Incoming) -> Answer:
    """`models/{model}:countTokens`: no cache is asked."""
    body = obj(incoming.body.get("generateContentRequest")) or incoming.body
    return Answer({"totalTokens": Prompt(tuple(pieces(body))).total})


def create_cache(host: Host, incoming: Incoming) -> Answer:
    """`POST cachedContents`. Refuses what is below the model's minimum, as Google does."""
    body = incoming.body
    model = str(body.get("model", "")).rpartition("/")[2]
    kept = tuple(pieces(body))
    total, least = Prompt(kept).total, rules_of(host, incoming, model).minimum
    if total < least:
        raise Refused(
            400,
            f"Cached content is too small. total_token_count={total}, min_total_token_count={least}",
        )
    name = f"{incoming.path.partition('/')[2].partition('/')[2]}/{unique('', 20)}"
    now = _stamp(host.clock())
    resource: JSON = {"name": name, "model": body["model"], "createTime": now, "updateTime": now}
    resource |= {"displayName": body["displayName"]} if body.get("displayName") else {}
    resource["usageMetadata"] = {"totalTokenCount": total}
    held = Named(resource, incoming.tenant, kept, host.clock() + 3600)
    host.named[f"cachedContents/{name.rpartition('/')[2]}"] = held
    return _alive(held, incoming, host)


def _alive(held: Named, incoming: Incoming, host: Host) -> Answer:
    """The resource, after its lifetime has been set as the request wants it."""
    if ttl := incoming.body.get("ttl"):
        held.expires = host.clock() + float(str(ttl).removesuffix("s"))
    elif at := incoming.body.get("expireTime"):
        held.expires = datetime.fromisoformat(str(at)).timestamp()
    return Answer(held.resource | {"expireTime": _stamp(held.expires)})


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def get_cache(host: Host, incoming: Incoming) -> Answer:
    """`GET cachedContents/{name}`, and `PATCH`, which sets another lifetime."""
    held = lookup(host, incoming, incoming.params["name"])
    if incoming.method == "PATCH":
        held.resource["updateTime"] = _stamp(host.clock())
    return _alive(held, incoming, host)


def list_caches(host: Host, incoming: Incoming) -> Answer:
    """`GET cachedContents`: those of this credential that live."""
    mine = [
        held
        for held in host.named.values()
        if isinstance(held, Named) and held.tenant == incoming.tenant
    ]
    alive = [held for held in mine if held.expires > host.clock()]
    return Answer(
        {"cachedContents": [held.resource | {"expireTime": _stamp(held.expires)} for held in alive]}
    )


def delete_cache(host: Host, incoming: Incoming) -> Answer:
    """`DELETE cachedContents/{name}`."""
    lookup(host, incoming, incoming.params["name"])
    del host.named[f"cachedContents/{incoming.params['name']}"]
    return Answer({})


_WHERE: Final = r"/v\d\w*(/projects/[^/]+/locations/[^/]+)?"
_MODEL: Final = _WHERE + r"(/publishers/google)?/(models|tunedModels)/(?P<model>[^/:]+)"
_CACHES: Final = _WHERE + r"/cachedContents"
ROUTES: Final[tuple[Route, ...]] = (
    Route("POST", _MODEL + r":(g|streamG)enerateContent", generate, refuse),
    Route("POST", _MODEL + r":countTokens", count_tokens, refuse),
    Route("POST", _CACHES, create_cache, refuse),
    Route("GET", _CACHES, list_caches, refuse),
    Route("GET", _CACHES + r"/(?P<name>[^/]+)", get_cache, refuse),
    Route("PATCH", _CACHES + r"/(?P<name>[^/]+)", get_cache, refuse),
    Route("DELETE", _CACHES + r"/(?P<name>[^/]+)", delete_cache, refuse),
)
