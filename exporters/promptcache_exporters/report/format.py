"""Figures as people read them, the same on the terminal and in HTML."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from promptcache.diagnosis.miss_reasons import format_advice
from promptcache_exporters.report.query import (
    RECENT_ROWS,
    GroupBy,
    PrefixChange,
    Report,
    ReportGroup,
)

NO_VALUE: Final = "\N{EN DASH}"

GROUP_COLUMNS: Final = ("calls", "input", "hit rate", "cost", "saved", "wasted")

_GROUP_HEADINGS: Final[dict[GroupBy, str]] = {
    GroupBy.CALLSITE: "call site",
    GroupBy.PREFIX: "static prefix",
    GroupBy.REASON: "reason of the miss",
}


def group_heading(by: GroupBy) -> str:
    """What the first column of a table shows."""
    return _GROUP_HEADINGS.get(by, by)


def escape_unprintable(text: str | None) -> str:
    """`text` without what could steer a terminal or turn the line around: names of models are hostile input."""
    if text is None:
        return NO_VALUE
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def format_count(value: int | None) -> str:
    """12,345 or a dash."""
    return NO_VALUE if value is None else f"{value:,}"


def format_percent(value: float | None) -> str:
    """A share in 0..1 as `41.2 %`. Rounded down, so that 100 % says that nothing was missed."""
    return NO_VALUE if value is None else f"{int(value * 1000 + 1e-9) / 10:.1f} %"


def format_usd(value: float | None) -> str:
    """USD, with more decimals the smaller the amount is."""
    if value is None:
        return NO_VALUE
    size = abs(value)
    decimals = 2 if size >= 1 or size == 0 else 4 if size >= 0.01 else 6
    return f"{'-' if value < 0 else ''}${size:,.{decimals}f}"


def format_short_count(value: int | None) -> str:
    """A count in four digits at most: 9,874, 51.2 k, 342 M."""
    if value is None or value < 10_000:
        return format_count(value)
    size, unit = next((value / size, unit) for size, unit in _COUNT_UNITS if value >= 0.9995 * size)
    return f"{size:.1f} {unit}" if size < 99.95 else f"{size:.0f} {unit}"


_COUNT_UNITS: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def format_time(seconds: float | None) -> str:
    """The local time of an instant in epoch seconds."""
    return NO_VALUE if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def format_utc_offset(seconds: float | None) -> str:
    """The offset of the local time at an instant: UTC+0100."""
    return "" if seconds is None else time.strftime("UTC%z", time.localtime(seconds))


def group_cells(group: ReportGroup) -> tuple[str, ...]:
    """One line of a table, in the order of `GROUP_COLUMNS`. A plus says that the waste of some calls is not known."""
    it = group.totals
    return (
        format_count(it.calls),
        format_short_count(it.input_tokens),
        format_percent(it.hit_rate),
        format_usd(it.cost_usd),
        format_usd(it.saved_usd),
        format_usd(it.wasted_usd)
        + ("+" if group.unknown_waste_calls and it.wasted_usd is not None else ""),
    )


def summary_lines(report: Report) -> list[tuple[str, str]]:
    """The totals as pairs of a title and a text."""
    it = report.totals
    lines = [
        (
            "Calls",
            f"{format_count(it.calls)}, {format_time(report.first_call_time)} to {format_time(report.last_call_time)} {format_utc_offset(report.last_call_time)}",
        ),
        (
            "Hit rate",
            f"{format_percent(it.hit_rate)} of {format_count(report.rated_input_tokens)} input tokens read from the cache",
        ),
        ("Cost", f"{format_usd(it.cost_usd)}, without cache {format_usd(it.without_cache_usd)}"),
        ("Saved", format_usd(it.saved_usd) + _format_share(it.saved_usd, it.without_cache_usd)),
        ("Wasted", _format_waste(report)),
        *(("Unread", text) for text in _unread_write_lines(report)),
        *(("Rent", text) for text in _storage_cost_lines(report)),
        *(("Unpriced", text) for text in unpriced_lines(report)[:1]),
    ]
    if report.failed_calls:
        lines.append(("Failed", f"{format_count(report.failed_calls)} of the calls"))
    if report.streams_without_usage:
        lines.append(
            (
                "Silent",
                f"{format_count(report.streams_without_usage)} chat streams did not report tokens: {_INCLUDE_USAGE_OPTION}",
            )
        )
    return [*lines, ("File", escape_unprintable(str(report.path)))]


_INCLUDE_USAGE_OPTION: Final = "stream_options={'include_usage': True}"


def _format_waste(report: Report) -> str:
    it, open_ = report.totals, report.unknown_waste_calls
    text = format_usd(it.wasted_usd) + _format_share(it.wasted_usd, it.cost_usd, " of the cost")
    if it.wasted_usd is None or not open_:
        return text
    return (
        f"at least {text}, not known of {format_count(open_)} {'call' if open_ == 1 else 'calls'}"
    )


def _unread_write_lines(report: Report) -> Iterator[str]:
    """What was certainly written in vain, where there is any."""
    it = report.unread_writes
    if it and it.calls:
        calls = f"{format_count(it.calls)} {'call' if it.calls == 1 else 'calls'}"
        least = "at least " if it.unpriced and it.wasted_usd is not None else ""
        more = (
            "price unknown"
            if it.wasted_usd is None
            else f"{least}{format_usd(it.wasted_usd)} more than plain input"
        )
        calls += (
            f" of the last {format_count(RECENT_ROWS)}" if report.totals.calls > RECENT_ROWS else ""
        )
        yield f"{format_count(it.tokens)} tokens that {calls} wrote were never read: {more}"


def _storage_cost_lines(report: Report) -> Iterator[str]:
    """What named caches cost beside the calls, where there are any."""
    it = report.storage_costs
    if it:
        caches = f"{format_count(it.caches)} named {'cache' if it.caches == 1 else 'caches'}"
        unknown = f", not known of {format_count(it.unpriced)}" if it.unpriced else ""
        filled = f"; filling them cost {format_usd(it.filled_usd)}" if it.filled_usd else ""
        yield f"{format_usd(it.paid_usd)} paid, {format_usd(it.committed_usd)} committed for {caches}{unknown}{filled}"


def _format_share(part: float | None, whole: float | None, of: str = "") -> str:
    return f" ({format_percent(part / whole)}{of})" if part and whole and part > 0 else ""


def unpriced_lines(report: Report) -> list[str]:
    """One text that counts the calls without a cost and names their models and reasons; none where all have one."""
    if not report.unpriced_models:
        return []
    named = [
        f"{format_count(it.calls)} {escape_unprintable(it.model)} ({escape_unprintable(it.reason)})"
        for it in report.unpriced_models[:5]
    ]
    more = sum(it.calls for it in report.unpriced_models[5:])
    calls = report.totals.unpriced_calls
    rest = f", {format_count(more)} of other models" if more else ""
    return [
        f"{format_count(calls)} {'call' if calls == 1 else 'calls'} not in the cost: {', '.join(named)}{rest}"
    ]


def sampling_note(report: Report) -> str | None:
    """What sampling does to the figures; None where every call was recorded."""
    if not report.sampled_calls:
        return None
    kept = (
        "an unknown share"
        if report.smallest_sample_ratio is None
        else f"as few as {report.smallest_sample_ratio * 100:.3g} %"
    )
    return (
        f"Sampled: {format_count(report.sampled_calls)} of these {format_count(report.totals.calls)} calls come from sampled traces, which"
        f" keep {kept}. Sums are too low and rates are estimates; the metrics promptcache.* count every call."
    )


def advice_lines(report: Report) -> list[tuple[str, str]]:
    """What to do about each reason, where that is what the calls are grouped by, most input first; and about writes."""
    reasons = [group.key for group in report.groups if report.by is GroupBy.REASON and group.key]
    reasons += ["write_never_read"] if report.unread_writes and report.unread_writes.calls else []
    return [
        (escape_unprintable(reason), text) for reason in reasons if (text := format_advice(reason))
    ]


def format_location(section: str | None, index: int | None) -> str:
    """`system[0]`, or as much of it as is known."""
    return escape_unprintable(section) + ("" if index is None else f"[{index}]") if section else ""


def format_prefix_change(it: PrefixChange) -> str:
    """A static prefix that replaced another."""
    where = f" in {escape_unprintable(it.service)}" if it.service else ""
    return (
        f"{format_time(it.time)}{where}: prefix {escape_unprintable(it.new_hash)} replaced {escape_unprintable(it.old_hash)},"
        f" hit rate {format_percent(it.old_hit_rate)} -> {format_percent(it.new_hit_rate)}"
    )
