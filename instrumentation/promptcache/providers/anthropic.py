"""Anthropic Messages: Anthropic's own API, its batches, and the platforms that speak the same wire.

Sources: anthropic-python 2.11.0 (types/usage.py, types/beta/beta_usage.py, types/message_create_params.py) and
Anthropic's pages on prompt caching, batches and cache diagnostics (copies of April to October 2026). Input tokens stand
beside what was read from the cache and what was written to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, cast

from promptcache.model import Facts, Param, Prompt, Request, Usage
from promptcache.providers.wire import (
    JSON,
    Blocks,
    Counters,
    Wire,
    flatten,
    items,
    mapping,
    params,
    route,
    text,
    unmarked,
    usage,
    whole,
)

MARKER: Final = "cache_control"
BETAS: Final = "anthropic_beta"
"""Where Bedrock's body names the beta features; elsewhere they travel in the header `anthropic-beta`."""

PARAMS: Final = (
    ("mcp_servers", "tools"),
    ("container", "tools"),
    ("speed", "system"),
    ("output_format", "system"),
    ("output_config.format", "system"),
    ("tool_choice", "messages"),
    ("thinking", "messages"),
    ("output_config.effort", "messages"),
    ("context_management", "messages"),
    ("compaction", "messages"),
    (BETAS, "none"),
    ("inference_geo", "none"),
    ("service_tier", "none"),
)
"""Which change takes which section out of the cache, by the table of the prompt caching page. Betas and the tier are
in no table: their change is kept in the scope, and blamed for nothing."""

COUNTERS: Final = Counters(
    input=("input_tokens",),
    read=("cache_read_input_tokens",),
    write=("cache_creation_input_tokens",),
    output=("output_tokens",),
    reasoning=("output_tokens_details.thinking_tokens",),
    inside=False,
    write_by_ttl={
        "5m": ("cache_creation.ephemeral_5m_input_tokens",),
        "1h": ("cache_creation.ephemeral_1h_input_tokens",),
    },
    modalities={},
    ttl="5m",
    # Web fetches are counted too, but free (web fetch page, 2026): a use without a price would hide the call's cost.
    tools={"web_search": ("server_tool_use.web_search_requests",)},
)
UNSPLIT: Final = COUNTERS._replace(ttl="unknown")
"""For a response that does not split its writes at all: their TTL is whatever the request asked for."""

_BILLED_APART: Final = (
    *COUNTERS.input,
    *COUNTERS.read,
    *COUNTERS.write,
    *COUNTERS.output,
    *(name for names in COUNTERS.write_by_ttl.values() for name in names),
)


# Requests


def _content(content: object) -> list[Any]:
    """The blocks of a system prompt or message; a string is short for one text block."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else items(content)


def _bare(block: object, deep: int = 4) -> tuple[Any, str | None]:
    """A block without its markers, and the TTL that they ask for. Results of tools may hold marked blocks."""
    if not isinstance(block, Mapping):
        return block, None
    data, mark = unmarked(cast("JSON", block), MARKER)
    inner = data.get("content")
    if not isinstance(inner, list) or not deep:
        return data, mark
    parts = [_bare(part, deep - 1) for part in cast("list[object]", inner)]
    marks = [found for _, found in parts if found is not None]
    if marks:
        data = {**data, "content": [part for part, _ in parts]}
    return data, mark if mark is not None or not marks else marks[-1]


def _kind(block: object) -> object:
    return mapping(block).get("type")


def _searches(tool: object) -> bool:
    """Whether a tool is Anthropic's web search: switching it changes the system prompt and leaves the tools cached."""
    return (text(_kind(tool)) or "").startswith("web_search")


def _blocks(body: JSON) -> Blocks:
    blocks = Blocks()
    tools = items(body.get("tools"))
    for section, chosen in (("tools", False), ("system", True)):
        for tool in tools:
            if _searches(tool) is chosen:
                data, mark = _bare(tool)
                blocks.add(
                    cast("Literal['tools', 'system']", section),
                    text(_kind(tool)) or "custom",
                    data,
                    mark,
                )
    for block in _content(body.get("system")):
        data, mark = _bare(block)
        blocks.add("system", _kind(block), data, mark)
    for message in items(body.get("messages")):
        role = mapping(message).get("role")
        for index, block in enumerate(_content(mapping(message).get("content"))):
            data, mark = _bare(block)
            blocks.add(
                "messages", _kind(block), data if index else {"role": role, "content": data}, mark
            )
    return blocks


def _toggles(body: JSON) -> Iterator[Param]:
    """What switches by being there: an image anywhere, citations of any document."""
    found: set[str] = set()
    for message in items(body.get("messages")):
        for block in items(mapping(message).get("content")):
            for part in (block, *items(mapping(block).get("content"))):
                if text(_kind(part)) == "image":
                    found.add("images")
                if mapping(mapping(part).get("citations")).get("enabled") is True:
                    found.add("citations")
    if "images" in found:
        yield Param("images", True, "messages")
    if "citations" in found:
        yield Param("citations", True, "system")


