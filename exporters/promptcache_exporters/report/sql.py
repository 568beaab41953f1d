"""The queries of the report, in the common SQL of SQLite and DuckDB, and their row types."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from promptcache.providers.registry import PROVIDERS
from promptcache_exporters.database.column import MAX_NUMBER
from promptcache_exporters.database.query import Query
from promptcache_exporters.report.model import GroupBy

# The hit rate leaves out calls whose cached tokens were not reported, and batch results.
_RATED_CALLS_FILTER: Final = "FILTER (WHERE coalesce(outcome, '') <> 'unreported' AND batch = 0)"
# Calls that cannot have missed anything. Their waste is 0, although no column says so.
_CANNOT_WASTE: Final = "outcome IN ('hit', 'cold', 'prewarm')"
# Calls without usage. They do not count as calls with unknown waste.
_WITHOUT_USAGE: Final = "outcome IN ('error', 'unreported') AND coalesce(input_tokens, 0) = 0"

# A call that failed without usage has neither a cost nor a reason for a missing cost.
IS_UNPRICED: Final = "cost_amount IS NULL AND (cost_unknown IS NOT NULL OR input_tokens > 0)"
_USD_COLUMNS: Final = ("cost_amount", "without_cache", "wasted_usd")

SUM_EXPRESSIONS: Final[dict[str, str]] = {
    "calls": "count(*)",
    "input_tokens": "sum(input_tokens)",
    "read_tokens": "sum(read_tokens)",
    "write_tokens": "sum(write_tokens)",
    "uncached_tokens": "sum(uncached_tokens)",
    "output_tokens": "sum(output_tokens)",
    "rated_input_tokens": f"sum(input_tokens) {_RATED_CALLS_FILTER}",
    "rated_read_tokens": f"sum(read_tokens) {_RATED_CALLS_FILTER}",
    "cost_usd": "sum(cost_amount)",
    "without_cache_usd": "sum(without_cache) FILTER (WHERE cost_amount IS NOT NULL)",
    "saved_usd": "sum(without_cache - cost_amount)",
    "wasted_usd": "sum(wasted_usd)",
    "unpriced_calls": f"count(*) FILTER (WHERE {IS_UNPRICED})",
    "known_waste_calls": "count(*) FILTER (WHERE wasted_usd IS NOT NULL"
    f" OR ({_CANNOT_WASTE} AND cost_amount IS NOT NULL))",
    "calls_without_usage": f"count(*) FILTER (WHERE wasted_usd IS NULL AND {_WITHOUT_USAGE})",
    "failed_calls": "count(*) FILTER (WHERE outcome = 'error')",
    "unreported_calls": "count(*) FILTER (WHERE outcome = 'unreported')",
    # sum() ignores text, so count it: in SQLite every text is greater than every number.
    "invalid_amounts": "count(*) FILTER (WHERE "
    + " OR ".join(f"{column} > {MAX_NUMBER}" for column in _USD_COLUMNS)
    + ")",
}


class CallSums(NamedTuple):
    """The values of `SUM_EXPRESSIONS` over some calls. None is unknown; no calls is the default."""

    calls: int = 0
    input_tokens: int | None = None
    read_tokens: int | None = None
    write_tokens: int | None = None
    uncached_tokens: int | None = None
    output_tokens: int | None = None
    rated_input_tokens: int | None = None
    rated_read_tokens: int | None = None
    cost_usd: float | None = None
    without_cache_usd: float | None = None
    saved_usd: float | None = None
    wasted_usd: float | None = None
    unpriced_calls: int = 0
    known_waste_calls: int = 0
    calls_without_usage: int = 0
    failed_calls: int = 0
    unreported_calls: int = 0
    invalid_amounts: int = 0

    @property
    def unknown_waste_calls(self) -> int:
        """The calls that may have wasted an amount that nobody knows."""
        return self.calls - self.known_waste_calls - self.calls_without_usage


GROUP_EXPRESSIONS: Final = {
    GroupBy.SERVICE: "service",
    GroupBy.MODEL: "coalesce(request_model, response_model)",
    GroupBy.PREFIX: "prefix_hash",
    GroupBy.FAMILY: "prefix_family",
    GroupBy.CALLSITE: "code_file || coalesce(':' || code_line, '')"
    " || coalesce(' ' || code_function, '')",
    GroupBy.OUTCOME: "outcome",
    GroupBy.REASON: "miss_reason",
    GroupBy.PROVIDER: "provider",
}


def call_sums_by_group_sql(by: GroupBy) -> str:
    """Return the query for the key and the `CallSums` of each group.

    Its parameters are the first id, the last id, and the earliest time.
    """
    sums = ", ".join(f"{SUM_EXPRESSIONS[name]} AS {name}" for name in CallSums._fields)
    return (
        f"SELECT {GROUP_EXPRESSIONS[by]} AS key, {sums} FROM calls"  # noqa: S608  # our own SQL
        " WHERE id BETWEEN ? AND ? AND +time >= ? GROUP BY 1"
    )


class CallTimeAndIdRange(NamedTuple):
    """The time range and the id range of the calls. All are None if there are no calls."""

    first_time: float | None
    last_time: float | None
    first_id: int | None
    last_id: int | None


BOUNDS_QUERY: Final = Query(
    CallTimeAndIdRange,
    """
