"""The lines of a report in words, the same on the terminal and in HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from promptcache.diagnosis.miss_reasons import format_advice
from promptcache_exporters.report.call_field import CallField, GroupBy
from promptcache_exporters.report.format import (
    format_abbreviated_count,
    format_bracketed_percent,
    format_call_count,
    format_count,
    format_local_time,
    format_local_utc_offset,
    format_name,
    format_path,
    format_percent_rounded_down,
    format_usd,
)
from promptcache_exporters.report.model import CallTotals, PrefixChange, Report, ReportGroup
from promptcache_exporters.report.sql import RECENT_ROWS
from promptcache_exporters.report.stream_usage import stream_usage_advice

GROUP_COLUMNS: Final = ("calls", "input", "hit rate", "cost", "saved", "wasted")
MAX_UNPRICED_MODELS: Final = 5

_GROUP_HEADINGS: Final[dict[CallField, str]] = {
    GroupBy.CALLSITE: "call site",
    GroupBy.PREFIX: "static prefix",
    GroupBy.FAMILY: "prefix family",
    GroupBy.REASON: "miss reason",
}


def field_heading(by: CallField) -> str:
    """Return the heading of a column with the values of a field."""
    return _GROUP_HEADINGS.get(by, str(by))


def group_column_heading(by: Sequence[CallField]) -> str:
    """Return what the groups are, in one heading."""
    return ", ".join(map(field_heading, by))


def group_table_cells(group: ReportGroup) -> tuple[str, ...]:
    """Return one row of the table, in the order of `GROUP_COLUMNS`.

    A plus after the waste says that it is a lower bound.
    """
    return totals_table_cells(group.totals, is_lower_bound=bool(group.unknown_waste_calls))


def totals_table_cells(totals: CallTotals, *, is_lower_bound: bool = False) -> tuple[str, ...]:
    """Return the cells of some totals, in the order of `GROUP_COLUMNS`."""
    is_lower_bound = is_lower_bound and totals.wasted_usd is not None
    return (
        format_count(totals.calls),
        format_abbreviated_count(totals.input_tokens),
        format_percent_rounded_down(totals.hit_rate),
        format_usd(totals.cost_usd),
        format_usd(totals.saved_usd),
        format_usd(totals.wasted_usd) + ("+" if is_lower_bound else ""),
    )


def summary_lines(report: Report) -> list[tuple[str, str]]:
    """Return the totals as pairs of a title and a text."""
    totals = report.totals
    first, last = report.first_call_time, report.last_call_time
    return [
        (
            "Calls",
            (
                f"{format_count(totals.calls)}, {format_local_time(first)}"
                f" to {format_local_time(last)} {format_local_utc_offset(last)}"
            ),
        ),
        (
            "Hit rate",
            (
                f"{format_percent_rounded_down(totals.hit_rate)}"
                f" of {format_count(report.rated_input_tokens)} input tokens read from the cache"
            ),
        ),
        (
            "Cost",
            f"{format_usd(totals.cost_usd)}, without cache {format_usd(totals.without_cache_usd)}",
        ),
        (
            "Saved",
            format_usd(totals.saved_usd)
            + format_bracketed_percent(totals.saved_usd, totals.without_cache_usd),
        ),
        ("Wasted", _format_wasted_cost(report)),
        *_optional_summary_lines(report),
        *_absent_row_lines(report),
        ("File", format_path(report.path)),
    ]


def _absent_row_lines(report: Report) -> Iterator[tuple[str, str]]:
    absent = report.absent_rows
    if absent.left_out:
        yield (
            "Left out",
            f"{format_count(absent.left_out)} rows with values that no call can have",
        )
    if absent.lost:
        yield ("Lost", f"{format_count(absent.lost)} rows that could not be written")
    if absent.pruned:
        yield ("Pruned", f"{format_call_count(absent.pruned)}; llm_hours keeps their hourly sums")


def _optional_summary_lines(report: Report) -> Iterator[tuple[str, str]]:
    """Yield the lines that only some reports have."""
    if report.unread_writes and report.unread_writes.calls:
        yield "Unread writes", _format_unread_writes(report)
    if report.storage_costs:
        yield "Storage cost", _format_storage_costs(report)
    if report.unpriced_models:
        yield "No price", _format_unpriced_models(report)
    if report.failed_calls:
        yield "Failed", format_call_count(report.failed_calls)
    if report.streams_without_usage:
        yield (
            "No usage",
            (
                f"{format_count(report.streams_without_usage)} chat streams did not report tokens."
                f" {stream_usage_advice()}"
            ),
        )


def _format_wasted_cost(report: Report) -> str:
    totals, unknown = report.totals, report.unknown_waste_calls
    text = format_usd(totals.wasted_usd)
    text += format_bracketed_percent(totals.wasted_usd, totals.cost_usd, " of the cost")
    if totals.wasted_usd is None or not unknown:
        return text
    return f"at least {text}, unknown for {format_call_count(unknown)}"


def _format_unread_writes(report: Report) -> str:
    writes = report.unread_writes
    if writes is None:
        return ""
    bound = "at least " if writes.unpriced and writes.wasted_usd is not None else ""
    surcharge = (
        "unknown price"
        if writes.wasted_usd is None
        else f"{bound}{format_usd(writes.wasted_usd)} more than plain input"
    )
    is_partial = report.totals.calls > RECENT_ROWS
    scope = f" of the last {format_count(RECENT_ROWS)}" if is_partial else ""
    calls = f"{format_call_count(writes.calls)}{scope}"
    return f"{calls} wrote {format_count(writes.tokens)} tokens that no call read: {surcharge}"


def _format_storage_costs(report: Report) -> str:
    costs = report.storage_costs
    if costs is None:
        return ""
    caches = f"{format_count(costs.caches)} named {'cache' if costs.caches == 1 else 'caches'}"
    unknown = f", {format_count(costs.unpriced)} without a price" if costs.unpriced else ""
    filled = f"; filling them cost {format_usd(costs.filled_usd)}" if costs.filled_usd else ""
    return (
        f"{format_usd(costs.paid_usd)} paid, {format_usd(costs.committed_usd)} committed"
        f" for {caches}{unknown}{filled}"
    )


def _format_unpriced_models(report: Report) -> str:
    named = [
        f"{format_count(row.calls)} {format_name(row.model)} ({format_name(row.reason)})"
        for row in report.unpriced_models[:MAX_UNPRICED_MODELS]
    ]
    rest = sum(row.calls for row in report.unpriced_models[MAX_UNPRICED_MODELS:])
    if rest:
        named.append(f"{format_count(rest)} of other models")
    return f"{format_call_count(report.totals.unpriced_calls)} not in the cost: {', '.join(named)}"


def sampling_note(report: Report) -> str | None:
    """Return a sentence on what sampling does to the figures; None if every call was recorded."""
    if not report.sampled_calls:
        return None
    ratio = report.smallest_sample_ratio
    share = "an unknown share" if ratio is None else f"as few as {ratio * 100:.3g} %"
    return (
        f"Sampled: {format_count(report.sampled_calls)} of these"
        f" {format_count(report.totals.calls)} calls come from sampled traces, which keep {share}."
        " Sums are too low and rates are estimates; the metrics promptcache.* count every call."
    )


def advice_lines(report: Report) -> list[tuple[str, str]]:
    """Return pairs of a miss reason and its advice.

    They are for the groups of a report by reason, in their order, and for unread writes.
    """
    reasons = [group.key for group in report.groups if report.by == (GroupBy.REASON,) and group.key]
    if report.unread_writes and report.unread_writes.calls:
        reasons.append("write_never_read")
    advice = ((reason, format_advice(reason)) for reason in reasons)
    return [(format_name(reason), text) for reason, text in advice if text]


def prefix_change_sentence(change: PrefixChange) -> str:
    """Return a sentence on a static prefix that replaced another one."""
    service = f" in {format_name(change.service)}" if change.service else ""
    return (
        f"{format_local_time(change.time)}{service}:"
        f" prefix {format_name(change.new_hash)}"
        f" replaced {format_name(change.old_hash)},"
        f" hit rate {format_percent_rounded_down(change.old_hit_rate)}"
        f" -> {format_percent_rounded_down(change.new_hit_rate)}"
    )
