"""An OpenAI request as the cache reads it: schema, tools, instructions, messages or input items."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from promptcache_emulator.errors import ProviderError
from promptcache_emulator.json_util import (
    JSONObject,
    as_json_object,
    as_json_objects,
    is_json_array,
    to_compact_json,
)
from promptcache_emulator.openai.models import reported_tier
from promptcache_emulator.prompt_layout import MESSAGES, SYSTEM, TOOLS, PromptBlock, PromptLayout
from promptcache_emulator.request import ProviderRequest

_BREAKPOINT_KEY: Final = "prompt_cache_breakpoint"
_NON_TEXT_TYPES: Final = ("image_url", "input_image", "input_audio", "file", "input_file")
_IGNORED_KEYS: Final = frozenset({"id", "status", _BREAKPOINT_KEY, "phase"})
"""Keys of an item that do not belong to the prompt."""


def cache_salts_by_name(request: ProviderRequest, model: str) -> dict[str, str]:
    """Return the parameters that separate cache entries, in the order of OpenAI's diagnosis.

    Guide and diagnostics page of autumn 2026. `prompt_cache_key` separates cache entries on GPT-5.6
    and later; on earlier models it only routes.
    """
    body = request.body
    text, reasoning = as_json_object(body.get("text")), as_json_object(body.get("reasoning"))
    values = {
        "model_changed": model,
        "prompt_cache_key_changed": body.get("prompt_cache_key"),
        "service_tier_changed": reported_tier(body),
        "tools_changed": body.get("parallel_tool_calls"),
        "text_format_changed": body.get("response_format") or text.get("format"),
        "reasoning_effort_changed": body.get("reasoning_effort") or reasoning.get("effort"),
        "verbosity_changed": body.get("verbosity") or text.get("verbosity"),
        "context_compacted": body.get("context_management"),
    }
    return {name: to_compact_json(value) for name, value in values.items()}


def parse_prompt(
    request: ProviderRequest, model: str, items: list[Any], instructions: Any = None
) -> PromptLayout:
    """Return the blocks and salts of a request. `items` are messages or input items."""
    body = request.body
    blocks = [PromptBlock(to_compact_json(schema), TOOLS) for schema in _json_schemas(body)]
    tools = [*as_json_objects(body.get("tools")), *as_json_objects(body.get("functions"))]
    blocks += [
        PromptBlock(to_compact_json(tool), TOOLS) for tool in tools if not tool.get("defer_loading")
    ]
    if instructions:
        blocks.append(PromptBlock(f"developer\n{_value_as_text(instructions)}", SYSTEM))
    is_leading = True
    for item in items:
        is_leading = is_leading and item.get("role") in {"system", "developer"}
        blocks += _item_blocks(item, SYSTEM if is_leading else MESSAGES)
    if not blocks:
        raise ProviderError(400, "nothing to answer: the request holds no message")
    return PromptLayout(
        tuple(blocks), (to_compact_json(cache_salts_by_name(request, model)), "", "")
    )


def _json_schemas(body: JSONObject) -> Iterator[Any]:
    for output_format in (
        body.get("response_format"),
        as_json_object(body.get("text")).get("format"),
    ):
        if as_json_object(output_format).get("type") == "json_schema":
            yield output_format


def _item_blocks(item: JSONObject, level: int) -> list[PromptBlock]:
    """Return the blocks of one message or input item: one for each part of its content.

    The result of a tool may have parts, too, with breakpoints (openai 3.57.0,
    response_function_call_output_item_param.py).
    """
    key = "output" if is_json_array(item.get("output")) else "content"
    header = _item_header({name: value for name, value in item.items() if name != key})
    content = item.get(key)
    if not is_json_array(content) or not content:
        return [PromptBlock(header + (content if isinstance(content, str) else ""), level)]
    parts = as_json_objects(content)
    blocks: list[PromptBlock] = []
    for index, part in enumerate(parts):
        marker = part.get(_BREAKPOINT_KEY)
        text, fixed_tokens = _text_and_size_of_part(part)
        blocks.append(
            PromptBlock(
                (header if index == 0 else "\n") + text,
                level,
                breakpoint_ttl=None if marker is None else str(marker.get("ttl") or ""),
                ends_message=index == len(parts) - 1,
                fixed_tokens=fixed_tokens,
            )
        )
    return blocks


def _item_header(item: JSONObject) -> str:
    """Return the role and the fields of an item that are not its content."""
    excluded = {*_IGNORED_KEYS, "content", "role"}
    fields = {key: value for key, value in item.items() if key not in excluded}
    fields_text = to_compact_json(fields) if set(fields) - {"type"} else ""
    return str(item.get("role", "")) + fields_text + "\n"


def _text_and_size_of_part(part: JSONObject) -> tuple[str, int | None]:
    """Return the text of a part, and its token count if it is no text."""
    if str(part.get("type")) not in _NON_TEXT_TYPES:
        return str(part.get("text", part.get("refusal", ""))), None
    detail = part.get("detail") or as_json_object(part.get("image_url")).get("detail")
    fields = {key: value for key, value in part.items() if key != _BREAKPOINT_KEY}
    return to_compact_json(fields), 85 if detail == "low" else 765


def _value_as_text(value: Any) -> str:
    return value if isinstance(value, str) else to_compact_json(value)