SELECT min(time) AS first_time, max(time) AS last_time, min(id) AS first_id, max(id) AS last_id
FROM calls WHERE time >= ?""",
)


class SampledCallCounts(NamedTuple):
    """How many calls come from sampled traces, and the smallest ratio among them."""

    calls: int
    unknown_ratio_calls: int
    smallest_ratio: float | None


SAMPLED_QUERY: Final = Query(
    SampledCallCounts,
    """
SELECT count(*) AS calls, count(*) FILTER (WHERE sample_ratio IS NULL) AS unknown_ratio_calls,
    min(sample_ratio) AS smallest_ratio
FROM calls WHERE coalesce(sample_ratio, 0) <> 1.0 AND +time >= ?""",
)


class StreamedCallCount(NamedTuple):
    """A number of streamed calls."""

    calls: int


_ALWAYS_REPORTING_PROVIDERS: Final = ", ".join(
    f"'{provider.name}'" for provider in PROVIDERS if provider.reports_stream_usage_unasked
)
STREAMS_WITHOUT_USAGE_QUERY: Final = Query(
    StreamedCallCount,
    f"""
SELECT count(*) AS calls FROM calls
WHERE outcome = 'unreported' AND +time >= ? AND input_tokens IS NULL AND stream = 1
AND operation = 'chat' AND coalesce(stream_completed, 1) = 1
AND coalesce(provider, '') NOT IN ({_ALWAYS_REPORTING_PROVIDERS})""",  # noqa: S608  # our own names
)


class UnpricedModelCalls(NamedTuple):
    """The calls of one model without a cost, and the reason."""

    model: str | None
    reason: str | None
    calls: int


UNPRICED_QUERY: Final = Query(
    UnpricedModelCalls,
    f"""
SELECT {GROUP_EXPRESSIONS[GroupBy.MODEL]} AS model, cost_unknown AS reason, count(*) AS calls
FROM calls WHERE {IS_UNPRICED} AND +time >= ?
GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2""",  # noqa: S608  # our own SQL
)


class PrefixPeriod(NamedTuple):
    """The period in which a family of calls used one static prefix, and its tokens."""

    service: str | None
    prefix_family: str
    prefix_hash: str
    first_time: float
    last_time: float
    rated_input_tokens: int | None
    rated_read_tokens: int | None


PREFIX_PERIODS_QUERY: Final = Query(
    PrefixPeriod,
    f"""
SELECT service, prefix_family, prefix_hash, min(time) AS first_time, max(time) AS last_time,
    {SUM_EXPRESSIONS["rated_input_tokens"]} AS rated_input_tokens,
    {SUM_EXPRESSIONS["rated_read_tokens"]} AS rated_read_tokens
FROM calls WHERE id >= ? AND +time >= ? AND prefix_family IS NOT NULL AND prefix_hash IS NOT NULL
GROUP BY 1, 2, 3 HAVING count(*) > 1 ORDER BY 1, 2, 4""",  # noqa: S608  # our own SQL
)

QUERIES: Final[tuple[Query[Any], ...]] = (
    BOUNDS_QUERY,
    SAMPLED_QUERY,
    STREAMS_WITHOUT_USAGE_QUERY,
    UNPRICED_QUERY,
    PREFIX_PERIODS_QUERY,
)
