"""Read a JSON or YAML document, and check it with errors that name the path of a value.

The standard library reads JSON, in linear time. PyYAML is imported only for a YAML document.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from reprlib import repr as short_repr
from typing import Any, Final, cast

DocumentCheck = Callable[[object, str], Iterator[str]]
"""Yields the errors of a value and its parts. The text is the value's path: `models[3].input`."""

_MAX_REPEATED_VALUES: Final = 10_000
_SIMPLE_KEY: Final = re.compile(r"[\w-]+")


class UnparsableDocumentError(ValueError):
    """The text is not JSON or YAML, or PyYAML is missing."""


class MappingWithRepeatedKeys(dict[str, Any]):
    """A mapping of the document, with the keys that the document gives more than once."""

    def __init__(self, pairs: Iterable[tuple[str, Any]]) -> None:
        items = list(pairs)
        super().__init__(items)
        self.repeated_keys = [key for key, n in Counter(key for key, _ in items).items() if n > 1]


def parse_document(text: str, *, is_yaml: bool) -> object:
    """Return the document with each mapping as a MappingWithRepeatedKeys.

    Raises UnparsableDocumentError."""
    try:
        return (
            _parse_yaml(text)
            if is_yaml
            else json.loads(text, object_pairs_hook=MappingWithRepeatedKeys)
        )
    except ImportError:
        hint = 'YAML needs PyYAML (pip install "promptcache[prices]"); JSON needs nothing'
        raise UnparsableDocumentError(hint) from None
    except (ValueError, RecursionError) as error:
        message = " ".join(str(error).split())
        raise UnparsableDocumentError(f"not {'YAML' if is_yaml else 'JSON'}: {message}") from None


def _parse_yaml(text: str) -> object:
    import yaml

    class Loader(yaml.SafeLoader):
        """Keeps each key as it is written: `200000` is a text, as in JSON."""

    def construct_mapping(loader: Any, node: Any) -> MappingWithRepeatedKeys:
        if node.id != "mapping":
            raise ValueError(f"line {node.start_mark.line + 1}: expected a mapping")
        return MappingWithRepeatedKeys(
            [
                (str(key.value), loader.construct_object(value, deep=True))
                for key, value in node.value
            ]
        )

    def construct_timestamp(loader: Any, node: Any) -> object:
        try:
            return loader.construct_yaml_timestamp(node)
        except ValueError:  # no such day: the check of the value reports it
            return node.value

    Loader.add_constructor("tag:yaml.org,2002:map", construct_mapping)
    Loader.add_constructor("tag:yaml.org,2002:timestamp", construct_timestamp)
    try:
        loader: Any = Loader(text)
        node: Any = loader.get_single_node()
        if node is None:
            return None
        _check_aliases(node)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _check_aliases(root: Any) -> None:
    """Raise ValueError if the aliases of a YAML document would make it much larger, or endless."""
    sizes: dict[int, int] = {}

    def measure(node: Any) -> int:
        """Return the number of values in a node, those that aliases repeat included."""
        if (known := sizes.get(id(node))) is not None:
            if not known:
                line = node.start_mark.line + 1
                raise ValueError(f"line {line}: an alias of a value that contains it")
            return known
        sizes[id(node)] = 0
        sizes[id(node)] = size = 1 + sum(map(measure, _parts(node)))
        return size

    if measure(root) - len(sizes) > _MAX_REPEATED_VALUES:
        raise ValueError(f"its aliases repeat more than {_MAX_REPEATED_VALUES:,} values")


def _parts(node: Any) -> list[Any]:
    """Return the elements of a list, the keys and the values of a mapping."""
    if node.id == "scalar":
        return []
    return [*chain.from_iterable(node.value)] if node.id == "mapping" else node.value


def append_key_to_path(path: str, key: str) -> str:
    """Return the path of a mapping's value: `models[3].input`, `aliases["arn:aws"]`."""
    if not _SIMPLE_KEY.fullmatch(key):
        return f"{path}[{json.dumps(key)}]"
    return f"{path}.{key}" if path else key


def check_scalar(is_allowed: Callable[[Any], bool], allowed: str) -> DocumentCheck:
    """Make a check of a single value."""

    def check(value: object, path: str) -> Iterator[str]:
        if not is_allowed(value):
            yield f"{path} is {short_repr(value)}; allowed: {allowed}"

    return check


def check_list_of(element: DocumentCheck, required_element: str = "") -> DocumentCheck:
    """Make a check of a list and of its elements; a `required_element` element must be there."""

    def check(value: object, path: str) -> Iterator[str]:
        if not isinstance(value, list):
            yield f"{path} is not a list; allowed: a list"
            return
        if required_element and not value:
            yield f"{path} is empty; allowed: {required_element}"
        for index, item in enumerate(cast("list[object]", value)):
            yield from element(item, f"{path}[{index}]")

    return check


def check_mapping_of(
    find_check: Callable[[str], DocumentCheck | None],
    allowed: str,
    required_keys: Mapping[str, str],
) -> DocumentCheck:
    """Make a check of a mapping, of its keys and of its values.

    `find_check` returns the check of a key's value, None for an unknown key. `required_element`
    says for each key that must be there what its value can be; "input or storage" means one of the
    two.
    """

    def check(value: object, path: str) -> Iterator[str]:
        if not isinstance(value, MappingWithRepeatedKeys):
            yield f"{path or 'the file'} is not a mapping; allowed: a mapping of {allowed}"
            return
        for key in value.repeated_keys:
            yield f"{append_key_to_path(path, key)} is given twice; allowed: each key once"
        for key, item in value.items():
            if found := find_check(key):
                yield from found(item, append_key_to_path(path, key))
            else:
                yield f"{append_key_to_path(path, key)} is an unknown key; allowed: {allowed}"
        for keys, text in required_keys.items():
            if not value.keys() & set(keys.split(" or ")):
                yield f"{path} has no {keys}; allowed: {text}"

    return check
