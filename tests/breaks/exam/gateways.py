"""Caches behind another provider's wire: what a cache does belongs to the model, not to the wire.

A gateway such as OpenRouter serves Claude through Chat Completions, with `cache_control` on content
parts (OpenRouter's page on prompt caching). DeepSeek serves its automatic cache through Anthropic's
wire (DeepSeek's guide to the Anthropic API; its cache works in units of 64 tokens).
"""

from __future__ import annotations

import json
from typing import Any, Final

from promptcache_emulator.engine import Emulator
from promptcache_emulator.response import ProviderResponse
from tests.breaks.exam.prompts import SYSTEM_MARK, TOOLS_MARK, Prompt
from tests.breaks.exam.sent_request import SentRequest
from tests.breaks.exam.writers import CACHE_CONTROL, JSON, write_chat, write_claude

DEEPSEEK_RULES: Final = {"x-emulator-rules": "minimum=64,step=64,ttl=24h,age=864000"}


def write_claude_as_chat(prompt: Prompt) -> JSON:
    """Write messages with content parts, so that each can carry a mark."""
    body = write_chat(prompt)
    for message in body["messages"]:
        if isinstance(message.get("content"), str):
            message["content"] = [{"type": "text", "text": message["content"]}]
    for mark in prompt.marks:
        if mark == TOOLS_MARK:
            body["tools"][-1] |= CACHE_CONTROL
            continue
        first = len(prompt.system)
        message = body["messages"][first - 1 if mark == SYSTEM_MARK else first + mark]
        (message["content"] or [message])[-1] |= CACHE_CONTROL
    return body


def answer_claude_as_chat(emulator: Emulator, sent: SentRequest) -> ProviderResponse:
    """Ask Claude, and answer as OpenRouter does."""
    body = json.loads(sent.body)
    claude = _claude_body(body)
    response = _ask(emulator, "/v1/messages", claude, sent)
    if response.status != 200:
        return response
    result = emulator.records[-1].result
    details = {
        "cached_tokens": result.cache_read_tokens,
        "cache_write_tokens": result.cache_write_tokens,
    }
    usage = {
        "prompt_tokens": result.input_tokens,
        "completion_tokens": 20,
        "total_tokens": result.input_tokens + 20,
        "prompt_tokens_details": details,
    }
    message = {"role": "assistant", "content": "Done."}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    reply = {"id": response.body["id"], "object": "chat.completion", "model": body["model"]}
    reply |= {"created": 1, "choices": [choice], "usage": usage}
    return ProviderResponse(reply, commit=response.commit)


def _claude_body(body: JSON) -> JSON:
    system: list[Any] = []
    messages: list[Any] = []
    for message in body["messages"]:
        if message["role"] == "system":
            system += message["content"]
        elif message["role"] == "tool":
            messages.append({"role": "user", "content": [_tool_result(message)]})
        else:
            blocks: list[JSON] = [_block(part) for part in _parts(message)]
            blocks += [_tool_use(call) for call in message.get("tool_calls", [])]
            blocks[-1] |= _mark(message)
            messages.append({"role": message["role"], "content": blocks})
    return {
        "model": body["model"].partition("/")[2].replace("4.5", "4-5").replace("4.1", "4-1"),
        "max_tokens": 1000,
        "system": system,
        "messages": messages,
        "tools": [_tool(tool) for tool in body.get("tools", ())],
    }


def _parts(message: JSON) -> list[JSON]:
    return message.get("content") or []


def _mark(marked: JSON) -> JSON:
    return {name: value for name, value in marked.items() if name == "cache_control"}


def _tool(tool: JSON) -> JSON:
    function = tool["function"]
    schema = {"description": function["description"], "input_schema": function["parameters"]}
    return {"name": function["name"], **schema, **_mark(tool)}


def _tool_result(message: JSON) -> JSON:
    (part,) = message["content"]
    result = {"type": "tool_result", "tool_use_id": message["tool_call_id"]}
    return {**result, "content": part["text"], **_mark(part)}


def _block(part: JSON) -> JSON:
    if part["type"] != "image_url":
        return part
    image = {"type": "image", "source": {"type": "url", "url": part["image_url"]["url"]}}
    return image | _mark(part)


def _tool_use(call: JSON) -> JSON:
    arguments = json.loads(call["function"]["arguments"])
    return {
        "type": "tool_use",
        "id": call["id"],
        "name": call["function"]["name"],
        "input": arguments,
    }


def write_deepseek(prompt: Prompt) -> JSON:
    return write_claude(prompt.replace(marks=()))


def answer_deepseek(emulator: Emulator, sent: SentRequest) -> ProviderResponse:
    """Run the blocks through an automatic cache, and answer as Anthropic's API does."""
    body = json.loads(sent.body)
    messages = [
        {"role": message["role"], "content": json.dumps(block)}
        for message in ({"role": "system", "content": body["system"]}, *body["messages"])
        for block in message["content"]
    ]
    chat = {"model": body["model"], "messages": messages, "tools": body.get("tools", [])}
    response = _ask(emulator, "/v1/chat/completions", chat, sent, DEEPSEEK_RULES)
    if response.status != 200:
        return response
    result = emulator.records[-1].result
    usage = {
        "input_tokens": result.input_tokens - result.cache_read_tokens,
        "cache_read_input_tokens": result.cache_read_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": 20,
    }
    reply = {"id": response.body["id"], "type": "message", "role": "assistant", "usage": usage}
    reply |= {"model": body["model"], "content": [{"type": "text", "text": "Done."}]}
    return ProviderResponse(reply | {"stop_reason": "end_turn"}, commit=response.commit)


def _ask(
    emulator: Emulator, path: str, body: JSON, sent: SentRequest, more: JSON | None = None
) -> ProviderResponse:
    raw = json.dumps(body).encode()
    return emulator.handle_request("POST", path, raw, {**sent.headers, **(more or {})}, {})[0]
