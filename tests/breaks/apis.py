"""The APIs that the breaks are tried on: how a state becomes a request body, and whose wire reads the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from promptcache.providers.anthropic import wire as anthropic
from promptcache.providers.bedrock import wire as bedrock
from promptcache.providers.google import wire as gemini
from promptcache.providers.openai import wire as openai
from promptcache.providers.wire_format import WireFormat
from tests.breaks.conversations import Message, State

JSON = dict[str, Any]


@dataclass(frozen=True)
class Api:
    """One API under one way of caching.

    `path` may have a place for the model, which then is not in the body. `models` are two that share nothing, `writes`
    says that written tokens are reported, `ttl` is the lifetime in seconds, `minimum` what a prefix needs, `step` what
    reads are multiples of where writes are not reported, both in tokens. `explicit` says that requests mark blocks,
    `tail` that only the end of a request is written, `harmless` names parameters that take nothing out of the cache,
    `lookback` says that a breakpoint looks back only so far.
    """

    name: str
    path: str
    wire: WireFormat
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
    minimum: int = 1024
    step: int = 128

    @property
    def in_path(self) -> bool:
        return "{model}" in self.path

    def sized(self, sections: int) -> int:
        """As many sections of a handbook, more where only longer prompts are cached: an agent's are well above that."""
        return sections * (self.minimum // 512 - 1)

    def url(self, state: State) -> str:
        return self.path.replace("{model}", self.models[state.model])

    def body(self, state: State) -> JSON:
        body = self.write(self, state)
        if not self.in_path:
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
        parts.append(
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{message.image}"}}
        )
    if mark:
        parts[-1] |= mark
    return {
        "role": message.role,
        "content": parts if message.image or parted else message.text,
        **more,
    }


def _chat(api: Api, state: State) -> JSON:
    marks = state.marks or ()
    messages = [Message("system", state.system), *state.messages]
    body: JSON = {
        "messages": [
            _chat_message(m, _MARK if at in marks else {}, api.explicit)
            for at, m in enumerate(messages, -1)
        ],
        "tools": [{"type": "function", "function": tool} for tool in state.tools],
    }
    if api.explicit:
        body["prompt_cache_options"] = {"mode": "explicit"}
    return body


def _input(message: Message, mark: JSON) -> JSON:
    if message.call is not None:
        name, arguments = message.call
        return {
            "type": "function_call",
            "call_id": message.id,
            "name": name,
            "arguments": arguments,
        }
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


_CHAT = {
    "effort": "reasoning_effort",
    "format": "response_format",
    "verbosity": "verbosity",
    "cache_key": "prompt_cache_key",
    "tier": "service_tier",
    "tool_choice": "tool_choice",
    "parallel": "parallel_tool_calls",
}
_RESPONSES = _CHAT | {
    "effort": "reasoning.effort",
    "format": "text.format",
    "verbosity": "text.verbosity",
}

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
        "messages": [
            _claude_message(m, mark if at in marks else {}) for at, m in enumerate(state.messages)
        ],
        **({} if api.explicit else mark),
    }


def _invoked(api: Api, state: State) -> JSON:
    return {"anthropic_version": "bedrock-2023-05-31"} | _claude(api, state)


def _converse_part(message: Message) -> JSON:
    if message.call is not None:
        name, arguments = message.call
        return {"toolUse": {"toolUseId": message.id, "name": name, "input": json.loads(arguments)}}
    if message.role == "tool":
        return {"toolResult": {"toolUseId": message.id, "content": [{"text": message.text}]}}
    return {"text": message.text}


def _converse_field(field: tuple[str, Any]) -> tuple[str, Any]:
    name, value = field
    return ("inputSchema", {"json": value}) if name == "parameters" else field


def _converse(api: Api, state: State) -> JSON:
    marks, point = state.marks or (), [{"cachePoint": {"type": "default"}}]
    messages: list[JSON] = []
    for at, message in enumerate(state.messages):
        parts = [_converse_part(message)]
        if message.image is not None:
            parts.append({"image": {"format": "png", "source": {"bytes": message.image}}})
        role = "assistant" if message.role == "assistant" else "user"
        messages.append({"role": role, "content": parts + (point if at in marks else [])})
    tools = [{"toolSpec": dict(map(_converse_field, tool.items()))} for tool in state.tools]
    return {
        "system": [{"text": state.system}, *(point if -1 in marks else [])],
        "messages": messages,
        **({"toolConfig": {"tools": tools}} if tools else {}),
    }


