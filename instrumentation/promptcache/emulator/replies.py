"""What the emulated model says: short, deterministic, and a fitting tool call or JSON object where one is asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from promptcache.emulator import tokens
from promptcache.emulator.plain import is_array, obj

_WORDS: Final = re.findall(
    r"\w+", "the answer follows from what you sent and nothing else, so it is kept short on purpose"
)


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call. `arguments` fits the tool's schema."""

    name: str
    arguments: dict[str, Any]

    @property
    def json(self) -> str:
        return json.dumps(self.arguments)


@dataclass(frozen=True, slots=True)
class Reply:
    """Either `text` or tool `calls`."""

    text: str = ""
    calls: tuple[Call, ...] = ()

    @property
    def chunks(self) -> list[str]:
        """The text as it is streamed: word by word, joining to the whole."""
        return re.findall(r"\S+\s*|\s+", self.text)

    @property
    def tokens(self) -> int:
        return tokens.count(self.text) + sum(
            tokens.count(call.name + call.json) for call in self.calls
        )


@dataclass(frozen=True, slots=True)
class Ask:
    """What decides the reply: `tools` maps names to schemas; `choice` is `none`, `auto`, `required` or a tool's name;
    `last` is the newest text; `answered` says that it is a tool's result; `schema` asks for a JSON object."""

    last: str
    tools: Mapping[str, Any]
    choice: str = "auto"
    answered: bool = False
    schema: Any = None
    words: int = 8


def reply(ask: Ask) -> Reply:
    """The reply. With `auto`, a tool is called if the newest user text names it."""
    if name := _called(ask):
        return Reply(calls=(Call(name, obj(instance(ask.tools[name], ask.tools[name]))),))
    if ask.schema is not None:
        return Reply(json.dumps(instance(ask.schema, ask.schema)))
    seed = int.from_bytes(
        blake2b(ask.last.encode("utf-8", "surrogatepass"), digest_size=2).digest()
    )
    said = [_WORDS[(seed + index) % len(_WORDS)] for index in range(max(1, ask.words - 1))]
    return Reply(" ".join([*said, f"{seed:04x}."][: max(1, ask.words)]))


def _called(ask: Ask) -> str | None:
    if ask.choice in ask.tools:
        return ask.choice
    if ask.choice == "required":
        return next(iter(ask.tools), None)
    if ask.choice == "none" or ask.answered:
        return None
    return next(
        (name for name in ask.tools if re.search(rf"\b{re.escape(name)}\b", ask.last)), None
    )


_SAMPLES: Final[Mapping[str, Any]] = {
    "string": "text",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "null": None,
}


def instance(schema: Any, root: Any) -> Any:
    """The smallest value that fits a JSON schema (`$ref`, `anyOf`, `enum`, `const`, objects, arrays, scalars)."""
    node = obj(schema)
    if "$ref" in node:
        return instance(_resolve(str(node["$ref"]), root), root)
    for key in ("anyOf", "oneOf", "allOf"):
        if node.get(key):
            return instance(node[key][0], root)
    if "const" in node or node.get("enum"):
        return node["const"] if "const" in node else node["enum"][0]
    kind = node.get("type", "object" if "properties" in node else "string")
    kind = str(next(iter(kind)) if is_array(kind) else kind).lower()
    if kind == "object":
        return {name: instance(inner, root) for name, inner in node.get("properties", {}).items()}
    if kind == "array":
        return [instance(node.get("items", {}), root)] * max(1, node.get("minItems", 1))
    return node.get("minimum", _SAMPLES[kind]) if kind in {"integer", "number"} else _SAMPLES[kind]


def _resolve(pointer: str, root: Any) -> Any:
    for part in pointer.removeprefix("#/").split("/"):
        root = root[part]
    return root
