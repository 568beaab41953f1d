"""What the emulated model says: short, deterministic, and a fitting tool call or JSON object where one is asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from promptcache_emulator import tokens
from promptcache_emulator.json_util import as_object, is_array

_WORDS: Final = re.findall(
    r"\w+", "the answer follows from what you sent and nothing else, so it is kept short on purpose"
)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call. `arguments` fits the tool's schema."""

    name: str
    arguments: dict[str, Any]

    @property
    def arguments_json(self) -> str:
        return json.dumps(self.arguments)


@dataclass(frozen=True, slots=True)
class Reply:
    """Either `text` or tool `calls`."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()

    @property
    def chunks(self) -> list[str]:
        """The text as it is streamed: word by word, joining to the whole."""
        return re.findall(r"\S+\s*|\s+", self.text)

    @property
    def token_count(self) -> int:
        return tokens.count_tokens(self.text) + sum(
            tokens.count_tokens(call.name + call.arguments_json) for call in self.calls
        )


@dataclass(frozen=True, slots=True)
class ReplyRequest:
    """What decides the reply: `tools` maps names to schemas; `tool_choice` is `none`, `auto`, `required` or a tool's name;
    `last_text` is the newest text; `is_tool_result` says that it is a tool's result; `json_schema` asks for a JSON object."""

    last_text: str
    tools: Mapping[str, Any]
    tool_choice: str = "auto"
    is_tool_result: bool = False
    json_schema: Any = None
    word_count: int = 8


def generate_reply(ask: ReplyRequest) -> Reply:
    """The reply. With `auto`, a tool is called if the newest user text names it."""
    if name := _chosen_tool(ask):
        return Reply(
            calls=(ToolCall(name, as_object(example_for_schema(ask.tools[name], ask.tools[name]))),)
        )
    if ask.json_schema is not None:
        return Reply(json.dumps(example_for_schema(ask.json_schema, ask.json_schema)))
    seed = int.from_bytes(
        blake2b(ask.last_text.encode("utf-8", "surrogatepass"), digest_size=2).digest()
    )
    said = [_WORDS[(seed + index) % len(_WORDS)] for index in range(max(1, ask.word_count - 1))]
    return Reply(" ".join([*said, f"{seed:04x}."][: max(1, ask.word_count)]))


def _chosen_tool(ask: ReplyRequest) -> str | None:
    if ask.tool_choice in ask.tools:
        return ask.tool_choice
    if ask.tool_choice == "required":
        return next(iter(ask.tools), None)
    if ask.tool_choice == "none" or ask.is_tool_result:
        return None
    return next(
        (name for name in ask.tools if re.search(rf"\b{re.escape(name)}\b", ask.last_text)), None
    )


_SAMPLE_VALUES: Final[Mapping[str, Any]] = {
    "string": "text",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "null": None,
}


def example_for_schema(schema: Any, root_schema: Any) -> Any:
    """The smallest value that fits a JSON schema (`$ref`, `anyOf`, `enum`, `const`, objects, arrays, scalars)."""
    node = as_object(schema)
    if "$ref" in node:
        return example_for_schema(_resolve_ref(str(node["$ref"]), root_schema), root_schema)
    for key in ("anyOf", "oneOf", "allOf"):
        if node.get(key):
            return example_for_schema(node[key][0], root_schema)
    if "const" in node or node.get("enum"):
        return node["const"] if "const" in node else node["enum"][0]
    kind = node.get("type", "object" if "properties" in node else "string")
    kind = str(next(iter(kind)) if is_array(kind) else kind).lower()
    if kind == "object":
        return {
            name: example_for_schema(inner, root_schema)
            for name, inner in node.get("properties", {}).items()
        }
    if kind == "array":
        return [example_for_schema(node.get("items", {}), root_schema)] * max(
            1, node.get("minItems", 1)
        )
    return (
        node.get("minimum", _SAMPLE_VALUES[kind])
        if kind in {"integer", "number"}
        else _SAMPLE_VALUES[kind]
    )


def _resolve_ref(pointer: str, root: Any) -> Any:
    for part in pointer.removeprefix("#/").split("/"):
        root = root[part]
    return root
