"""OpenAI: Chat Completions and Responses, and the servers that speak the same wires.

Sources: openai-python 3.52.0 (types/completion_usage.py, types/responses/response_usage.py, response.py,
response_create_params.py) and OpenAI's prompt caching guide (copies of July to October 2026). Input tokens include
what was read from the cache and what was written to it.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

from promptcache.model import Facts, Param, Prompt, Request, Usage
from promptcache.providers.wire import (
    JSON,
    Blocks,
    Counters,
    Wire,
    flatten,
    items,
    mapping,
    number,
    params,
    route,
    text,
    unmarked,
    usage,
)

MARKER: Final = "prompt_cache_breakpoint"
SYSTEM_ROLES: Final = frozenset({"system", "developer"})

_CACHE_PARAMS: Final = (
    ("prompt_cache_key", "tools"),
    ("prompt_cache_options.mode", "tools"),
    ("prompt_cache_options.ttl", "none"),
    ("prompt_cache_retention", "none"),
    ("parallel_tool_calls", "tools"),
    ("service_tier", "tools"),
    ("tool_choice", "none"),
)
"""Which change takes which section out of the cache; `tools` comes first, so it takes everything."""

CHAT_PARAMS: Final = (
    *_CACHE_PARAMS,
    ("response_format", "tools"),
    ("reasoning_effort", "tools"),
    ("verbosity", "tools"),
)
RESPONSES_PARAMS: Final = (
    *_CACHE_PARAMS,
    ("text.format", "tools"),
    ("text.verbosity", "tools"),
    ("reasoning.effort", "tools"),
    ("context_management", "tools"),
    ("truncation", "none"),
)

CHAT_COUNTERS: Final = Counters(
    input=("prompt_tokens",),
    # DeepSeek and Moonshot name the cached tokens at the top level, the others where OpenAI does.
    read=("prompt_tokens_details.cached_tokens", "prompt_cache_hit_tokens", "cached_tokens"),
    write=(
        "prompt_tokens_details.cache_write_tokens",
        "prompt_tokens_details.cache_creation_input_tokens",
    ),
    output=("completion_tokens",),
    reasoning=("completion_tokens_details.reasoning_tokens",),
    inside=True,
    write_by_ttl={},
    modalities={
        "audio.input": ("prompt_tokens_details.audio_tokens",),
        "image.input": ("prompt_tokens_details.image_tokens",),
        "audio.output": ("completion_tokens_details.audio_tokens",),
    },
    ttl="30m",
)
RESPONSES_COUNTERS: Final = Counters(
    input=("input_tokens",),
    # Realtime reports in the singular.
    read=("input_tokens_details.cached_tokens", "input_token_details.cached_tokens"),
    write=("input_tokens_details.cache_write_tokens",),
    output=("output_tokens",),
    reasoning=("output_tokens_details.reasoning_tokens",),
    inside=True,
    write_by_ttl={
        "30m": ("input_tokens_details.cache_write_tokens_details.ttl_30m_tokens",),
        "12h": ("input_tokens_details.cache_write_tokens_details.ttl_12h_tokens",),
    },
    modalities={
        "audio.input": ("input_token_details.audio_tokens",),
        "audio.read": ("input_token_details.cached_tokens_details.audio_tokens",),
        "image.input": ("input_token_details.image_tokens",),
        "image.read": ("input_token_details.cached_tokens_details.image_tokens",),
        "audio.output": ("output_token_details.audio_tokens",),
    },
    ttl="30m",
)

TICKS_PER_USD: Final = 10**10
"""xAI reports what it charged in ticks of 1e-10 USD (docs.x.ai, 2026)."""


def _billed(usage: JSON) -> float | None:
    cost, ticks = number(usage.get("cost")), usage.get("cost_in_usd_ticks")
    if (
        cost is not None
        or isinstance(ticks, bool)
        or not isinstance(ticks, int | float)
        or not 0 <= ticks < TICKS_PER_USD**2
    ):
        return cost
    return ticks / TICKS_PER_USD


# Requests


def _part(
    blocks: Blocks, section: Literal["system", "messages"], part: object, around: JSON
) -> None:
    if fields := mapping(part):
        data, mark = unmarked(fields, MARKER)
        blocks.add(section, data.get("type"), {**around, "content": data} if around else data, mark)
    else:
        blocks.add(section, "text", {**around, "content": part})


def _message(blocks: Blocks, message: object, in_head: bool) -> bool:
    """Adds one message or input item, a block for each of its parts; says whether the head goes on."""
    fields = mapping(message)
    in_head = in_head and text(fields.get("role")) in SYSTEM_ROLES
    section: Literal["system", "messages"] = "system" if in_head else "messages"
    parts = items(fields.get("content"))
    if not parts:
        data, mark = unmarked(fields, MARKER) if fields else (message, None)
        blocks.add(section, text(fields.get("type")) or "text", data, mark)
        return in_head
    around = {name: value for name, value in fields.items() if name != "content"}
    for index, part in enumerate(parts):
        _part(blocks, section, part, around if index == 0 else {})
    return in_head


def _prompt(
    body: JSON, blocks: Blocks, messages: list[Any], found: tuple[Param, ...], state: str | None
) -> Prompt:
    in_head = True
    for message in messages:
        in_head = _message(blocks, message, in_head)
    options = mapping(body.get("prompt_cache_options"))
    asked = text(options.get("mode"))
    mode: Literal["automatic", "implicit", "explicit", "none"] = "automatic"
    if asked == "implicit":
        mode = "implicit"
    elif asked == "explicit":
        mode = "explicit" if blocks.marked else "none"
    return Prompt(
        blocks=tuple(blocks),
        params=found,
        complete=state is None,
        state=state,
        mode=mode,
        lifetime=text(options.get("ttl")) or text(body.get("prompt_cache_retention")),
        prewarm=options.get("prewarm") is True,
    )


def _tools(body: JSON, *names: str) -> Blocks:
    blocks = Blocks()
    for name in names:
        for tool in items(body.get(name)):
            fields = mapping(tool)
            data, mark = unmarked(fields, MARKER) if fields else (tool, None)
            blocks.add("tools", text(fields.get("type")) or "function", data, mark)
    return blocks


def _chat_prompt(request: Request) -> Prompt | None:
    body = request.body
    messages = items(body.get("messages"))
    if not messages:
        return None
    return _prompt(
        body, _tools(body, "tools", "functions"), messages, params(body, CHAT_PARAMS), None
    )


def _responses_prompt(request: Request) -> Prompt | None:
    body = request.body
    blocks = _tools(body, "tools")
    if body.get("instructions") is not None:
        blocks.add("system", "text", body["instructions"])
    given = body.get("input")
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else items(given)
    held = (body.get(name) for name in ("previous_response_id", "conversation", "prompt"))
    state = next((state for value in held if (state := _state(value))), None)
    if not messages and state is None and not tuple(blocks):
        return None
    return _prompt(body, blocks, messages, params(body, RESPONSES_PARAMS), state)


def _state(held: object) -> str | None:
    """Which state of the server's a parameter names."""
    return text(held) or (text(mapping(held).get("id")) or "unnamed" if mapping(held) else None)


