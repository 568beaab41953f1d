"""The APIs that the breaks are tried on: how a state becomes a request body, and whose wire reads the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from promptcache.providers import anthropic, openai
from promptcache.providers.wire import Wire

from .conversations import Message, State

JSON = dict[str, Any]


@dataclass(frozen=True)
class Api:
    """One API under one way of caching.

    `models` are two that share nothing, `writes` says that written tokens are reported, `ttl` is the lifetime in
    seconds. `explicit` says that requests mark blocks, `tail` that only the end of a request is written, `harmless`
    names parameters that take nothing out of the cache, `lookback` says that a breakpoint looks back only so far.
    """

    name: str
    path: str
    wire: Wire
    provider: str
    models: tuple[str, str]
    write: Callable[[Api, State], JSON]
    params: Mapping[str, str]
    writes: bool
    ttl: float
    explicit: bool = False
    tail: bool = False
    harmless: frozenset[str] = frozenset({"tool_choice"})
    lookback: bool = False

    def body(self, state: State) -> JSON:
        body = self.write(self, state)
        body["model"] = self.models[state.model]
        for name, value in state.params.items():
            *outer, last = self.params[name].split(".")
            place = body
            for step in outer:
                place = place.setdefault(step, {})
            place[last] = value
        return body

    def can(self, *params: str) -> bool:
        return all(name in self.params for name in params)


_MARK = {"prompt_cache_breakpoint": {"mode": "explicit"}}


def _chat_message(message: Message, mark: JSON, parted: bool) -> JSON:
    if message.call is not None:
        call = {
            "id": message.id,
            "type": "function",
            "function": dict(zip(("name", "arguments"), message.call, strict=True)),
        }
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    more = {"tool_call_id": message.id} if message.role == "tool" else {}
    parts: list[JSON] = [{"type": "text", "text": message.text}]
    if message.image is not None:
        parts.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{message.image}"}})
    if mark:
        parts[-1] |= mark
    return {"role": message.role, "content": parts if message.image or parted else message.text, **more}


def _chat(api: Api, state: State) -> JSON:
    marks = state.marks or ()
    messages = [Message("system", state.system), *state.messages]
    body: JSON = {
        "messages": [_chat_message(m, _MARK if at in marks else {}, api.explicit) for at, m in enumerate(messages, -1)],
        "tools": [{"type": "function", "function": tool} for tool in state.tools],
    }
    if api.explicit:
        body["prompt_cache_options"] = {"mode": "explicit"}
    return body


def _input(message: Message, mark: JSON) -> JSON:
    if message.call is not None:
        name, arguments = message.call
        return {"type": "function_call", "call_id": message.id, "name": name, "arguments": arguments}
    if message.role == "tool":
        return {"type": "function_call_output", "call_id": message.id, "output": message.text}
    kind = "output_text" if message.role == "assistant" else "input_text"
    parts: list[JSON] = [{"type": kind, "text": message.text}]
    if message.image is not None:
        parts.append({"type": "input_image", "image_url": f"data:image/png;base64,{message.image}"})
    if mark:
        parts[-1] |= mark
    return {"role": message.role, "content": parts}


def _responses(api: Api, state: State) -> JSON:
    return {
        "instructions": state.system,
        "input": [_input(message, {}) for message in state.messages],
        "tools": [{"type": "function", **tool} for tool in state.tools],
    }


_CHAT = {"effort": "reasoning_effort", "format": "response_format", "verbosity": "verbosity",
         "cache_key": "prompt_cache_key",
         "tier": "service_tier", "tool_choice": "tool_choice", "parallel": "parallel_tool_calls"}  # fmt: skip
_RESPONSES = _CHAT | {"effort": "reasoning.effort", "format": "text.format", "verbosity": "text.verbosity"}

DAY = 86_400.0


def _claude_part(message: Message) -> JSON:
    if message.call is not None:
        name, arguments = message.call
        return {"type": "tool_use", "id": message.id, "name": name, "input": json.loads(arguments)}
    if message.role == "tool":
        return {"type": "tool_result", "tool_use_id": message.id, "content": message.text}
    return {"type": "text", "text": message.text}


def _claude_message(message: Message, mark: JSON) -> JSON:
    parts = [_claude_part(message)]
    if message.image is not None:
        source = {"type": "base64", "media_type": "image/png", "data": message.image}
        parts.append({"type": "image", "source": source})
    parts[-1] |= mark
    return {"role": "assistant" if message.role == "assistant" else "user", "content": parts}


def _claude(api: Api, state: State) -> JSON:
    marks, mark = state.marks or (), {"cache_control": {"type": "ephemeral"}}
    tools = [
        {"input_schema" if name == "parameters" else name: value for name, value in tool.items()}
        for tool in state.tools
    ]
    return {
        "max_tokens": 1000,
        "tools": tools,
        "system": [{"type": "text", "text": state.system} | (mark if -1 in marks else {})],
        "messages": [_claude_message(m, mark if at in marks else {}) for at, m in enumerate(state.messages)],
        **({} if api.explicit else mark),
    }


_CLAUDE = {"effort": "output_config.effort", "tool_choice": "tool_choice", "thinking": "thinking"}
CLAUDES = ("claude-sonnet-4-5", "claude-opus-4-1")
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
NEW = ("gpt-5.6", "gpt-6-sol")
APIS = (
    Api("chat", CHAT, openai.CHAT, "openai", ("gpt-4.1", "gpt-5-mini"), _chat, _CHAT, False, DAY),
    Api(
        "responses", RESPONSES, openai.RESPONSES, "openai", ("gpt-5", "gpt-5-mini"), _responses, _RESPONSES, False, DAY
    ),
    Api("chat 5.6", CHAT, openai.CHAT, "openai", NEW, _chat, _CHAT, True, 1800.0),
    Api("responses 5.6", RESPONSES, openai.RESPONSES, "openai", NEW, _responses, _RESPONSES, True, 1800.0),
    Api("chat explicit", CHAT, openai.CHAT, "openai", NEW, _chat, _CHAT, True, 1800.0, True),
    Api("messages", "/v1/messages", anthropic.MESSAGES, "anthropic", CLAUDES, _claude, _CLAUDE, True, 300.0,
        explicit=True, harmless=frozenset(), lookback=True),
    Api("messages automatic", "/v1/messages", anthropic.MESSAGES, "anthropic", CLAUDES, _claude, _CLAUDE, True, 300.0,
        tail=True, harmless=frozenset(), lookback=True),
)  # fmt: skip