def _prompt(request: Request) -> Prompt | None:
    body = request.body
    blocks = _blocks(body)
    if not tuple(blocks):
        return None
    thread, whole = mapping(body.get("thread")), mapping(body.get(MARKER))
    state = text(thread.get("previous_message_id"))
    # The part that a thread's server holds may be marked.
    mode: Literal["explicit", "implicit", "none"] = "explicit" if blocks.marked or state else "none"
    return Prompt(
        blocks=tuple(blocks),
        params=(*params(body, PARAMS), *_toggles(body)),
        complete=state is None,
        state=state,
        mode="implicit" if whole else mode,
        lifetime=text(whole.get("ttl")),
        prewarm=type(given := body.get("max_tokens")) is int and given == 0,
    )


def _opening(body: JSON) -> object:
    """The first message, unless the server holds it: a conversation grows at its end."""
    first = mapping(next(iter(items(body.get("messages"))), None))
    return (
        None
        if mapping(body.get("thread"))
        else [_bare(block)[0] for block in _content(first.get("content"))] or None
    )


def _asking(provider: str, body: JSON, previous: str | None) -> JSON | None:
    """Asks by `diagnostics` (cache diagnostics page, April 2026; its own API alone); null begins a conversation."""
    if provider != "anthropic" or body.get("diagnostics") is not None:
        return None
    return {**body, "diagnostics": {"previous_message_id": previous}}


# Responses


def _message(message: JSON, **more: Any) -> Facts:
    spent = mapping(message.get("usage"))
    reason = text(message.get("stop_reason"))
    return Facts(
        model=text(message.get("model")),
        id=text(message.get("id")),
        finish=(reason,) if reason else (),
        tier=text(spent.get("service_tier")),
        speed=text(spent.get("speed")),
        geo=text(spent.get("inference_geo")),
        counts=dict(flatten(spent)),
        verdict=mapping(message.get("diagnostics")) or None,
        **more,
    )


def _delta(event: JSON) -> Facts:
    """Of a `message_delta`: `delta` is a message in part, `usage` cumulative. Once it stopped, nothing more is said."""
    delta = mapping(event.get("delta"))
    return _message(
        {**delta, "usage": event.get("usage")}, terminal=delta.get("stop_reason") is not None
    )


def _failure(event: JSON) -> Facts:
    return Facts(failed=text(mapping(event.get("error")).get("type")) or "error")


_CONTENT: Final = Facts(content=True)
_STOP: Final = Facts(terminal=True)
_EVENTS: Final[Mapping[str, Callable[[JSON], Facts]]] = {
    "message": lambda event: _message(event, terminal=True),
    "message_start": lambda event: _message(mapping(event.get("message"))),
    "message_delta": _delta,
    "message_stop": lambda _: _STOP,
    "content_block_delta": lambda _: _CONTENT,
    "error": _failure,
}


def _read(event: JSON) -> Facts | None:
    kind = event.get("type")
    known = _EVENTS.get(kind) if isinstance(kind, str) else None
    return known(event) if known else None


_DULL: Final = frozenset(
    {"content_block_start", "content_block_delta", "content_block_stop", "ping"}
)


def _dull(event: JSON) -> bool:
    kind = event.get("type")
    return kind.__class__ is str and kind in _DULL


def _results(line: JSON) -> Facts | None:
    """One line of a batch's results: the message of a request that succeeded; the others cost nothing."""
    message = mapping(mapping(line.get("result")).get("message"))
    return _message(message, terminal=True, batch=True) if message else None


def _usage(facts: Facts) -> Usage | None:
    """The usage, with the compactions: they are billed and stand in no total (types/beta/beta_usage.py)."""
    counts = facts.counts
    split = any(name in counts for names in COUNTERS.write_by_ttl.values() for name in names)
    turns = [dict(flatten(turn)) for turn in items(counts.get("iterations"))]
    apart = [turn for turn in turns if turn.get("type") == "compaction"]
    if apart:
        facts = facts._replace(counts={**counts, **_sums(counts, apart)})
    found = usage(facts, COUNTERS if split else UNSPLIT)
    return found and found._replace(issues=(*found.issues, *_doubts(turns, apart)))


def _sums(counts: JSON, more: list[dict[str, Any]]) -> dict[str, int]:
    added = {name: sum(whole(turn.get(name)) or 0 for turn in more) for name in _BILLED_APART}
    given = {name: whole(counts.get(name, 0)) for name in _BILLED_APART}
    return {
        name: base + added[name] for name, base in given.items() if base is not None and added[name]
    }


def _doubts(turns: list[dict[str, Any]], apart: list[dict[str, Any]]) -> Iterator[str]:
    """What the iterations say that one usage cannot: an advisor's tokens are at another model's price."""
    if any(turn.get("type") == "advisor_message" for turn in turns):
        yield "advisor_message"
    if any(name in turn and whole(turn[name]) is None for turn in apart for name in _BILLED_APART):
        yield "malformed:iterations"


MESSAGES: Final = Wire(
    "anthropic.messages",
    "chat",
    _prompt,
    _read,
    _usage,
    _dull,
    last="message_stop",
    opening=_opening,
    asking=_asking,
)
RESULTS: Final = Wire("anthropic.results", "chat", _prompt, _results, _usage, _dull)

ROUTES: Final = (
    route("POST", r"messages", MESSAGES),
    route("GET", r"messages/batches/[^/?]+/results", RESULTS, results=True),
    # As Bedrock's and Vertex's clients rewrite the first.
    route("POST", r"model/[^/?]+/invoke(?:-with-response-stream)?", MESSAGES),
    route(
        "POST",
        r"publishers/anthropic/models/(?!count-tokens:)[^/?:]+:(?:streamR|r)awPredict",
        MESSAGES,
    ),
)
