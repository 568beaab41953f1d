"""The data of a report: plain values, no rendering."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from promptcache_exporters.report.call_field import CallField
from promptcache_exporters.report.storage_costs import StorageCosts
from promptcache_exporters.report.unread_writes import UnreadWriteTotals


@dataclass(frozen=True, slots=True)
class CallTotals:
    """Sums over calls: tokens, USD, and a rate in 0..1. None is unknown.

    The field names are keys of `promptcache report --json`, a stable interface.
    """

    calls: int
    input_tokens: int | None
    read_tokens: int | None
    write_tokens: int | None
    uncached_tokens: int | None
    output_tokens: int | None
    hit_rate: float | None
    cost_usd: float | None
    without_cache_usd: float | None
    saved_usd: float | None
    wasted_usd: float | None
    unpriced_calls: int


@dataclass(frozen=True, slots=True)
class ReportGroup:
    """The totals of the calls with the same value of each field, None for calls without a value.

    `unknown_waste_calls` counts calls whose waste is unknown. If there are any, `totals.wasted_usd`
    is a lower bound. `totals_by_period` has the totals of some periods of the report, by their
    place in `Report.periods`.
    """

    values: tuple[str | None, ...]
    totals: CallTotals
    unknown_waste_calls: int = 0
    totals_by_period: Mapping[int, CallTotals] = field(default_factory=dict[int, CallTotals])

    @property
    def key(self) -> str | None:
        """The value of the only field, or the known values of several ones in one text."""
        known = [value for value in self.values if value is not None]
        return " / ".join(known) if known else None


@dataclass(frozen=True, slots=True)
class ReportPeriod:
    """The totals of the calls that started at `start` (epoch seconds) or within a period of it."""

    start: float
    totals: CallTotals


@dataclass(frozen=True, slots=True)
class UnpricedModel:
    """The calls of one model without a cost, and the reason (`promptcache.cost.unknown`)."""

    model: str | None
    reason: str | None
    calls: int


@dataclass(frozen=True, slots=True)
class PrefixChange:
    """A static prefix that replaced another one at `time` (epoch seconds), and both hit rates."""

    service: str | None
    old_hash: str
    new_hash: str
    time: float
    old_hit_rate: float | None
    new_hit_rate: float | None


@dataclass(frozen=True, slots=True)
class AbsentRows:
    """Calls that are not in the figures of a report: of the whole table, whatever its period.

    left_out: rows that no exporter writes. lost: rows that an exporter could not write.
    pruned: calls that were deleted because of their age or the size of the file.
    """

    left_out: int = 0
    lost: int = 0
    pruned: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """All data of one report.

    rated_input_tokens: the denominator of the hit rate.
    sampled_calls: calls from sampled traces.
    smallest_sample_ratio: the smallest sample ratio among them; None is unknown.
    first_call_time, last_call_time: starts of the first and the last call, epoch seconds.
    failed_calls: calls with the outcome `error`.
    streams_without_usage: chat streams that would have reported their tokens on request.
    unknown_waste_calls: as in `ReportGroup`.
    unread_writes: of the last `RECENT_ROWS` calls; None if sampling may have dropped the reading
    call.
    storage_costs: of named caches; None if there are none.
    absent_rows: calls that the figures lack.
    since, until: the time range that was asked for, epoch seconds; infinite where it is open.
    conditions: what the calls fulfil (`service=shop`).
    period_seconds: length of `periods`, all periods from the first call to the last one; None
    without periods.
    """

    by: tuple[CallField, ...]
    totals: CallTotals
    groups: tuple[ReportGroup, ...]
    rated_input_tokens: int
    unpriced_models: tuple[UnpricedModel, ...]
    sampled_calls: int
    smallest_sample_ratio: float | None
    prefix_changes: tuple[PrefixChange, ...]
    first_call_time: float | None
    last_call_time: float | None
    path: Path | str | None = field(default=None, compare=False)
    failed_calls: int = 0
    streams_without_usage: int = 0
    unknown_waste_calls: int = 0
    unread_writes: UnreadWriteTotals | None = None
    storage_costs: StorageCosts | None = None
    absent_rows: AbsentRows = AbsentRows()
    since: float = -math.inf
    until: float = math.inf
    conditions: tuple[str, ...] = ()
    period_seconds: float | None = None
    periods: tuple[ReportPeriod, ...] = ()