def _opening(body: JSON) -> object:
    """The first input item, unless the server holds it: a conversation grows at its end."""
    return (
        None
        if text(body.get("previous_response_id"))
        else next(iter(items(body.get("input"))), None)
    )


def _asking(provider: str, body: JSON, previous: str | None) -> JSON | None:
    """Asks by `comparison_response_id` (diagnostics page, autumn 2026: GPT-5.6 and later on OpenAI's own API)."""
    options: JSON = mapping(body.get("prompt_cache_options"))
    known = _DIAGNOSED.match(text(body.get("model")) or "")
    if (
        previous is None
        or provider != "openai"
        or known is None
        or "comparison_response_id" in options
    ):
        return None
    return {**body, "prompt_cache_options": {**options, "comparison_response_id": previous}}


_DIAGNOSED: Final = re.compile(r"gpt-(5\.[6-9]|[6-9]|\d\d)")


# Responses


def _chat_read(event: JSON) -> Facts | None:
    choices = [mapping(choice) for choice in items(event.get("choices"))]
    first = choices[0] if choices else mapping(None)
    # Groq streams its usage under `x_groq`, Moonshot inside the choice.
    spent = mapping(
        event.get("usage") or mapping(event.get("x_groq")).get("usage") or first.get("usage")
    )
    finish = tuple(reason for choice in choices if (reason := text(choice.get("finish_reason"))))
    return Facts(
        model=text(event.get("model")),
        id=text(event.get("id")),
        finish=finish,
        tier=text(event.get("service_tier")),
        counts=dict(flatten(spent)),
        billed=_billed(spent),
        content=any(_says(mapping(choice.get("delta"))) for choice in choices),
        terminal=bool(finish),
        failed=_failure(event),
    )


