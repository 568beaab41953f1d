"""Write a prompt as the JSON of each API."""

from __future__ import annotations

import json
from typing import Any

from tests.breaks.exam.prompts import (
    SYSTEM_MARK,
    TOOLS_MARK,
    Image,
    Part,
    Prompt,
    ToolCall,
    ToolResult,
    Turn,
)

JSON = dict[str, Any]


def _data_url(image: Image) -> str:
    return image.url or f"data:{image.media_type};base64,{image.data}"


def _chat_part(part: Part) -> JSON:
    if isinstance(part, Image):
        return {"type": "image_url", "image_url": {"url": _data_url(part)}}
    return {"type": "text", "text": part}


def _chat_messages(turn: Turn) -> list[JSON]:
    calls = [part for part in turn.parts if isinstance(part, ToolCall)]
    results = [part for part in turn.parts if isinstance(part, ToolResult)]
    content = [part for part in turn.parts if isinstance(part, str | Image)]
    messages: list[JSON] = [
        {"role": "tool", "tool_call_id": result.id, "content": result.text} for result in results
    ]
    if calls:
        tool_calls = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in calls
        ]
        text = content[0] if content else None
        messages.append({"role": "assistant", "content": text, "tool_calls": tool_calls})
    elif content:
        alone = content[0] if len(content) == 1 and isinstance(content[0], str) else None
        messages.append({"role": turn.role, "content": alone or [*map(_chat_part, content)]})
    return messages


def write_chat(prompt: Prompt) -> JSON:
    messages: list[JSON] = [{"role": "system", "content": text} for text in prompt.system]
    for turn in prompt.turns:
        messages += _chat_messages(turn)
    tools = [{"type": "function", "function": tool} for tool in prompt.tools]
    return {"messages": messages, **({"tools": tools} if tools else {})}


def _responses_items(turn: Turn) -> list[JSON]:
    items: list[JSON] = []
    content: list[JSON] = []
    for part in turn.parts:
        if isinstance(part, ToolCall):
            call = {"call_id": part.id, "name": part.name, "arguments": part.arguments}
            items.append({"type": "function_call", **call})
        elif isinstance(part, ToolResult):
            items.append({"type": "function_call_output", "call_id": part.id, "output": part.text})
        elif isinstance(part, Image):
            content.append({"type": "input_image", "image_url": _data_url(part)})
        else:
            kind = "output_text" if turn.role == "assistant" else "input_text"
            content.append({"type": kind, "text": part})
    return [*([{"role": turn.role, "content": content}] if content else []), *items]


def write_responses(prompt: Prompt) -> JSON:
    items: list[JSON] = [
        {"role": "developer", "content": [{"type": "input_text", "text": text}]}
        for text in prompt.system[1:]
    ]
    for turn in prompt.turns:
        items += _responses_items(turn)
    tools = [{"type": "function", **tool} for tool in prompt.tools]
    return {
        "instructions": prompt.system[0],
        "input": items,
        **({"tools": tools} if tools else {}),
    }


def _claude_image(image: Image) -> JSON:
    if image.url:
        return {"type": "image", "source": {"type": "url", "url": image.url}}
    source = {"type": "base64", "media_type": image.media_type, "data": image.data}
    return {"type": "image", "source": source}


def _claude_part(part: Part) -> JSON:
    if isinstance(part, Image):
        return _claude_image(part)
    if isinstance(part, ToolCall):
        arguments = json.loads(part.arguments)
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": arguments}
    if isinstance(part, ToolResult):
        return {"type": "tool_result", "tool_use_id": part.id, "content": part.text}
    return {"type": "text", "text": part}


def _claude_message(turn: Turn) -> JSON:
    role = "assistant" if turn.role == "assistant" else "user"
    return {"role": role, "content": [_claude_part(part) for part in turn.parts]}


CACHE_CONTROL: JSON = {"cache_control": {"type": "ephemeral"}}


