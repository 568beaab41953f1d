"""A Messages request as Anthropic's cache reads it: tools, then system, then messages.

Source: Anthropic documentation, "prompt caching", autumn 2026.
"""

from __future__ import annotations

import re
from typing import Any, Final

from promptcache_emulator.bounds import MAX_MODEL_LENGTH
from promptcache_emulator.errors import ProviderError
from promptcache_emulator.json_util import (
    JSONObject,
    as_json_object,
    as_json_objects,
    to_compact_json,
)
from promptcache_emulator.prompt_layout import MESSAGES, SYSTEM, TOOLS, PromptBlock, PromptLayout

_CACHE_CONTROL: Final = "cache_control"
_DROPS_EARLIER_THINKING: Final = re.compile(
    r"claude-(3|opus-4(-[01]|-2\d{7})?$|sonnet-4(-[05]|-2\d{7})?|.*haiku)"
)
"""Models that drop earlier thinking when the user sends a new message.

Opus from 4.5 and Sonnet from 4.6 on keep it.
"""


def bare_model_name(model: str) -> str:
    """Return the model name of a Bedrock id, an ARN, or a Vertex id with its date."""
    if len(model) > MAX_MODEL_LENGTH:
        raise ProviderError(400, f"model: at most {MAX_MODEL_LENGTH} characters are allowed")
    found = re.search(r"claude-[a-z0-9-]+?(?=(-v\d+(:\d+)?)?$|@|$)", model)
    return found[0] if found else model


def parse_prompt(body: JSONObject, model: str, beta_header: str = "") -> PromptLayout:
    """Return the blocks and salts of a Messages request."""
    tools = [_tool_block(tool) for tool in as_json_objects(body.get("tools"))]
    blocks = sorted(tools, key=lambda block: block.level)
    blocks += [_prompt_block(block, SYSTEM, "") for block in content_blocks(body.get("system"))]
    for message in _remove_dropped_thinking(as_json_objects(body.get("messages")), model):
        for index, block in enumerate(content_blocks(message.get("content"))):
            header = "" if index else f"{message.get('role')}\n"
            blocks.append(_prompt_block(block, MESSAGES, header))
    return PromptLayout(tuple(blocks), _cache_salts_by_level(body, model, beta_header))


def content_blocks(content: Any) -> list[JSONObject]:
    """Return the blocks of a system prompt or a message. A string is one text block."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return as_json_objects(content)


def _tool_block(tool: JSONObject) -> PromptBlock:
    # Adding or removing web search keeps the other tools cached and invalidates the levels after
    # them. So it is a block of the level SYSTEM.
    is_web_search = str(tool.get("type", "")).startswith("web_search")
    return _prompt_block(tool, SYSTEM if is_web_search else TOOLS, "", as_json=True)


def _prompt_block(
    block: JSONObject, level: int, header: str, *, as_json: bool = False
) -> PromptBlock:
    bare = {key: value for key, value in block.items() if key != _CACHE_CONTROL}
    is_text = not as_json and block.get("type") == "text" and not block.get("citations")
    text = header + (str(block.get("text", "")) if is_text else to_compact_json(bare))
    marker = block.get(_CACHE_CONTROL)
    breakpoint_ttl = as_json_object(marker).get("ttl", "") if marker else None
    is_binary = as_json_object(block.get("source")).get("type") != "text"
    fixed_tokens = {"image": 1500, "document": 2000} if is_binary else {}
    return PromptBlock(
        text or " ",
        level,
        breakpoint_ttl,
        fixed_tokens=fixed_tokens.get(str(block.get("type"))),
    )


def _remove_dropped_thinking(messages: list[JSONObject], model: str) -> list[JSONObject]:
    """Return the messages as the model reads them.

    Older models drop the thinking before the last message that the user wrote.
    """
    if not _DROPS_EARLIER_THINKING.match(bare_model_name(model)):
        return messages
    written_by_user = [
        index
        for index, message in enumerate(messages)
        if message.get("role") == "user" and not _has_tool_result(message)
    ]
    last = written_by_user[-1] if written_by_user else 0
    return [
        _remove_thinking_blocks(message) if index < last else message
        for index, message in enumerate(messages)
    ]


def _remove_thinking_blocks(message: JSONObject) -> JSONObject:
    kept = [
        block
        for block in content_blocks(message.get("content"))
        if "thinking" not in str(block.get("type"))
    ]
    return message | {"content": kept}


def _has_tool_result(message: JSONObject) -> bool:
    blocks = as_json_objects(message.get("content"))
    return any(block.get("type") == "tool_result" for block in blocks)


def _cache_salts_by_level(body: JSONObject, model: str, beta_header: str) -> tuple[str, str, str]:
    """Return the parameters that invalidate from tools, from system and from messages on.

    Source: the table of the documentation, autumn 2026.
    """
    config = as_json_object(body.get("output_config"))
    text = to_compact_json([body.get("system"), body.get("messages")])
    tools = [model, beta_header]
    system = [
        body.get("speed"),
        '"citations":{"enabled":true' in text,
        body.get("output_format"),
        config.get("format"),
    ]
    messages = [
        body.get("tool_choice"),
        body.get("thinking"),
        config.get("effort"),
        body.get("context_management"),
        '"type":"image"' in text,
    ]
    return to_compact_json(tools), to_compact_json(system), to_compact_json(messages)
