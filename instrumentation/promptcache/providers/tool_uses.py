"""Count the uses of server tools, of which one response or many events of a stream tell.

A key of `ResponseFacts.tool_uses` is `tool` for a number that the provider reports, or `tool/id`
for one use. Events of a stream may repeat a use, and the last event may leave out those before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from promptcache.common.coerce import as_count
from promptcache.model import Usage

UNCOUNTED: Final = "uncounted"
"""A tool whose number of uses the response does not tell. No price list has it."""


def key_of_use(tool: str, use_id: object) -> str:
    """Return the key of one use of a tool."""
    return f"{tool}/{use_id}"


def count_tool_uses(uses: Mapping[str, object]) -> dict[str, int]:
    """Return the number of uses of each tool: the larger of the reported and the seen number.

    Ids may change between the events of a stream and its end, so the two are never added.
    """
    reported: dict[str, int] = {}
    seen: dict[str, int] = {}
    for key, count in uses.items():
        tool, is_one_use, _ = key.partition("/")
        if is_one_use:
            seen[tool] = seen.get(tool, 0) + 1
        else:
            reported[tool] = as_count(count) or 0
    counts = {tool: max(count, reported.get(tool, 0)) for tool, count in seen.items()}
    return {tool: count for tool, count in {**reported, **counts}.items() if count}


def add_tool_uses(usage: Usage | None, uses: Mapping[str, object]) -> Usage | None:
    """Return the usage with the tools of the response beside those of its counters.

    Uses of unknown number count only if nothing else tells of a tool.
    """
    if usage is None or not uses:
        return usage
    found = {**usage.server_tool_calls, **count_tool_uses(uses)}
    if len(found) > 1:
        found.pop(UNCOUNTED, None)
    return usage._replace(server_tool_calls=found)
