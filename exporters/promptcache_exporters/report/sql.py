"""The queries of the report, in SQL that all engines take, and their row types.

`+time` keeps SQLite from reading the whole table through the index on the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from promptcache.providers.registry import PROVIDERS
from promptcache_exporters.database.dialect import SQLITE, SQLDialect
from promptcache_exporters.database.query import Query
from promptcache_exporters.database.row_ranges import ID_RANGE_QUERY
from promptcache_exporters.report.call_field import CallField, Dimension, GroupBy
from promptcache_exporters.report.figures import (
    IS_UNPRICED,
    figure_expression,
    group_key_expression,
)

RECENT_ROWS: Final = 100_000
"""The newest calls, in which the report looks for prefix changes and unread writes."""


class PeriodGrid(NamedTuple):
    """Periods of `seconds`. One of them starts at `offset` seconds before the epoch."""

    seconds: float
    offset: float

    @classmethod
    def local(cls, seconds: float, first_time: float) -> PeriodGrid:
        """Return periods that begin at midnight in local time, as it is at `first_time`."""
        return cls(float(seconds), float(time.localtime(first_time).tm_gmtoff))

    def number_of(self, at: float) -> int:
        """Return the number of the period that contains `at` (epoch seconds)."""
        return int((at + self.offset) // self.seconds)

    def start_of(self, number: int) -> float:
        """Return the start of a period, in epoch seconds."""
        return number * self.seconds - self.offset

    def to_sql(self, dialect: SQLDialect) -> str:
        """Return the expression for the number of a call's period."""
        return dialect.to_floor(f"(time + {self.offset!r}) / {self.seconds!r}")


def figures_by_group_sql(
    by: CallField | Sequence[CallField],
    dialect: SQLDialect,
    figures: Iterable[str],
    table: str,
    condition: str,
    periods: PeriodGrid | None = None,
) -> str:
    """Return the query for the keys and some of `FIGURES` of each group, one row for each group.

    The keys are `group_key`, `group_key_2` and so on, and with `periods` also `period`.
    """
    fields = [by] if isinstance(by, GroupBy | Dimension) else by
    columns = [
        f"{group_key_expression(field, dialect)} AS {name}"
        for field, name in zip(fields, group_key_names(len(fields)), strict=True)
    ]
    columns += [f"{periods.to_sql(dialect)} AS period"] if periods else []
    keys = ", ".join(str(number) for number in range(1, len(columns) + 1))
    columns += [f"{figure_expression(name, dialect)} AS {name}" for name in figures]
    selected = ",\n    ".join(columns)
    where = f"\nWHERE {condition}" if condition else ""
    return f"SELECT {selected}\nFROM {table}{where}\nGROUP BY {keys}"


def group_key_names(count: int) -> list[str]:
    """Return the names of the columns with the keys of a group of `count` fields."""
    return ["group_key", *(f"group_key_{number}" for number in range(2, count + 1))]


class CallTimeRange(NamedTuple):
    """The number of the calls, and the time range of their starts (epoch seconds)."""

    calls: int
    first_time: float | None
    last_time: float | None


TIME_RANGE_QUERY: Final = Query(
    CallTimeRange,
    """
SELECT count(*) AS calls, min(time) AS first_time, max(time) AS last_time
FROM calls WHERE time >= ?""",
)


class CallStart(NamedTuple):
    """The start of a call, epoch seconds."""

    time: float


OLDEST_RECENT_CALL_QUERY: Final = Query(
    CallStart,
    f"""
SELECT time FROM calls WHERE time >= ?
ORDER BY time DESC LIMIT 1 OFFSET {RECENT_ROWS - 1}""",  # noqa: S608  # our own SQL
)
"""The start of the oldest of the newest `RECENT_ROWS` calls. Fewer calls give no row."""


class RowCount(NamedTuple):
    """A number of rows."""

    rows: int


INVALID_CALLS_QUERY: Final = Query(RowCount, "SELECT count(*) AS rows FROM invalid_calls")


class SampledCallCounts(NamedTuple):
    """How many calls come from sampled traces, and the smallest ratio among them."""

    calls: int
    unknown_ratio_calls: int
    smallest_ratio: float | None


SAMPLED_QUERY: Final = Query(
    SampledCallCounts,
    """
SELECT count(*) AS calls, count(*) - count(sample_ratio) AS unknown_ratio_calls,
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
SELECT {group_key_expression(GroupBy.MODEL, SQLITE)} AS model, cost_unknown AS reason,
    count(*) AS calls
FROM calls WHERE {IS_UNPRICED} AND +time >= ?
GROUP BY 1, 2""",  # noqa: S608  # our own SQL
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
    {figure_expression("rated_input_tokens", SQLITE)} AS rated_input_tokens,
    {figure_expression("rated_read_tokens", SQLITE)} AS rated_read_tokens
FROM calls WHERE time >= ? AND prefix_family IS NOT NULL AND prefix_hash IS NOT NULL
GROUP BY 1, 2, 3 HAVING count(*) > 1""",  # noqa: S608  # our own SQL
)


QUERIES: Final[tuple[Query[Any], ...]] = (
    TIME_RANGE_QUERY,
    ID_RANGE_QUERY,
    OLDEST_RECENT_CALL_QUERY,
    SAMPLED_QUERY,
    STREAMS_WITHOUT_USAGE_QUERY,
    UNPRICED_QUERY,
    PREFIX_PERIODS_QUERY,
)
