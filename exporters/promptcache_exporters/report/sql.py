"""What the report asks of the table, in the SQL that SQLite and DuckDB both speak."""

from __future__ import annotations

from typing import Final

from promptcache.providers.registry import PROVIDERS
from promptcache_exporters.database.columns import MAX_NUMBER

# The hit rate speaks of calls whose cached tokens were reported, and of no batch results (DESIGN section 6).
_RATED_CALLS_FILTER: Final = "FILTER (WHERE coalesce(outcome, '') <> 'unreported' AND batch = 0)"
# Calls in which nothing reusable can have been missed: their waste is 0 without anybody saying so.
_CANNOT_WASTE: Final = "outcome IN ('hit', 'cold', 'prewarm')"
# Calls of which nothing is known: they neither waste anything nor leave the waste of the others open.
_WITHOUT_USAGE: Final = "outcome IN ('error', 'unreported') AND coalesce(input_tokens, 0) = 0"

# A call that failed without usage costs nothing that anybody could name; it has neither an amount nor a reason.
IS_UNPRICED: Final = "cost_amount IS NULL AND (cost_unknown IS NOT NULL OR input_tokens > 0)"
_USD_COLUMNS: Final = ("cost_amount", "without_cache", "wasted_usd")

SUM_EXPRESSIONS: Final[dict[str, str]] = {
    "calls": "count(*)",
    "input_tokens": "sum(input_tokens)",
    "read_tokens": "sum(read_tokens)",
    "write_tokens": "sum(write_tokens)",
    "uncached_tokens": "sum(uncached_tokens)",
    "output_tokens": "sum(output_tokens)",
    "judged_input": f"sum(input_tokens) {_RATED_CALLS_FILTER}",
    "judged_read": f"sum(read_tokens) {_RATED_CALLS_FILTER}",
    "cost_usd": "sum(cost_amount)",
    "without_cache_usd": "sum(without_cache) FILTER (WHERE cost_amount IS NOT NULL)",
    "saved_usd": "sum(without_cache - cost_amount)",
    "wasted_usd": "sum(wasted_usd)",
    "unpriced_calls": f"count(*) FILTER (WHERE {IS_UNPRICED})",
    "waste_known": f"count(*) FILTER (WHERE wasted_usd IS NOT NULL OR ({_CANNOT_WASTE} AND cost_amount IS NOT NULL))",
    "idle": f"count(*) FILTER (WHERE wasted_usd IS NULL AND {_WITHOUT_USAGE})",
    "failed": "count(*) FILTER (WHERE outcome = 'error')",
    "unreported": "count(*) FILTER (WHERE outcome = 'unreported')",
    # A sum passes over text: SQLite holds every text to be above every number.
    "unreadable": f"count(*) FILTER (WHERE {' OR '.join(f'{it} > {MAX_NUMBER}' for it in _USD_COLUMNS)})",
}

BOUNDS_QUERY: Final = "SELECT min(time), max(time), min(id), max(id) FROM calls WHERE time >= ?"
SAMPLED_QUERY: Final = """
SELECT count(*), count(*) FILTER (WHERE sample_ratio IS NULL), min(sample_ratio) FROM calls
WHERE coalesce(sample_ratio, 0) <> 1.0 AND +time >= ?"""
_USAGE_UNASKED: Final = ", ".join(
    f"'{row.name}'" for row in PROVIDERS if row.reports_stream_usage_unasked
)
STREAMS_WITHOUT_USAGE_QUERY: Final = f"""
SELECT count(*) FROM calls WHERE outcome = 'unreported' AND +time >= ? AND input_tokens IS NULL AND stream = 1
AND operation = 'chat' AND coalesce(stream_completed, 1) = 1
AND coalesce(provider, '') NOT IN ({_USAGE_UNASKED})"""  # noqa: S608  # names of the registry
PREFIXES_QUERY: Final = f"""
SELECT service, prefix_family, prefix_hash, min(time), max(time), {SUM_EXPRESSIONS["judged_input"]}, {SUM_EXPRESSIONS["judged_read"]}
FROM calls WHERE id >= ? AND +time >= ? AND prefix_family IS NOT NULL AND prefix_hash IS NOT NULL
GROUP BY 1, 2, 3 HAVING count(*) > 1 ORDER BY 1, 2, 4"""  # noqa: S608  # SQL of our own
