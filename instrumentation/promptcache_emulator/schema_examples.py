"""Make a small value that fits a JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from promptcache_emulator.json_util import as_json_object, is_json_array, to_compact_json
from promptcache_emulator.schema_values import SAMPLE_TEXT, make_number, make_string, vary

_BOUNDS: Final = frozenset({"pattern", "format", "const", "maximum", "maxLength"})
"""Keywords that another value of the same type may not meet."""
_MAX_SIZE: Final = 100_000
"""Of one example, in values and characters. A schema of a hundred bytes can describe millions."""


def example_for_schema(schema: Any, root_schema: Any, unmet: list[str] | None = None) -> Any:
    """Return a small value that fits the schema.

    Known are `$ref` (into `root_schema`), `anyOf`, `oneOf`, `allOf`, `enum`, `const`, objects,
    arrays and scalars with their bounds, common formats and simple patterns. A keyword that the
    value may not meet is added to `unmet`, such as "format `isbn`". A schema that contains itself
    ends where it may. Raise ValueError if the example would be too large, RecursionError if the
    schema does not end.
    """
    maker = _ExampleMaker(root_schema)
    example = maker.make_example(schema)
    if unmet is not None:
        unmet += maker.unmet
    return example


@dataclass(slots=True)
class _ExampleMaker:
    root_schema: Any
    size: int = 0
    unmet: list[str] = field(default_factory=list[str])
    open_refs: list[str] = field(default_factory=list[str])

    def make_example(self, schema: Any) -> Any:
        self._count_example_size(1)
        node = as_json_object(schema)
        if "$ref" in node:
            return self._follow(str(node["$ref"]))
        if node.get("allOf"):
            return self.make_example(self._merge(node))
        for key in ("anyOf", "oneOf"):
            if node.get(key):
                return self._first_that_ends(node[key])
        if "const" in node or node.get("enum"):
            return self._copy_example(node["const"] if "const" in node else node["enum"][0])
        return self._make_by_type(node)

    def _follow(self, ref: str) -> Any:
        if ref in self.open_refs:
            raise RecursionError("the schema contains itself")
        self.open_refs.append(ref)
        try:
            return self.make_example(_resolve_ref(ref, self.root_schema))
        finally:
            self.open_refs.pop()

    def _merge(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """Return one schema with the keywords of all parts."""
        merged = {key: value for key, value in node.items() if key != "allOf"}
        for part in node["allOf"]:
            found = self._resolve(part)
            properties = {**merged.get("properties", {}), **found.get("properties", {})}
            merged = {**merged, **found, **({"properties": properties} if properties else {})}
        return merged

    def _first_that_ends(self, options: list[Any]) -> Any:
        """Return an example of the first option that does not contain itself."""
        for option in options[:-1]:
            unmet = len(self.unmet)
            try:
                return self.make_example(option)
            except RecursionError:
                del self.unmet[unmet:]
        return self.make_example(options[-1])

    def _make_by_type(self, node: Mapping[str, Any]) -> Any:
        given = node.get("type", "object" if "properties" in node else "string")
        kind = str(next(iter(given)) if is_json_array(given) else given).lower()
        if kind == "object":
            return self._make_object(node)
        if kind == "array":
            return self._make_array(node)
        if kind in ("integer", "number"):
            number = make_number(node, is_integer=kind == "integer")
            return self._copy_example(self._or_unmet(number, node, "minimum", 1))
        if kind == "boolean":
            return self._copy_example(True)
        if kind == "null":
            return self._copy_example(None)
        if kind != "string":
            raise ValueError(f"no such type in a schema: {kind[:20]}")
        if node.get("contentMediaType") == "application/json":
            inner = self.make_example(node.get("contentSchema", {"type": "object"}))
            return self._copy_example(to_compact_json(inner))
        keyword = "pattern" if node.get("pattern") is not None else "format"
        return self._copy_example(self._or_unmet(make_string(node), node, keyword, SAMPLE_TEXT))

    def _or_unmet(self, value: Any, node: Mapping[str, Any], keyword: str, sample: Any) -> Any:
        """Return the value, or a sample where no value was found."""
        if value is not None:
            return value
        name = f" `{str(node['format'])[:40]}`" if keyword == "format" and "format" in node else ""
        self.unmet.append(f"{keyword}{name}")
        return sample

    def _make_object(self, node: Mapping[str, Any]) -> dict[str, Any]:
        properties = node.get("properties", {})
        self._count_example_size(sum(map(len, properties)))
        example: dict[str, Any] = {}
        for name, item in properties.items():
            try:
                example[name] = self.make_example(item)
            except RecursionError:
                if name in node.get("required", properties):
                    raise
        for number in range(len(example), int(node.get("minProperties", 0))):
            example[f"key{number}"] = self.make_example(node.get("additionalProperties", {}))
        return example

    def _make_array(self, node: Mapping[str, Any]) -> list[Any]:
        shortest = int(node.get("minItems", 0))
        first = [self.make_example(item) for item in node.get("prefixItems", ())]
        if node.get("maxItems") == 0 or (first and len(first) >= shortest):
            return first
        length = max(1, shortest) - len(first)
        try:
            items = [self.make_example(node.get("items", {})) for _ in range(length)]
        except RecursionError:
            if shortest:
                raise
            return first
        if not node.get("uniqueItems") or length == 1:
            return first + items
        return first + self._distinct(items, node.get("items", {}))

    def _distinct(self, items: list[Any], schema: Any) -> list[Any]:
        """Return as many values, each of them once."""
        node = self._resolve(schema)
        if "enum" in node:
            values = node["enum"][: len(items)]
        else:
            values = [vary(item, number) if number else item for number, item in enumerate(items)]
        is_bound = _BOUNDS & set(node) and "enum" not in node
        if is_bound or len({to_compact_json(one) for one in values}) < len(items):
            self.unmet.append("uniqueItems")
        return list(values)

    def _resolve(self, schema: Any) -> dict[str, Any]:
        """Return a schema behind its references."""
        node, known = as_json_object(schema), set[str]()
        while "$ref" in node and str(node["$ref"]) not in known:
            known.add(str(node["$ref"]))
            node = as_json_object(_resolve_ref(str(node["$ref"]), self.root_schema))
        return node

    def _copy_example(self, value: Any) -> Any:
        self._count_example_size(len(to_compact_json(value)))
        return value

    def _count_example_size(self, size: int) -> None:
        self.size += size
        if self.size > _MAX_SIZE:
            raise ValueError("the example of the schema is too large")


def _resolve_ref(pointer: str, root_schema: Any) -> Any:
    for part in pointer.removeprefix("#/").split("/") if pointer != "#" else ():
        root_schema = root_schema[part.replace("~1", "/").replace("~0", "~")]
    return root_schema
