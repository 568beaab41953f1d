"""JSON and YAML with line numbers, so that an error in a price file can say where it is.

JSON is read with the standard library alone; YAML needs PyYAML, which is imported only for a YAML file.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from json.decoder import JSONDecodeError, JSONDecoder
from typing import Any, Final, final

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_DECODER: Final = JSONDecoder()


class DocumentError(ValueError):
    """The file is not JSON or YAML, or PyYAML is missing. `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@final
@dataclass(frozen=True, slots=True)
class LocatedValue:
    """A value and the line that it begins on. Containers hold nodes: `dict[str, Node]`, `list[Node]`."""

    line: int
    value: Any

    def is_a(self, kind: type[object]) -> bool:
        """Whether this is a mapping (`dict`), a list, or a scalar of some type."""
        return isinstance(self.value, kind)


def parse(text: str, *, yaml: bool) -> LocatedValue:
    """The document in `text`. Raises DocumentError."""
    return _yaml(text) if yaml else _Json(text).document()


class _Json:
    """A reader of JSON that counts lines: containers here, scalars by the standard library."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def document(self) -> LocatedValue:
        node = self.node(0)
        if self.peek():
            raise self.problem("the end of the file")
        return node

    def peek(self) -> str:
        """The next character that is no white space, which becomes the current one."""
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.text[self.at : self.at + 1]

    def line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1

    def problem(self, expected: str) -> DocumentError:
        return DocumentError(self.line(), f"expected {expected}")

    def take(self, *allowed: str) -> str:
        if (found := self.peek()) not in allowed:
            raise self.problem(" or ".join(allowed))
        self.at += 1
        return found

    def scalar(self) -> Any:
        try:
            value, self.at = _DECODER.raw_decode(self.text, self.at)
        except JSONDecodeError as error:
            raise DocumentError(error.lineno, error.msg) from None
        return value

    def node(self, depth: int) -> LocatedValue:
        first, line = self.peek(), self.line()
        if depth > 20:
            raise self.problem("at most 20 levels")
        if first == "{":
            return LocatedValue(line, dict(self.items("}", depth)))
        if first == "[":
            return LocatedValue(line, [node for _, node in self.items("]", depth)])
        return LocatedValue(line, self.scalar())

    def items(self, end: str, depth: int) -> list[tuple[str, LocatedValue]]:
        self.at += 1
        found: list[tuple[str, LocatedValue]] = []
        seen: set[str] = set()
        if self.peek() == end:
            self.at += 1
            return found
        while True:
            key = ""
            if end == "}":
                if self.peek() != '"':
                    raise self.problem("a key in quotes")
                key = self.scalar()
                if key in seen:
                    raise DocumentError(self.line(), f"{json.dumps(key)} stands here twice")
                seen.add(key)
                self.take(":")
            found.append((key, self.node(depth + 1)))
            if self.take(",", end) == end:
                return found


def _yaml(text: str) -> LocatedValue:
    try:
        import yaml
    except ImportError:
        raise DocumentError(
            1, 'YAML needs PyYAML (pip install "promptcache[prices]"); JSON needs nothing'
        ) from None
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        return LocatedValue(1, None) if root is None else _from_yaml(loader, root, 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise DocumentError(mark.line + 1 if mark else 1, error.problem or "not YAML") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise DocumentError(1, f"not YAML: {error}") from None


def _from_yaml(loader: Any, node: Any, depth: int) -> LocatedValue:
    line = node.start_mark.line + 1
    if depth > 20:
        raise DocumentError(line, "expected at most 20 levels")
    if node.id == "mapping":
        found: dict[str, LocatedValue] = {}
        for key, value in node.value:
            name = str(key.value)
            if name in found:
                raise DocumentError(
                    key.start_mark.line + 1, f"{json.dumps(name)} stands here twice"
                )
            found[name] = _from_yaml(loader, value, depth + 1)
        return LocatedValue(line, found)
    if node.id == "sequence":
        return LocatedValue(line, [_from_yaml(loader, item, depth + 1) for item in node.value])
    try:
        return LocatedValue(line, loader.construct_object(node))
    except ValueError as error:
        raise DocumentError(line, str(error)) from None
