"""Figures as people read them, the same on the terminal and in HTML."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from promptcache.causes import advice
from promptcache_exporters.figures import RECENT, By, Change, Group, Report

UNKNOWN: Final = "\N{EN DASH}"

COLUMNS: Final = ("calls", "input", "hit rate", "cost", "saved", "wasted")

_HEADINGS: Final[dict[By, str]] = {
    By.CALLSITE: "call site",
    By.PREFIX: "static prefix",
    By.REASON: "reason of the miss",
}


def heading(by: By) -> str:
    """What the first column of a table shows."""
    return _HEADINGS.get(by, by)


def printable(text: str | None) -> str:
    """`text` without what could steer a terminal or turn the line around: names of models are hostile input."""
    if text is None:
        return UNKNOWN
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def count(value: int | None) -> str:
    """12,345 or a dash."""
    return UNKNOWN if value is None else f"{value:,}"


def percent(value: float | None) -> str:
    """A share in 0..1 as `41.2 %`. Rounded down, so that 100 % says that nothing was missed."""
    return UNKNOWN if value is None else f"{int(value * 1000 + 1e-9) / 10:.1f} %"


def dollars(value: float | None) -> str:
    """USD, with more decimals the smaller the amount is."""
    if value is None:
        return UNKNOWN
    size = abs(value)
    decimals = 2 if size >= 1 or size == 0 else 4 if size >= 0.01 else 6
    return f"{'-' if value < 0 else ''}${size:,.{decimals}f}"


def short(value: int | None) -> str:
    """A count in four digits at most: 9,874, 51.2 k, 342 M."""
    if value is None or value < 10_000:
        return count(value)
    size, unit = next((value / size, unit) for size, unit in _UNITS if value >= 0.9995 * size)
    return f"{size:.1f} {unit}" if size < 99.95 else f"{size:.0f} {unit}"


_UNITS: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def moment(seconds: float | None) -> str:
    """The local time of an instant in epoch seconds."""
    return UNKNOWN if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def zone(seconds: float | None) -> str:
    """The offset of the local time at an instant: UTC+0100."""
    return "" if seconds is None else time.strftime("UTC%z", time.localtime(seconds))


def cells(group: Group) -> tuple[str, ...]:
    """One line of a table, in the order of `COLUMNS`. A plus says that the waste of some calls is not known."""
    it = group.figures
    return (
        count(it.calls),
        short(it.input_tokens),
        percent(it.hit_rate),
        dollars(it.cost_usd),
        dollars(it.saved_usd),
        dollars(it.wasted_usd) + ("+" if group.waste_unknown and it.wasted_usd is not None else ""),
    )


def summary(report: Report) -> list[tuple[str, str]]:
    """The totals as pairs of a title and a text."""
    it = report.totals
    lines = [
        (
            "Calls",
            f"{count(it.calls)}, {moment(report.first)} to {moment(report.last)} {zone(report.last)}",
        ),
        (
            "Hit rate",
            f"{percent(it.hit_rate)} of {count(report.judged_tokens)} input tokens read from the cache",
        ),
        ("Cost", f"{dollars(it.cost_usd)}, without cache {dollars(it.without_cache_usd)}"),
        ("Saved", dollars(it.saved_usd) + _share(it.saved_usd, it.without_cache_usd)),
        ("Wasted", _wasted(report)),
        *(("Unread", text) for text in _unread(report)),
        *(("Rent", text) for text in _rent(report)),
        *(("Unpriced", text) for text in unpriced(report)[:1]),
    ]
    if report.failed:
        lines.append(("Failed", f"{count(report.failed)} of the calls"))
    if report.silent:
        lines.append(
            ("Silent", f"{count(report.silent)} chat streams did not report tokens: {_ASK}")
        )
    return [*lines, ("File", printable(str(report.path)))]


_ASK: Final = "stream_options={'include_usage': True}"


def _wasted(report: Report) -> str:
    it, open_ = report.totals, report.waste_unknown
    text = dollars(it.wasted_usd) + _share(it.wasted_usd, it.cost_usd, " of the cost")
    if it.wasted_usd is None or not open_:
        return text
    return f"at least {text}, not known of {count(open_)} {'call' if open_ == 1 else 'calls'}"


def _unread(report: Report) -> Iterator[str]:
    """What was certainly written in vain, where there is any."""
    it = report.unread
    if it and it.calls:
        calls = f"{count(it.calls)} {'call' if it.calls == 1 else 'calls'}"
        least = "at least " if it.unpriced and it.wasted_usd is not None else ""
        more = (
            "price unknown"
            if it.wasted_usd is None
            else f"{least}{dollars(it.wasted_usd)} more than plain input"
        )
        calls += f" of the last {count(RECENT)}" if report.totals.calls > RECENT else ""
        yield f"{count(it.tokens)} tokens that {calls} wrote were never read: {more}"


def _rent(report: Report) -> Iterator[str]:
    """What named caches cost beside the calls, where there are any."""
    it = report.rent
    if it:
        caches = f"{count(it.caches)} named {'cache' if it.caches == 1 else 'caches'}"
        unknown = f", not known of {count(it.unpriced)}" if it.unpriced else ""
        filled = f"; filling them cost {dollars(it.filled_usd)}" if it.filled_usd else ""
        yield f"{dollars(it.paid_usd)} paid, {dollars(it.committed_usd)} committed for {caches}{unknown}{filled}"


def _share(part: float | None, whole: float | None, of: str = "") -> str:
    return f" ({percent(part / whole)}{of})" if part and whole and part > 0 else ""


def unpriced(report: Report) -> list[str]:
    """One text that counts the calls without a cost and names their models and reasons; none where all have one."""
    if not report.unpriced:
        return []
    named = [
        f"{count(it.calls)} {printable(it.model)} ({printable(it.reason)})"
        for it in report.unpriced[:5]
    ]
    more = sum(it.calls for it in report.unpriced[5:])
    calls = report.totals.unpriced_calls
    rest = f", {count(more)} of other models" if more else ""
    return [
        f"{count(calls)} {'call' if calls == 1 else 'calls'} not in the cost: {', '.join(named)}{rest}"
    ]


def sampling(report: Report) -> str | None:
    """What sampling does to the figures; None where every call was recorded."""
    if not report.sampled:
        return None
    kept = "an unknown share" if report.ratio is None else f"as few as {report.ratio * 100:.3g} %"
    return (
        f"Sampled: {count(report.sampled)} of these {count(report.totals.calls)} calls come from sampled traces, which"
        f" keep {kept}. Sums are too low and rates are estimates; the metrics promptcache.* count every call."
    )


def advised(report: Report) -> list[tuple[str, str]]:
    """What to do about each reason, where that is what the calls are grouped by, most input first; and about writes."""
    reasons = [group.key for group in report.groups if report.by is By.REASON and group.key]
    reasons += ["write_never_read"] if report.unread and report.unread.calls else []
    return [(printable(reason), text) for reason in reasons if (text := advice(reason))]


def place(section: str | None, index: int | None) -> str:
    """`system[0]`, or as much of it as is known."""
    return printable(section) + ("" if index is None else f"[{index}]") if section else ""


def change(it: Change) -> str:
    """A static prefix that replaced another."""
    where = f" in {printable(it.service)}" if it.service else ""
    return (
        f"{moment(it.time)}{where}: prefix {printable(it.new)} replaced {printable(it.old)},"
        f" hit rate {percent(it.before)} -> {percent(it.after)}"
    )
