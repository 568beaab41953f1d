"""The APIs of the breaks. Each writes a request body and has a wire format for responses."""

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

    `path` may contain the model, which is then not in the body. `models` are two models without a
    shared cache. `writes` tells whether written tokens are reported. `ttl` is in seconds. `minimum`
    is the smallest cached prefix, and `step` the granularity of reads if writes are not reported,
    both in tokens. `explicit` tells whether requests contain breakpoints, `tail` whether only the
    end of a request is written, and `lookback` whether the lookback of a breakpoint is limited.
    `harmless` are the parameters that invalidate nothing.
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
    def has_model_in_path(self) -> bool:
        return "{model}" in self.path

    def scale_sections(self, sections: int) -> int:
        """Return more handbook sections for an API with a larger minimum."""
        return sections * (self.minimum // 512 - 1)

    def url(self, state: State) -> str:
        return self.path.replace("{model}", self.models[state.model])

    def body(self, state: State) -> JSON:
        body = self.write(self, state)
        if not self.has_model_in_path:
            body["model"] = self.models[state.model]
        for name, value in state.params.items():
            *outer, last = self.params[name].split(".")
            target = body
            for step in outer:
                target = target.setdefault(step, {})
            target[last] = value
        return body

    def has_params(self, *params: str) -> bool:
        return all(name in self.params for name in params)


_OPENAI_BREAKPOINT = {"prompt_cache_breakpoint": {"mode": "explicit"}}


def _chat_message(message: Message, breakpoint_fields: JSON, has_parts: bool) -> JSON:
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
    if breakpoint_fields:
        parts[-1] |= breakpoint_fields
    return {
        "role": message.role,
        "content": parts if message.image or has_parts else message.text,
        **more,
    }


def _write_chat(api: Api, state: State) -> JSON:
    breakpoints = state.breakpoints or ()
    messages = [Message("system", state.system), *state.messages]
    body: JSON = {
        "messages": [
            _chat_message(m, _OPENAI_BREAKPOINT if index in breakpoints else {}, api.explicit)
            for index, m in enumerate(messages, -1)
        ],
        "tools": [{"type": "function", "function": tool} for tool in state.tools],
    }
    if api.explicit:
        body["prompt_cache_options"] = {"mode": "explicit"}
    return body


def _responses_item(message: Message, breakpoint_fields: JSON) -> JSON:
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
    if breakpoint_fields:
        parts[-1] |= breakpoint_fields
    return {"role": message.role, "content": parts}


def _write_responses(api: Api, state: State) -> JSON:
    return {
        "instructions": state.system,
        "input": [_responses_item(message, {}) for message in state.messages],
        "tools": [{"type": "function", **tool} for tool in state.tools],
    }


_CHAT_PARAMS = {
    "effort": "reasoning_effort",
    "format": "response_format",
    "verbosity": "verbosity",
    "cache_key": "prompt_cache_key",
    "tier": "service_tier",
    "tool_choice": "tool_choice",
    "parallel": "parallel_tool_calls",
}
_RESPONSES_PARAMS = _CHAT_PARAMS | {
    "effort": "reasoning.effort",
    "format": "text.format",
    "verbosity": "text.verbosity",
}

DAY_SECONDS = 86_400.0


def _claude_part(message: Message) -> JSON:
    if message.call is not None:
        name, arguments = message.call
        return {"type": "tool_use", "id": message.id, "name": name, "input": json.loads(arguments)}
    if message.role == "tool":
        return {"type": "tool_result", "tool_use_id": message.id, "content": message.text}
    return {"type": "text", "text": message.text}


def _claude_message(message: Message, breakpoint_fields: JSON) -> JSON:
    parts = [_claude_part(message)]
    if message.image is not None:
        source = {"type": "base64", "media_type": "image/png", "data": message.image}
        parts.append({"type": "image", "source": source})
    parts[-1] |= breakpoint_fields
    return {"role": "assistant" if message.role == "assistant" else "user", "content": parts}


def _write_claude(api: Api, state: State) -> JSON:
    breakpoints, breakpoint_fields = (
        state.breakpoints or (),
        {"cache_control": {"type": "ephemeral"}},
    )
    tools = [
        {"input_schema" if name == "parameters" else name: value for name, value in tool.items()}
        for tool in state.tools
    ]
    return {
        "max_tokens": 1000,
        "tools": tools,
        "system": [
            {"type": "text", "text": state.system}
            | (breakpoint_fields if -1 in breakpoints else {})
        ],
        "messages": [
            _claude_message(m, breakpoint_fields if index in breakpoints else {})
            for index, m in enumerate(state.messages)
        ],
        **({} if api.explicit else breakpoint_fields),
    }


def _write_invoke(api: Api, state: State) -> JSON:
    return {"anthropic_version": "bedrock-2023-05-31"} | _write_claude(api, state)


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


def _write_converse(api: Api, state: State) -> JSON:
    breakpoints, point = state.breakpoints or (), [{"cachePoint": {"type": "default"}}]
    messages: list[JSON] = []
    for index, message in enumerate(state.messages):
        parts = [_converse_part(message)]
        if message.image is not None:
            parts.append({"image": {"format": "png", "source": {"bytes": message.image}}})
        role = "assistant" if message.role == "assistant" else "user"
        messages.append({"role": role, "content": parts + (point if index in breakpoints else [])})
    tools = [{"toolSpec": dict(map(_converse_field, tool.items()))} for tool in state.tools]
    return {
        "system": [{"text": state.system}, *(point if -1 in breakpoints else [])],
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


def _write_gemini(api: Api, state: State) -> JSON:
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


_GEMINI_PARAMS = {
    "effort": "generationConfig.thinkingConfig.thinkingLevel",
    "tool_choice": "toolConfig",
    "tier": "serviceTier",
}
_CONVERSE_PARAMS = {
    "effort": "additionalModelRequestFields.output_config.effort",
    "tool_choice": "toolConfig.toolChoice",
    "thinking": "additionalModelRequestFields.thinking",
    "tier": "serviceTier.type",
}
_CLAUDE_PARAMS = {
    "effort": "output_config.effort",
    "tool_choice": "tool_choice",
    "thinking": "thinking",
}
CLAUDE_MODELS = ("claude-sonnet-4-6", "claude-opus-4-1")
BEDROCK_CLAUDE_MODELS = (
    "anthropic.claude-sonnet-4-6",
    "anthropic.claude-opus-4-1-20250805-v1:0",
)
GEMINI_MODELS = ("gemini-2.5-flash", "gemini-2.5-pro")
CHAT_PATH, RESPONSES_PATH = "/v1/chat/completions", "/v1/responses"
MODELS_WITH_REPORTED_WRITES = ("gpt-5.6", "gpt-6-sol")
APIS = (
    Api(
        "chat",
        CHAT_PATH,
        openai.CHAT,
        "openai",
        ("gpt-4.1", "gpt-5-mini"),
        _write_chat,
        _CHAT_PARAMS,
        False,
        DAY_SECONDS,
    ),
    Api(
        "responses",
        RESPONSES_PATH,
        openai.RESPONSES,
        "openai",
        ("gpt-5", "gpt-5-mini"),
        _write_responses,
        _RESPONSES_PARAMS,
        False,
        DAY_SECONDS,
    ),
    Api(
        "chat 5.6",
        CHAT_PATH,
        openai.CHAT,
        "openai",
        MODELS_WITH_REPORTED_WRITES,
        _write_chat,
        _CHAT_PARAMS,
        True,
        1800.0,
    ),
    Api(
        "responses 5.6",
        RESPONSES_PATH,
        openai.RESPONSES,
        "openai",
        MODELS_WITH_REPORTED_WRITES,
        _write_responses,
        _RESPONSES_PARAMS,
        True,
        1800.0,
    ),
    Api(
        "chat explicit",
        CHAT_PATH,
        openai.CHAT,
        "openai",
        MODELS_WITH_REPORTED_WRITES,
        _write_chat,
        _CHAT_PARAMS,
        True,
        1800.0,
        True,
    ),
    Api(
        "messages",
        "/v1/messages",
        anthropic.MESSAGES,
        "anthropic",
        CLAUDE_MODELS,
        _write_claude,
        _CLAUDE_PARAMS,
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
        CLAUDE_MODELS,
        _write_claude,
        _CLAUDE_PARAMS,
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
        GEMINI_MODELS,
        _write_gemini,
        _GEMINI_PARAMS,
        False,
        600.0,
        harmless=frozenset(_GEMINI_PARAMS),
        minimum=2048,
        step=256,
    ),
    Api(
        "converse",
        "/model/{model}/converse",
        bedrock.CONVERSE,
        "aws.bedrock",
        BEDROCK_CLAUDE_MODELS,
        _write_converse,
        _CONVERSE_PARAMS,
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
        BEDROCK_CLAUDE_MODELS,
        _write_invoke,
        _CLAUDE_PARAMS,
        True,
        300.0,
        explicit=True,
        harmless=frozenset(),
        lookback=True,
    ),
)
