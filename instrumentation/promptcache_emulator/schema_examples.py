"""Make a small value that fits a JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from promptcache_emulator.json_util import as_object, is_array

_SAMPLE_VALUES: Final[Mapping[str, Any]] = {
    "string": "text",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "null": None,
}


def example_for_schema(schema: Any, root_schema: Any) -> Any:
    """Return the smallest value that fits the schema.

    Known are `$ref` (into `root_schema`), `anyOf`, `oneOf`, `allOf`, `enum`, `const`, objects,
    arrays and scalars.
    """
    node = as_object(schema)
    if "$ref" in node:
        return example_for_schema(_resolve_ref(str(node["$ref"]), root_schema), root_schema)
    for key in ("anyOf", "oneOf", "allOf"):
        if node.get(key):
            return example_for_schema(node[key][0], root_schema)
    if "const" in node or node.get("enum"):
        return node["const"] if "const" in node else node["enum"][0]
    return _example_for_type(node, root_schema)


def _example_for_type(node: Mapping[str, Any], root_schema: Any) -> Any:
    given = node.get("type", "object" if "properties" in node else "string")
    kind = str(next(iter(given)) if is_array(given) else given).lower()
    if kind == "object":
        properties = node.get("properties", {})
        return {name: example_for_schema(item, root_schema) for name, item in properties.items()}
    if kind == "array":
        item = example_for_schema(node.get("items", {}), root_schema)
        return [item] * max(1, node.get("minItems", 1))
    sample = _SAMPLE_VALUES[kind]
    return node.get("minimum", sample) if kind in {"integer", "number"} else sample


def _resolve_ref(pointer: str, root_schema: Any) -> Any:
    for part in pointer.removeprefix("#/").split("/"):
        root_schema = root_schema[part]
    return root_schema