def _says(delta: JSON) -> bool:
    return any(value for name, value in delta.items() if name != "role")


def _chat_dull(event: JSON) -> bool:
    choices: Any = event.get("choices")
    if choices.__class__ is not list or event.get("usage") or "x_groq" in event or "error" in event:
        return False
    choice: Any = choices[0] if len(choices) == 1 else None
    return choice.__class__ is dict and bool(choice) and not choice.get("finish_reason")


_ENDED: Final = frozenset({"completed", "incomplete", "failed", "cancelled"})


def _responses_read(event: JSON) -> Facts | None:
    kind = event.get("type")
    response = (
        mapping(event.get("response")) if isinstance(kind, str) and "response" in event else event
    )
    status = text(response.get("status"))
    spent = mapping(response.get("usage"))
    return Facts(
        model=text(response.get("model")),
        id=text(response.get("id")) if kind is None or "response" in event else None,
        finish=(status,)
        if status in _ENDED and (kind is None or kind != "response.created")
        else (),
        tier=text(response.get("service_tier")),
        counts=dict(flatten(spent)),
        verdict=mapping(response.get("prompt_cache_diagnostics")) or None,
        billed=_billed(spent),
        ttl=text(mapping(response.get("prompt_cache_options")).get("ttl")),
        content=isinstance(kind, str) and kind.endswith(".delta"),
        terminal=status in _ENDED or response.get("object") == "response.compaction",
        failed=_failure(response)
        or (text(event.get("code")) or "error" if kind == "error" else None),
    )


def _responses_dull(event: JSON) -> bool:
    kind = event.get("type")
    return kind.__class__ is str and kind != "error" and "response" not in event


def _failure(response: JSON) -> str | None:
    error = response.get("error")
    if not error:
        return None
    return text(mapping(error).get("code")) or text(mapping(error).get("type")) or "error"


def _chat_usage(facts: Facts) -> Usage | None:
    return usage(facts, CHAT_COUNTERS)


def _responses_usage(facts: Facts) -> Usage | None:
    return usage(facts, RESPONSES_COUNTERS)


CHAT: Final = Wire(
    "openai.chat", "chat", _chat_prompt, _chat_read, _chat_usage, _chat_dull, last="[DONE]"
)
RESPONSES: Final = Wire(
    "openai.responses",
    "chat",
    _responses_prompt,
    _responses_read,
    _responses_usage,
    _responses_dull,
    fetched=True,
    opening=_opening,
    asking=_asking,
)

ROUTES: Final = (
    route("POST", r"chat/completions", CHAT),
    route("POST", r"responses", RESPONSES),
    route("POST", r"responses/compact", RESPONSES),
    route("GET", r"responses/[^/?]+", RESPONSES, fetch=True),
)
