"""Compare a call with its previous call: unchanged parts, location and cost of the break, advice.

The previous call is the last earlier call of the same prefix family and provider. The table holds
no text, so hashes show what changed: those of the tools, of the system prompt, of the parameters,
and with a hash key those of each block. No rendering.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from promptcache.diagnosis.miss_reasons import format_advice
from promptcache_exporters.database.dialect import PICODOLLARS_PER_USD, SQLDialect
from promptcache_exporters.database.query import Query, QueryConnection, fetch_rows_by_name
from promptcache_exporters.database.row_ranges import OnProgress, ignore_progress
from promptcache_exporters.database.source import CallsSource, find_calls_source
from promptcache_exporters.explain.problems import Problem, count_family_calls, fetch_problems
from promptcache_exporters.report.call_filter import FieldCondition, select_calls
from promptcache_exporters.report.sql import PeriodGrid

CallRow = dict[str, Any]
"""The columns of the view `calls`, by name."""

COMPARED_COLUMNS: Final = {
    "model": "request_model",
    "answering model": "response_model",
    "tools": "tools_hash",
    "system": "system_hash",
    "parameters": "scope_hash",
    "breakpoints": "prefix_breakpoints",
}
"""The compared parts of a call, and the column with the value of each."""

_DAYS: Final = PeriodGrid(86_400.0, 0.0)
_CHANGED_KEYS: Final = frozenset({"cache_key_changed", "per_user_key_or_prefix"})
_CHANGED_SCOPE: Final = "scope_changed"

# NULL equals NULL here, which engines spell differently: both become '' or -1.
_TRACE_QUERY: Final = (
    "SELECT * FROM calls WHERE substr(trace_id, -4) = ? AND trace_id = ? ORDER BY time, span_id"
)
"""SQLite has an index on the end of a trace's id."""
_PREVIOUS_CALL_QUERY: Final = """
SELECT * FROM calls WHERE prefix_family = ? AND time <= ? AND coalesce(provider, '') = ?
    AND (trace_id <> ? OR span_id <> ?)
ORDER BY time DESC, span_id DESC LIMIT 1"""


class RepeatedMissCounts(NamedTuple):
    """The calls of one family, and those among them with the same break."""

    calls: int
    same_breaks: int
    wasted_picodollars: int | None


_IS_SAME_BREAK: Final = (
    "miss_reason = ? AND coalesce(miss_section, '') = ? AND coalesce(miss_index, -1) = ?"
)
_WORST_CALL_QUERY: Final = f"""
SELECT * FROM calls
WHERE time >= ? AND time < ? AND {_IS_SAME_BREAK} AND coalesce(prefix_family, '') = ?
ORDER BY coalesce(wasted_usd, 0) DESC, coalesce(missed_tokens, 0) DESC, time, span_id
LIMIT 1"""  # noqa: S608  # our own SQL
"""The call that shows a problem best: the one that wasted most."""


def _family_breaks_query(dialect: SQLDialect) -> Query[RepeatedMissCounts]:
    wasted = dialect.to_picodollars("wasted_usd")
    return Query(
        RepeatedMissCounts,
        f"""
SELECT count(*) AS calls, count(CASE WHEN {_IS_SAME_BREAK} THEN 1 END) AS same_breaks,
    sum(CASE WHEN {_IS_SAME_BREAK} THEN {wasted} END) AS wasted_picodollars
FROM calls WHERE +time >= ? AND coalesce(prefix_family, '') = ?""",  # noqa: S608  # our own SQL
    )


@dataclass(frozen=True, slots=True)
class CallComparison:
    """A call, its previous call, and their difference.

    unchanged_parts: whether each part of `COMPARED_COLUMNS` is equal in both calls; None is
    unknown.
    shared_blocks: number of equal blocks at the start of both; known only with a hash key.
    family_calls: calls of this family in the time range.
    repeated_breaks: calls among them with the same reason and location.
    repeated_wasted_usd: the waste of all repeated breaks.
    """

    call: CallRow
    previous_call: CallRow | None
    unchanged_parts: dict[str, bool | None]
    shared_blocks: int | None
    family_calls: int
    repeated_breaks: int
    repeated_wasted_usd: float | None
    advice: str


def compare_trace_calls(source: Path | CallsSource, trace_id: str) -> list[CallComparison]:
    """Compare the LLM calls of the trace (32 hex digits), in their order.

    Raises `CallsFileReadError`.
    """
    source = find_calls_source(source) if isinstance(source, Path) else source
    with source.open() as connection:
        breaks_query = _family_breaks_query(source.dialect)
        return [
            _compare(call, _find_previous_call(connection, call), breaks)
            for call in fetch_rows_by_name(connection, _TRACE_QUERY, trace_id[-4:], trace_id)
            for breaks in [_count_breaks(connection, breaks_query, call, -math.inf)]
        ]


