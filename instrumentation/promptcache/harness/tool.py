"""A tool in the harness's own form, and the stable order of tools."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NotRequired, TypedDict

from promptcache.harness.frozen_json import canonical_json, freeze_json
from promptcache.harness.json_guards import is_object
from promptcache.harness.names import Block
from promptcache.harness.prompt_error import PromptError


class Tool(TypedDict):
    """A function that the model may call. Each wire renders it in its own form.

    `schema` is the JSON schema of the arguments. `strict` asks the provider to enforce it.
    """

    name: str
    description: NotRequired[str]
    schema: NotRequired[Mapping[str, Any]]
    strict: NotRequired[bool]


_TOOL_KEYS: Final = frozenset(Tool.__annotations__)
_CONVERSE_KEYS: Final = frozenset({"toolSpec", "systemTool", "cachePoint"})
_GEMINI_KEYS: Final = frozenset(
    name
    for snake_case in (
        "function_declarations",
        "google_search",
        "google_maps",
        "code_execution",
        "url_context",
        "file_search",
        "computer_use",
    )
    for name in (snake_case, re.sub(r"_(.)", lambda found: found[1].upper(), snake_case))
)
"""The fields of a tool in google-genai 3.6.1 (types.Tool), in both spellings."""
_DATED_TYPE: Final = re.compile(r".*_20\d{6}$|custom$|mcp_toolset$")
"""Types of Anthropic's own tools end with a date, such as `web_search_20260318`."""


def freeze_tools(tools: Sequence[Tool | Mapping[str, Any]], *, sort_keys: bool) -> list[Block]:
    """Return copies of the definitions in a stable order: by name, nameless ones by their type.

    With `sort_keys=False` keys and tools keep the order in which they were given. Raise PromptError
    for a name that occurs twice.
    """
    frozen = [
        freeze_json(tool, f"tools[{index}]", sort_keys=sort_keys)
        for index, tool in enumerate(tools)
    ]
    names: set[str] = set()
    for index, tool in enumerate(frozen):
        if not is_object(tool):
            raise PromptError(f"tools[{index}]", "is not a mapping")
        name = name_of_tool(tool)
        if name in names:
            raise PromptError(f"tools[{index}]", f"has the name {name!r} of another tool")
        names |= {name} if name else set()
    return sorted(frozen, key=_sort_key) if sort_keys else frozen


def name_of_tool(tool: Block) -> str | None:
    """Return the name of a tool in the harness's form or in any wire's; None if it has none."""
    for fields in (tool, *(tool.get(key) for key in ("function", "custom", "toolSpec"))):
        if is_object(fields):
            name = fields.get("name")
            if isinstance(name, str):
                return name
    return None


def _sort_key(tool: Block) -> tuple[bool, str, str]:
    name = name_of_tool(tool)
    return name is None, name or str(tool.get("type", "")), canonical_json(tool)


def wire_of_tool(tool: Block) -> str | None:
    """Return the wire in whose own form a tool is written; None for the harness's own form."""
    if "type" not in tool and tool.keys() <= _TOOL_KEYS and "name" in tool:
        return None
    if not tool.keys().isdisjoint(_CONVERSE_KEYS):
        return "converse"
    if not tool.keys().isdisjoint(_GEMINI_KEYS):
        return "gemini"
    kind = tool.get("type")
    if "input_schema" in tool or (isinstance(kind, str) and _DATED_TYPE.match(kind)):
        return "chat" if "custom" in tool else "anthropic"
    if "function" in tool or "custom" in tool:
        return "chat"
    return "responses" if isinstance(kind, str) else "unknown"