def _gemini_part(message: Message) -> JSON:
    if message.call is not None:
        name, arguments = message.call
        return {"functionCall": {"name": name, "args": json.loads(arguments)}}
    if message.role == "tool":
        return {"functionResponse": {"name": message.id, "response": {"result": message.text}}}
    return {"text": message.text}


def _gemini(api: Api, state: State) -> JSON:
    contents: list[JSON] = []
    for message in state.messages:
        parts = [_gemini_part(message)]
        if message.image is not None:
            parts.append({"inlineData": {"mimeType": "image/png", "data": message.image}})
        contents.append(
            {"role": "model" if message.role == "assistant" else "user", "parts": parts}
        )
    return {
        "systemInstruction": {"parts": [{"text": state.system}]},
        "contents": contents,
        **({"tools": [{"functionDeclarations": list(state.tools)}]} if state.tools else {}),
    }


_GEMINI = {
    "effort": "generationConfig.thinkingConfig.thinkingLevel",
    "tool_choice": "toolConfig",
    "tier": "serviceTier",
}
_CONVERSE = {
    "effort": "additionalModelRequestFields.output_config.effort",
    "tool_choice": "toolConfig.toolChoice",
    "thinking": "additionalModelRequestFields.thinking",
    "tier": "serviceTier.type",
}
_CLAUDE = {"effort": "output_config.effort", "tool_choice": "tool_choice", "thinking": "thinking"}
CLAUDES = ("claude-sonnet-4-5", "claude-opus-4-1")
BEDROCK_CLAUDES = (
    "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "anthropic.claude-opus-4-1-20250805-v1:0",
)
GEMINIS = ("gemini-2.5-flash", "gemini-2.5-pro")
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
NEW = ("gpt-5.6", "gpt-6-sol")
APIS = (
    Api("chat", CHAT, openai.CHAT, "openai", ("gpt-4.1", "gpt-5-mini"), _chat, _CHAT, False, DAY),
    Api(
        "responses",
        RESPONSES,
        openai.RESPONSES,
        "openai",
        ("gpt-5", "gpt-5-mini"),
        _responses,
        _RESPONSES,
        False,
        DAY,
    ),
    Api("chat 5.6", CHAT, openai.CHAT, "openai", NEW, _chat, _CHAT, True, 1800.0),
    Api(
        "responses 5.6",
        RESPONSES,
        openai.RESPONSES,
        "openai",
        NEW,
        _responses,
        _RESPONSES,
        True,
        1800.0,
    ),
    Api("chat explicit", CHAT, openai.CHAT, "openai", NEW, _chat, _CHAT, True, 1800.0, True),
    Api(
        "messages",
        "/v1/messages",
        anthropic.MESSAGES,
        "anthropic",
        CLAUDES,
        _claude,
        _CLAUDE,
        True,
        300.0,
        explicit=True,
        harmless=frozenset(),
        lookback=True,
    ),
    Api(
        "messages automatic",
        "/v1/messages",
        anthropic.MESSAGES,
        "anthropic",
        CLAUDES,
        _claude,
        _CLAUDE,
        True,
        300.0,
        tail=True,
        harmless=frozenset(),
        lookback=True,
    ),
    Api(
        "gemini",
        "/v1beta/models/{model}:generateContent",
        gemini.GENERATE_CONTENT,
        "gcp.gemini",
        GEMINIS,
        _gemini,
        _GEMINI,
        False,
        600.0,
        harmless=frozenset(_GEMINI),
        minimum=2048,
        step=256,
    ),
    Api(
        "converse",
        "/model/{model}/converse",
        bedrock.CONVERSE,
        "aws.bedrock",
        BEDROCK_CLAUDES,
        _converse,
        _CONVERSE,
        True,
        300.0,
        explicit=True,
        harmless=frozenset({"tier"}),
        lookback=True,
    ),
    Api(
        "invoke",
        "/model/{model}/invoke",
        anthropic.MESSAGES,
        "aws.bedrock",
        BEDROCK_CLAUDES,
        _invoked,
        _CLAUDE,
        True,
        300.0,
        explicit=True,
        harmless=frozenset(),
        lookback=True,
    ),
)
