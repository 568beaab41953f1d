"""Build a parsed prompt: its blocks, its cache breakpoints and the parameters that affect the
cache."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from promptcache.common.coerce import JSONObject, as_mapping, as_str
from promptcache.model import Block, InvalidationLevel, Param, Section

ParamLevels = tuple[tuple[str, InvalidationLevel], ...]
"""Request parameters by their dotted names, each with the first section that a change takes out of
the cache."""


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
    """Collects blocks and numbers them within their sections."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._next_index: dict[str, int] = {}

    def add(
        self, section: Section, kind: object, data: object, breakpoint_ttl: str | None = None
    ) -> None:
        """Append a block. A `kind` that is no string becomes `unknown`."""
        index = self._next_index.get(section, 0)
        self._next_index[section] = index + 1
        name = kind if isinstance(kind, str) else "unknown"
        self._blocks.append(Block(section, index, name, data, breakpoint_ttl))

    def __iter__(self) -> Iterator[Block]:
        return iter(self._blocks)

    @property
    def has_breakpoints(self) -> bool:
        """Whether any block carries a cache breakpoint."""
        return any(block.breakpoint_ttl is not None for block in self._blocks)


def select_cache_relevant_params(body: JSONObject, levels: ParamLevels) -> tuple[Param, ...]:
    """Return the parameters of `levels` that the body sets."""
    found: list[Param] = []
    for name, level in levels:
        head, *steps = _split_dotted_name(name)
        value = body.get(head)
        for step in steps:
            value = as_mapping(value).get(step)
        if value is not None:
            found.append(Param(name, value, level))
    return tuple(found)


@lru_cache(maxsize=256)
def _split_dotted_name(name: str) -> tuple[str, ...]:
    return tuple(name.split("."))
