"""Make a small value that fits a JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from promptcache_emulator.json_util import as_json_object, is_json_array, to_compact_json

_SAMPLE_VALUES: Final[Mapping[str, Any]] = {
    "string": "text",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "null": None,
}


_MAX_SIZE: Final = 100_000
"""Of one example, in values and characters. A schema of a hundred bytes can describe millions."""


def example_for_schema(schema: Any, root_schema: Any) -> Any:
    """Return the smallest value that fits the schema.

    Known are `$ref` (into `root_schema`), `anyOf`, `oneOf`, `allOf`, `enum`, `const`, objects,
    arrays and scalars. Raise ValueError if the example would be too large, RecursionError if the
    schema contains itself.
    """
    return _ExampleMaker(root_schema).make_example(schema)


@dataclass(slots=True)
class _ExampleMaker:
    root_schema: Any
    size: int = 0

    def make_example(self, schema: Any) -> Any:
        self._count_example_size(1)
        node = as_json_object(schema)
        if "$ref" in node:
            return self.make_example(_resolve_ref(str(node["$ref"]), self.root_schema))
        for key in ("anyOf", "oneOf", "allOf"):
            if node.get(key):
                return self.make_example(node[key][0])
        if "const" in node or node.get("enum"):
            return self._copy_example(node["const"] if "const" in node else node["enum"][0])
        return self._make_by_type(node)

    def _make_by_type(self, node: Mapping[str, Any]) -> Any:
        given = node.get("type", "object" if "properties" in node else "string")
        kind = str(next(iter(given)) if is_json_array(given) else given).lower()
        if kind == "object":
            properties = node.get("properties", {})
            self._count_example_size(sum(map(len, properties)))
            return {name: self.make_example(item) for name, item in properties.items()}
        if kind == "array":
            length = max(1, int(node.get("minItems", 1)))
            return [self.make_example(node.get("items", {})) for _ in range(length)]
        sample = _SAMPLE_VALUES[kind]
        is_number = kind in {"integer", "number"}
        return self._copy_example(node.get("minimum", sample) if is_number else sample)

    def _copy_example(self, value: Any) -> Any:
        self._count_example_size(len(to_compact_json(value)))
        return value

    def _count_example_size(self, size: int) -> None:
        self.size += size
        if self.size > _MAX_SIZE:
            raise ValueError("the example of the schema is too large")


def _resolve_ref(pointer: str, root_schema: Any) -> Any:
    for part in pointer.removeprefix("#/").split("/"):
        root_schema = root_schema[part]
    return root_schema
