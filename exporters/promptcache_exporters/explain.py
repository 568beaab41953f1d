"""One call beside its relative: what of the prefix stayed, where it broke, what that cost, what to do. No rendering.

The relative is the previous call of the same family, as the process that made the call saw it; the table holds no text,
so what changed is told by hashes: of the tools, of the system prompt, of the parameters and, with a hash key, block by
block.
"""

from __future__ import annotations

import json
import math
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from promptcache.causes import advice
from promptcache_exporters import store

Row = dict[str, Any]

PARTS: Final = {
    "model": "request_model",
    "tools": "tools_hash",
    "system": "system_hash",
    "parameters": "scope_hash",
    "breakpoints": "prefix_breakpoints",
}
"""What is compared, and the column that tells."""

_TRACE: Final = "SELECT * FROM calls WHERE trace_id = ? ORDER BY time, id"
_WORST: Final = """
SELECT * FROM calls WHERE miss_reason IS NOT NULL AND +time >= ?
ORDER BY coalesce(wasted_usd, 0) DESC, coalesce(missed_tokens, 0) DESC, id LIMIT ?"""
_RELATIVE: Final = """
SELECT * FROM calls WHERE prefix_family = ? AND time <= ? AND id <> ? AND provider IS ?
ORDER BY time DESC, id DESC LIMIT 1"""
_REPEATED: Final = """
SELECT count(*), count(*) FILTER (WHERE {same}), sum(wasted_usd) FILTER (WHERE {same}) FROM calls
WHERE +time >= ? AND prefix_family IS ? AND service IS ?""".format(
    same="miss_reason = ? AND miss_section IS ? AND miss_index IS ?"
)


@dataclass(frozen=True, slots=True)
class Explanation:
    """A call, its relative, and what their difference means.

    `equal` tells of each of `PARTS` whether it stayed, None where one of the two does not say. `equal_blocks` counts
    the blocks at the beginning that both share (only with a hash key). The break was the same in `repeated` of the
    `calls` of this family and service that were asked about, and wasted `wasted_usd` in all of them.
    """

    call: Row
    relative: Row | None
    equal: dict[str, bool | None]
    equal_blocks: int | None
    calls: int
    repeated: int
    wasted_usd: float | None
    advice: str


def of_trace(path: Path, trace_id: str) -> list[Explanation]:
    """The LLM calls of the trace (32 hex digits), in their order. Raises `store.UnusableError`."""
    return _explained(path, _TRACE, (trace_id,))


def worst(path: Path, count: int, since: float = -math.inf) -> list[Explanation]:
    """The `count` calls since `since` (epoch seconds) whose miss cost most. Raises `store.UnusableError`."""
    return _explained(path, _WORST, (since, count), since)


def _explained(
    path: Path, query: str, values: tuple[Any, ...], since: float = -math.inf
) -> list[Explanation]:
    with store.open_to_read(path) as connection:
        connection.row_factory = sqlite3.Row
        return [
            _explain(connection, dict(row), since)
            for row in connection.execute(query, values).fetchall()
        ]


def _explain(connection: sqlite3.Connection, call: Row, since: float) -> Explanation:
    family = call["prefix_family"]
    place = (call["miss_reason"], call["miss_section"], call["miss_index"])
    found = connection.execute(
        _RELATIVE, (family, call["time"], call["id"], call["provider"])
    ).fetchone()
    relative = dict(found) if found else None
    calls, repeated, wasted = connection.execute(
        _REPEATED, (*place, *place, since, family, call["service"])
    ).fetchone()
    return Explanation(
        call=call,
        relative=relative,
        equal={part: _equal(call, relative, column) for part, column in PARTS.items()},
        equal_blocks=_shared(call, relative),
        calls=calls,
        repeated=repeated,
        wasted_usd=wasted,
        advice=advice(*place) if call["miss_reason"] else "",
    )


def _equal(call: Row, relative: Row | None, column: str) -> bool | None:
    known = relative is not None and call[column] is not None and relative[column] is not None
    return call[column] == relative[column] if known and relative else None


def _shared(call: Row, relative: Row | None) -> int | None:
    """How many blocks of both chains agree from the start: a chain digest covers everything before it."""
    if not relative or not call["prefix_chain"] or not relative["prefix_chain"]:
        return None
    ours, theirs = (
        {digest: depth for depth, digest in enumerate(_chain(row), _first(row))}
        for row in (call, relative)
    )
    return max((depth for digest, depth in ours.items() if theirs.get(digest) == depth), default=0)


def _chain(row: Row) -> list[str]:
    return list(json.loads(row["prefix_chain"]))


def _first(row: Row) -> int:
    return int(row["prefix_chain_start"] or 0) + 1