def _mark_claude(body: JSON, marks: tuple[int, ...]) -> None:
    for mark in marks:
        if mark == TOOLS_MARK:
            body["tools"][-1] |= CACHE_CONTROL
        elif mark == SYSTEM_MARK:
            body["system"][-1] |= CACHE_CONTROL
        else:
            body["messages"][mark]["content"][-1] |= CACHE_CONTROL


def write_claude(prompt: Prompt) -> JSON:
    tools = [
        {"input_schema" if name == "parameters" else name: value for name, value in tool.items()}
        for tool in prompt.tools
    ]
    body: JSON = {
        "max_tokens": 1000,
        "system": [{"type": "text", "text": text} for text in prompt.system],
        "messages": [_claude_message(turn) for turn in prompt.turns],
        **({"tools": tools} if tools else {}),
    }
    _mark_claude(body, prompt.marks)
    return body


def write_claude_automatic(prompt: Prompt) -> JSON:
    return write_claude(prompt) | CACHE_CONTROL


def write_invoke(prompt: Prompt) -> JSON:
    return {"anthropic_version": "bedrock-2023-05-31"} | write_claude(prompt)


def _converse_part(part: Part) -> JSON:
    if isinstance(part, Image):
        return {"image": {"format": "png", "source": {"bytes": part.data}}}
    if isinstance(part, ToolCall):
        call = {"toolUseId": part.id, "name": part.name, "input": json.loads(part.arguments)}
        return {"toolUse": call}
    if isinstance(part, ToolResult):
        return {"toolResult": {"toolUseId": part.id, "content": [{"text": part.text}]}}
    return {"text": part}


def _converse_tool(tool: JSON) -> JSON:
    fields = {
        "inputSchema" if name == "parameters" else name: {"json": value}
        if name == "parameters"
        else value
        for name, value in tool.items()
    }
    return {"toolSpec": fields}


def write_converse(prompt: Prompt) -> JSON:
    point = {"cachePoint": {"type": "default"}}
    system: list[JSON] = [{"text": text} for text in prompt.system]
    tools = [_converse_tool(tool) for tool in prompt.tools]
    messages: list[JSON] = [
        {
            "role": "assistant" if turn.role == "assistant" else "user",
            "content": [_converse_part(part) for part in turn.parts],
        }
        for turn in prompt.turns
    ]
    for mark in prompt.marks:
        target = tools if mark == TOOLS_MARK else system
        (target if mark < 0 else messages[mark]["content"]).append(point)
    return {
        "system": system,
        "messages": messages,
        **({"toolConfig": {"tools": tools}} if tools else {}),
    }


def _gemini_image(image: Image, snake: bool) -> JSON:
    if image.url:
        return {"fileData": {"mimeType": image.media_type, "fileUri": image.url}}
    if snake:
        return {"inlineData": {"mime_type": image.media_type, "data": image.data}}
    return {"inlineData": {"mimeType": image.media_type, "data": image.data}}


def _gemini_part(part: Part, snake: bool) -> JSON:
    if isinstance(part, Image):
        return _gemini_image(part, snake)
    if isinstance(part, ToolCall):
        return {"functionCall": {"name": part.name, "args": json.loads(part.arguments)}}
    if isinstance(part, ToolResult):
        return {"functionResponse": {"name": part.name, "response": {"result": part.text}}}
    return {"text": part}


def write_gemini(prompt: Prompt, snake: bool = False) -> JSON:
    contents = [
        {
            "role": "model" if turn.role == "assistant" else "user",
            "parts": [_gemini_part(part, snake) for part in turn.parts],
        }
        for turn in prompt.turns
    ]
    return {
        "systemInstruction": {"parts": [{"text": text} for text in prompt.system]},
        "contents": contents,
        **({"tools": [{"functionDeclarations": [*prompt.tools]}]} if prompt.tools else {}),
    }


def write_gemini_dict(prompt: Prompt) -> JSON:
    """Write images as the SDK sends them if the application gives dicts: `mime_type`."""
    return write_gemini(prompt, snake=True)
