"""Read recorded calls from the local table, or from another place that has its calls.

A recording holds the links of a prompt's blocks (`recorded_links.py`). A table that the exporter
alone has written holds those of the last 64 blocks, if the application ran with a hash key and with
OTEL_PROMPTCACHE_HASHES=all. The end of a block in tokens is known where a call ended, and where the
last breakpoint of a call stood. Between such places tokens are shared by the sizes of the blocks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final, NamedTuple

from promptcache.prices import PriceBook
from promptcache_exporters.database.query import Query, QueryConnection
from promptcache_exporters.database.source import CallsSource
from promptcache_exporters.replay.call_rows import CallForReplay, CallRows
from promptcache_exporters.replay.rows_to_traffic import build_traffic
from promptcache_exporters.replay.traffic import Traffic


class SampledTableError(Exception):
    """Calls are missing because the spans were sampled."""


_CALLS_QUERY: Final = Query(
    CallForReplay,
    """
SELECT time, first_chunk, duration, provider, coalesce(response_model, request_model) AS model,
    input_tokens, output_tokens, read_tokens, write_tokens, write_5m_tokens, write_30m_tokens,
    write_1h_tokens, conversation_id, scope_hash, prefix_breakpoints, prefix_chain,
    prefix_chain_start, prefix_chain_sizes, prefix_section_counts, server_address,
    prefix_complete, prefix_links, prefix_family, miss_reason, miss_section, miss_index,
    missed_tokens, code_file, code_line,
    CASE WHEN batch = 0 AND input_tokens > 0 AND read_tokens IS NOT NULL AND provider IS NOT NULL
        AND coalesce(response_model, request_model) IS NOT NULL THEN 1 ELSE 0 END AS has_usage
FROM calls
WHERE +time >= ?
ORDER BY time, span_id""",
)
"""The links of calls that failed lead to later ones, so all calls are read."""
_SECONDS_OF_A_CHAIN: Final = 2 * 3600.0
"""The rows that a chain needs are at most an hour older than its call (docs/specs/prefix.md)."""


class SampledCallCount(NamedTuple):
    """How many calls are of sampled traces."""

    calls: int


_SAMPLED_QUERY: Final = Query(
    SampledCallCount,
    "SELECT count(*) AS calls FROM calls WHERE +time >= ? AND coalesce(sample_ratio, 0) <> 1.0",
)


@dataclass(frozen=True)
class LoadedCalls:
    """The calls of the table that can be replayed, and how many cannot, by reason.

    `key_count` is the number of keys under which they were recorded.
    """

    traffic: Traffic
    skipped: Counter[str]
    key_count: int = 0


def load_recorded_calls(source: CallsSource, since: float, book: PriceBook) -> LoadedCalls:
    """Return the calls since then (epoch seconds).

    Raises CallsFileReadError if the source cannot be read, and SampledTableError.
    """
    rows = CallRows()
    with source.open() as connection:
        _refuse_sampled_calls(connection, since)
        for row in _CALLS_QUERY.iterate_rows(connection, since - _SECONDS_OF_A_CHAIN):
            rows.add(row, since)
    rows.links.forget_links()
    return LoadedCalls(build_traffic(rows, book), rows.skipped, len(rows.keys))


def _refuse_sampled_calls(connection: QueryConnection, since: float) -> None:
    count = _SAMPLED_QUERY.fetch_one(connection, since).calls
    if count:
        raise SampledTableError(
            f"{count} calls are of sampled traces, so others are missing: a replay needs every call"
        )
