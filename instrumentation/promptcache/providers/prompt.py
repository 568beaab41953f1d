"""Build a parsed prompt: its blocks, its cache breakpoints and the parameters that affect the
cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, cast

from promptcache.common.coerce import JSONObject, as_mapping, as_str
from promptcache.model import (
    Block,
    InvalidationLevel,
    Param,
    PlainBlock,
    PromptBlocks,
    Section,
)

ParamLevels = tuple[tuple[str, InvalidationLevel], ...]
"""Request parameters by their dotted names, each with the first section that a change takes out of
the cache."""


PARAM_NAMES: Final = frozenset(
    {
        *("additionalModelRequestFields", "anthropic_beta", "chat_template_kwargs", "citations"),
        *("compaction", "container", "context_management", "enable_thinking", "generation_config"),
        *("generationConfig.mediaResolution", "generationConfig.responseJsonSchema"),
        *("generationConfig.responseSchema", "generationConfig.thinkingConfig", "guardrailConfig"),
        *("images", "inference_geo", "mcp_servers", "output_config.effort"),
        *("output_config.format", "output_format", "parallel_tool_calls"),
        *("performanceConfig.latency", "prompt_cache_key", "prompt_cache_options.mode"),
        *("prompt_cache_options.ttl", "prompt_cache_retention", "reasoning", "reasoning.effort"),
        *("reasoning_effort", "response_format", "service_tier", "serviceTier"),
        *("serviceTier.type", "speed", "text.format", "text.verbosity", "thinking"),
        *("tool_choice", "toolConfig", "toolConfig.toolChoice", "truncation", "verbosity"),
        *("web_search_options",),
    }
)
"""The names that a verdict may show. A verdict calls each other parameter `other`, because its name
could be a user's word. `tests/test_param_names.py` compares them with the lists of the wires."""

OTHER_PARAM: Final = "other"


def split_cache_marker(part: JSONObject, marker_key: str) -> tuple[JSONObject, str | None]:
    """Return a content part without its cache marker, and the TTL that the marker requests.

    The TTL is "" if the marker names none, and None if there is no marker.
    """
    if marker_key not in part:
        return part, None
    fields = as_mapping(part[marker_key])
    is_marked = bool(fields) or part[marker_key] is True
    ttl = (as_str(fields.get("ttl")) or "") if is_marked else None
    return {name: value for name, value in part.items() if name != marker_key}, ttl


class BlockCollector:
    """Collects blocks and numbers them within their sections. The messages come last."""

    def __init__(self) -> None:
        self._entries: list[Block | PlainBlock] = []
        self._next_index: dict[str, int] = {}
        self._static_depth: int | None = None
        self._breakpoint_depths: list[int] = []

    def add(
        self, section: Section, kind: object, data: object, breakpoint_ttl: str | None = None
    ) -> None:
        """Append a block. A `kind` that is no string becomes `unknown`."""
        if section == "messages":
            index = len(self._entries) - self._begin_messages()
        else:
            index = self._next_index.get(section, 0)
            self._next_index[section] = index + 1
        name = kind if isinstance(kind, str) else "unknown"
        self._entries.append(Block(section, index, name, data, breakpoint_ttl))
        if breakpoint_ttl is not None:
            self._breakpoint_depths.append(len(self._entries))

    def add_messages(
        self,
        messages: Iterable[JSONObject],
        add_other: Callable[[JSONObject], object],
        *,
        has_parts: bool = False,
        parts_field: str = "content",
        part_start: PlainBlock = ("type", "text", "text"),
    ) -> None:
        """Append messages: those of a role and a text as plain blocks, others by `add_other`.

        A message may be anything, since an application or its framework wrote it. `parts_field`
        names its text or its parts, and `part_start` is a text part up to its text.
        `has_parts` says that a text is the same as one text part on this wire format.
        """
        self._begin_messages()
        append = self._entries.append
        for message in messages:
            fields: JSONObject = message
            if type(message) is dict and len(fields) == 2:
                (first, role), (second, content) = fields.items()
                if (
                    type(content) is str
                    and first == "role"
                    and second == parts_field
                    and type(role) is str
                ):
                    if has_parts:
                        append(("role", role, second, *part_start, content))
                    else:
                        append(("role", role, second, content))
                    continue
                if plain := _plain_block_of_part(fields, parts_field, part_start):
                    append(plain)
                    continue
            add_other(fields)

    def _begin_messages(self) -> int:
        if self._static_depth is None:
            self._static_depth = len(self._entries)
        return self._static_depth

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def has_breakpoints(self) -> bool:
        """Whether any block carries a cache breakpoint."""
        return bool(self._breakpoint_depths)

    def has_kind(self, text: str) -> bool:
        """Return whether the kind of any block contains `text`. Plain blocks are texts."""
        return any(type(one) is Block and text in one.kind for one in self._entries)

    def to_blocks(self) -> PromptBlocks:
        """Return the blocks so far."""
        depths = tuple(self._breakpoint_depths)
        return PromptBlocks(self._entries, self._begin_messages(), depths)


def _plain_block_of_part(
    message: JSONObject, parts_field: str, part_start: PlainBlock
) -> PlainBlock | None:
    """Return the plain block of a message of two fields whose only part is a text part."""
    role, parts = message.get("role"), message.get(parts_field)
    if type(role) is not str or not isinstance(parts, list):
        return None
    parts = cast("list[object]", parts)
    if len(parts) != 1:
        return None
    part = as_mapping(parts[0])
    if tuple(part) != part_start[::2]:
        return None
    text = part["text"]
    if type(text) is not str or part.get("type", "text") != "text":
        return None
    return ("role", role, parts_field, *part_start, text)


def select_cache_relevant_params(body: JSONObject, levels: ParamLevels) -> tuple[Param, ...]:
    """Return the parameters of `levels` that the body sets."""
    found: list[Param] = []
    for name, level, head, steps in _split_names(levels):
        if head not in body:
            continue
        value = body[head]
        for step in steps:
            value = as_mapping(value).get(step)
        if value is not None:
            found.append(Param(name, value, level))
    return tuple(found)


@lru_cache(maxsize=64)
def _split_names(
    levels: ParamLevels,
) -> tuple[tuple[str, InvalidationLevel, str, tuple[str, ...]], ...]:
    """Return each name with its level, its first part and its other parts."""
    return tuple(
        (name, level, name.partition(".")[0], tuple(name.split(".")[1:])) for name, level in levels
    )