def compare_costliest_misses(
    source: Path | CallsSource,
    max_problems: int,
    since: float = -math.inf,
    *,
    until: float = math.inf,
    where: Iterable[FieldCondition] = (),
    on_progress: OnProgress = ignore_progress,
) -> list[CallComparison]:
    """Compare one call of each of the `max_problems` problems that wasted most.

    A problem is a reason at one place of one prefix family. Its calls that started from `since` to
    `until` (epoch seconds) and fulfil `where` count together. One that wasted nothing is left out.

    Raises `CallsFileReadError`.
    """
    source = find_calls_source(source) if isinstance(source, Path) else source
    selected = select_calls(source, where, until)
    problems = fetch_problems(selected, since, _DAYS, on_progress)[:max_problems]
    families = [problem.prefix_family for problem in problems]
    family_calls = count_family_calls(selected, families, since)
    # The previous call may be one that does not fulfil the conditions.
    with selected.open() as connection, source.open() as all_calls:
        found: list[CallComparison] = []
        for problem in problems:
            call = find_worst_call(connection, problem, since, _DAYS)
            calls = family_calls[problem.prefix_family or ""]
            breaks = RepeatedMissCounts(calls, problem.calls, problem.wasted_picodollars)
            found.append(_compare(call, _find_previous_call(all_calls, call), breaks))
        return found


def find_worst_call(
    connection: QueryConnection, problem: Problem, since: float, periods: PeriodGrid
) -> CallRow:
    """Return the call of a problem that wasted most. It reads one of the periods only."""
    start = max(since, periods.start_of(problem.worst_period))
    end = periods.start_of(problem.worst_period + 1)
    place = _break_parameters(problem.miss_reason, problem.miss_section, problem.miss_index)
    parameters = (start, end, *place, problem.prefix_family or "")
    (call,) = fetch_rows_by_name(connection, _WORST_CALL_QUERY, *parameters)
    return call


def _break_parameters(
    reason: str | None, section: str | None, index: int | None
) -> tuple[str, str, int]:
    return (reason or "", section or "", -1 if index is None else index)


def _count_breaks(
    connection: QueryConnection, query: Query[RepeatedMissCounts], call: CallRow, since: float
) -> RepeatedMissCounts:
    place = _break_parameters(call["miss_reason"], call["miss_section"], call["miss_index"])
    return query.fetch_one(connection, *place, *place, since, call["prefix_family"] or "")


def _compare(
    call: CallRow, previous_call: CallRow | None, breaks: RepeatedMissCounts
) -> CallComparison:
    reason_and_location = (call["miss_reason"], call["miss_section"], call["miss_index"])
    wasted = breaks.wasted_picodollars
    return CallComparison(
        call=call,
        previous_call=previous_call,
        unchanged_parts={
            part: _is_unchanged(call, previous_call, column)
            for part, column in COMPARED_COLUMNS.items()
        }
        | _parts_outside_hashes(call, previous_call),
        shared_blocks=_count_equal_leading_blocks(call, previous_call),
        family_calls=breaks.calls,
        repeated_breaks=breaks.same_breaks,
        repeated_wasted_usd=None if wasted is None else wasted / PICODOLLARS_PER_USD,
        advice=format_advice(*reason_and_location) if call["miss_reason"] else "",
    )


def _parts_outside_hashes(call: CallRow, previous_call: CallRow | None) -> dict[str, bool | None]:
    """Return the parts of which the hashes do not show that they changed.

    Without a hash key no hash covers the cache key, and none ever covers the credential.
    """
    if previous_call is None:
        return {}
    if call["miss_reason"] == _CHANGED_SCOPE:
        return {"parameters": None}
    return {"parameters": False} if call["miss_reason"] in _CHANGED_KEYS else {}


def _find_previous_call(connection: QueryConnection, call: CallRow) -> CallRow | None:
    if call["prefix_family"] is None:
        return None
    parameters = (call["prefix_family"], call["time"], call["provider"] or "")
    ids = (call["trace_id"] or "", call["span_id"] or "")
    rows = fetch_rows_by_name(connection, _PREVIOUS_CALL_QUERY, *parameters, *ids)
    return rows[0] if rows else None


def _is_unchanged(call: CallRow, previous_call: CallRow | None, column: str) -> bool | None:
    if previous_call is None or call[column] is None or previous_call[column] is None:
        return None
    return bool(call[column] == previous_call[column])


def _count_equal_leading_blocks(call: CallRow, previous_call: CallRow | None) -> int | None:
    """Return the number of equal blocks at the start; None if a call has no chain.

    A digest of the chain covers the whole prefix before it, so the last equal digest is enough.
    """
    if not previous_call or not call["prefix_chain"] or not previous_call["prefix_chain"]:
        return None
    digests, previous_digests = (
        _block_counts_by_prefix_digest(call),
        _block_counts_by_prefix_digest(previous_call),
    )
    equal_depths = (
        depth for digest, depth in digests.items() if previous_digests.get(digest) == depth
    )
    return max(equal_depths, default=0)


def _block_counts_by_prefix_digest(call: CallRow) -> dict[str, int]:
    """Return the depth of each digest in the chain: the number of blocks that it covers."""
    first_depth = int(call["prefix_chain_start"] or 0) + 1
    digests: list[str] = json.loads(call["prefix_chain"])
    return {digest: depth for depth, digest in enumerate(digests, first_depth)}
