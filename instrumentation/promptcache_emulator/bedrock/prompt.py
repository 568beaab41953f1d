"""A Converse request as the cache reads it: tools, then system, then messages."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from promptcache_emulator.anthropic.prompt import bare_model_name
from promptcache_emulator.errors import ProviderError
from promptcache_emulator.json_util import (
    JSONObject,
    as_json_object,
    as_json_objects,
    to_compact_json,
)
from promptcache_emulator.prompt_layout import MESSAGES, SYSTEM, TOOLS, PromptBlock, PromptLayout
from promptcache_emulator.request import ProviderRequest

_BEFORE_CLAUDE_4_5: Final = re.compile(r"claude-(?:3|(?:opus|sonnet)-4-(?:[01]\b|20))")


def model_name(request: ProviderRequest) -> str:
    """Return the bare model name of an id, an inference profile or an ARN."""
    return re.sub(r"^.*?(?=claude-|nova-)", "", bare_model_name(request.path_params["model"]))


def parse_prompt(body: JSONObject, model: str) -> PromptLayout:
    """Return the blocks and salts. A cache point sets a breakpoint on the block before it."""
    config = as_json_object(body.get("toolConfig"))
    blocks: list[PromptBlock] = []
    for number, tool in enumerate(as_json_objects(config.get("tools"))):
        if "cachePoint" in tool and model.startswith("nova"):
            # AWS's page: Nova takes cache points in `system` and `messages` only.
            raise ProviderError(
                400,
                f"Malformed input request: #/toolConfig/tools/{number}: extraneous key [cachePoint]"
                " is not permitted, please reformat your input and try again.",
            )
        _append_block(blocks, tool, TOOLS, "", model)
    for block in as_json_objects(body.get("system")):
        _append_block(blocks, block, SYSTEM, "", model)
    has_images = False
    for message in as_json_objects(body.get("messages")):
        for index, block in enumerate(as_json_objects(message.get("content"))):
            header = "" if index else f"{message.get('role')}\n"
            _append_block(blocks, block, MESSAGES, header, model)
            has_images = has_images or "image" in block
    more = as_json_object(body.get("additionalModelRequestFields"))
    message_salt = [
        config.get("toolChoice"),
        more.get("thinking"),
        more.get("output_config"),
        has_images,
    ]
    return PromptLayout(tuple(blocks), (model, "", to_compact_json(message_salt)))


def _append_block(
    blocks: list[PromptBlock], block: JSONObject, level: int, header: str, model: str
) -> None:
    if "cachePoint" not in block:
        text = str(block["text"]) if "text" in block else to_compact_json(block)
        fixed_tokens = 1500 if {"image", "document", "video"} & block.keys() else None
        blocks.append(PromptBlock(header + text, level, fixed_tokens=fixed_tokens))
    elif not blocks:
        raise ProviderError(400, "a cachePoint must follow the content that it caches")
    else:
        ttl = str(as_json_object(block["cachePoint"]).get("ttl") or "")
        _check_ttl(ttl, model)
        blocks[-1] = replace(blocks[-1], breakpoint_ttl=ttl)


def _check_ttl(ttl: str, model: str) -> None:
    """Refuse an hour as AWS does, in the words that earendil-works/pi#1570 quotes."""
    if ttl != "1h":
        return
    if model.startswith("nova"):
        message = "Extended TTL prompt caching is only supported for Anthropic models"
        raise ProviderError(400, message)
    if _BEFORE_CLAUDE_4_5.match(model):
        raise ProviderError(400, "cachePoint.ttl: Extra inputs are not permitted")
