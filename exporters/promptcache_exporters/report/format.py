"""Values as text, the same on the terminal and in HTML."""

from __future__ import annotations

import time
from typing import Final

NO_VALUE: Final = "\N{EN DASH}"
_COUNT_UNITS: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def escape_unprintable_or_dash(text: str | None) -> str:
    """Escape control and direction characters. Names of models are hostile input."""
    if text is None:
        return NO_VALUE
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def format_count(count: int | None) -> str:
    """Return `12,345`, or a dash for None."""
    return NO_VALUE if count is None else f"{count:,}"


def format_abbreviated_count(count: int | None) -> str:
    """Return a count in at most four digits: `9,874`, `51.2 k`, `342 M`."""
    if count is None or count < 10_000:
        return format_count(count)
    size, unit = next((count / size, unit) for size, unit in _COUNT_UNITS if count >= 0.9995 * size)
    return f"{size:.1f} {unit}" if size < 99.95 else f"{size:.0f} {unit}"


def format_call_count(count: int) -> str:
    """Return `1 call` or `2 calls`."""
    return f"{format_count(count)} {'call' if count == 1 else 'calls'}"


def format_percent_rounded_down(ratio: float | None) -> str:
    """Return a share in 0..1 as `41.2 %`, rounded down, so that only a complete hit is 100 %."""
    return NO_VALUE if ratio is None else f"{int(ratio * 1000 + 1e-9) / 10:.1f} %"


def format_bracketed_percent(part: float | None, whole: float | None, suffix: str = "") -> str:
    """Return ` (41.2 %)` for a positive share, with `suffix` inside the brackets; else nothing."""
    return (
        f" ({format_percent_rounded_down(part / whole)}{suffix})"
        if part and whole and part > 0
        else ""
    )


def format_usd(amount_usd: float | None) -> str:
    """Return USD. Small amounts have more decimals."""
    if amount_usd is None:
        return NO_VALUE
    size = abs(amount_usd)
    decimals = 2 if size >= 1 or size == 0 else 4 if size >= 0.01 else 6
    return f"{'-' if amount_usd < 0 else ''}${size:,.{decimals}f}"


def format_local_time(epoch_seconds: float | None) -> str:
    """Return an epoch time as local date and time."""
    return (
        NO_VALUE
        if epoch_seconds is None
        else time.strftime("%Y-%m-%d %H:%M", time.localtime(epoch_seconds))
    )


def format_local_utc_offset(epoch_seconds: float | None) -> str:
    """Return the offset of the local time at an epoch time: `UTC+0100`."""
    return "" if epoch_seconds is None else time.strftime("UTC%z", time.localtime(epoch_seconds))


def format_prompt_location(section: str | None, index: int | None) -> str:
    """Return `system[0]`, or the known part of it."""
    if not section:
        return ""
    return escape_unprintable_or_dash(section) + ("" if index is None else f"[{index}]")
