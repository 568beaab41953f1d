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

from promptcache.diagnosis.miss_reasons import format_advice
from promptcache_exporters.database import sqlite_file as store

CallRow = dict[str, Any]

COMPARED_COLUMNS: Final = {
    "model": "request_model",
    "tools": "tools_hash",
    "system": "system_hash",
    "parameters": "scope_hash",
    "breakpoints": "prefix_breakpoints",
}
"""What is compared, and the column that tells."""

_TRACE_QUERY: Final = "SELECT * FROM calls WHERE trace_id = ? ORDER BY time, id"
_WORST_QUERY: Final = """
SELECT * FROM calls WHERE miss_reason IS NOT NULL AND +time >= ?
ORDER BY coalesce(wasted_usd, 0) DESC, coalesce(missed_tokens, 0) DESC, id LIMIT ?"""
_RELATED_CALL_QUERY: Final = """
SELECT * FROM calls WHERE prefix_family = ? AND time <= ? AND id <> ? AND provider IS ?
ORDER BY time DESC, id DESC LIMIT 1"""
_REPEATED_BREAKS_QUERY: Final = """
SELECT count(*), count(*) FILTER (WHERE {same}), sum(wasted_usd) FILTER (WHERE {same}) FROM calls
WHERE +time >= ? AND prefix_family IS ? AND service IS ?""".format(
    same="miss_reason = ? AND miss_section IS ? AND miss_index IS ?"
)


@dataclass(frozen=True, slots=True)
class CallComparison:
    """A call, its relative, and what their difference means.

    `unchanged_parts` tells of each of `COMPARED_COLUMNS` whether it stayed, None where one of the two does not say. `shared_blocks` counts
    the blocks at the beginning that both share (only with a hash key). The break was the same in `repeated_breaks` of the
    `family_calls` of this family and service that were asked about, and wasted `repeated_wasted_usd` in all of them.
    """

    call: CallRow
    related_call: CallRow | None
    unchanged_parts: dict[str, bool | None]
    shared_blocks: int | None
    family_calls: int
    repeated_breaks: int
    repeated_wasted_usd: float | None
    advice: str


def explain_trace(path: Path, trace_id: str) -> list[CallComparison]:
    """The LLM calls of the trace (32 hex digits), in their order. Raises `store.UnusableError`."""
    return _explain_rows(path, _TRACE_QUERY, (trace_id,))


def explain_worst_misses(path: Path, count: int, since: float = -math.inf) -> list[CallComparison]:
    """The `count` calls since `since` (epoch seconds) whose miss cost most. Raises `store.UnusableError`."""
    return _explain_rows(path, _WORST_QUERY, (since, count), since)


def _explain_rows(
    path: Path, query: str, values: tuple[Any, ...], since: float = -math.inf
) -> list[CallComparison]:
    with store.open_for_reading(path) as connection:
        connection.row_factory = sqlite3.Row
        return [
            _compare_call(connection, dict(row), since)
            for row in connection.execute(query, values).fetchall()
        ]


def _compare_call(connection: sqlite3.Connection, call: CallRow, since: float) -> CallComparison:
    family = call["prefix_family"]
    place = (call["miss_reason"], call["miss_section"], call["miss_index"])
    found = connection.execute(
        _RELATED_CALL_QUERY, (family, call["time"], call["id"], call["provider"])
    ).fetchone()
    relative = dict(found) if found else None
    calls, repeated, wasted = connection.execute(
        _REPEATED_BREAKS_QUERY, (*place, *place, since, family, call["service"])
    ).fetchone()
    return CallComparison(
        call=call,
        related_call=relative,
        unchanged_parts={
            part: _is_unchanged(call, relative, column) for part, column in COMPARED_COLUMNS.items()
        },
        shared_blocks=_count_shared_blocks(call, relative),
        family_calls=calls,
        repeated_breaks=repeated,
        repeated_wasted_usd=wasted,
        advice=format_advice(*place) if call["miss_reason"] else "",
    )


def _is_unchanged(call: CallRow, relative: CallRow | None, column: str) -> bool | None:
    known = relative is not None and call[column] is not None and relative[column] is not None
    return call[column] == relative[column] if known and relative else None


def _count_shared_blocks(call: CallRow, relative: CallRow | None) -> int | None:
    """How many blocks of both chains agree from the start: a chain digest covers everything before it."""
    if not relative or not call["prefix_chain"] or not relative["prefix_chain"]:
        return None
    ours, theirs = (
        {digest: depth for depth, digest in enumerate(_chain_digests(row), _first_depth(row))}
        for row in (call, relative)
    )
    return max((depth for digest, depth in ours.items() if theirs.get(digest) == depth), default=0)


def _chain_digests(row: CallRow) -> list[str]:
    return list(json.loads(row["prefix_chain"]))


def _first_depth(row: CallRow) -> int:
    return int(row["prefix_chain_start"] or 0) + 1
