"""Values as text, the same on the terminal and in HTML."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

NO_VALUE: Final = "\N{EN DASH}"
MAX_NAME_WIDTH: Final = 120
"""Columns of the terminal that a name may take."""
_ESCAPE_FORMS: Final = ((0x100, "\\x{:02x}"), (0x10000, "\\u{:04x}"), (0x110000, "\\U{:08x}"))
_MARK_CATEGORIES: Final = ("Mn", "Me")
_MAX_MARKS: Final = 2
"""Combining marks on one character. Words of real languages have no more."""
_SPARKS: Final = "▁▂▃▄▅▆▇█"
_COUNT_UNITS: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def format_name(name: str | None) -> str:
    """Return a name for people, or a dash for None. Names of models are hostile input.

    Control and direction characters are escaped, and combining marks that would paint over other
    names. A blank name is quoted. A long name is cut in the middle; the JSON has all of it.
    """
    if name is None:
        return NO_VALUE
    if not name.strip():
        name = f'"{name}"'
    return _cut_in_the_middle(list(_escape_characters(name)))


def format_path(path: object) -> str:
    """Return the whole path of a file, escaped as names are."""
    return "".join(_escape_characters(str(path)))


def _escape_characters(text: str) -> Iterator[str]:
    marks = _MAX_MARKS  # a mark at the beginning would paint over what stands before the name
    for char in text:
        is_mark = unicodedata.category(char) in _MARK_CATEGORIES
        marks = marks + 1 if is_mark else 0
        is_shown = char.isprintable() and marks <= _MAX_MARKS
        yield char if is_shown else _escape(char)


def _escape(char: str) -> str:
    code = ord(char)
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )


def _cut_in_the_middle(pieces: list[str]) -> str:
    """Join the pieces, without those in the middle if they are wider than MAX_NAME_WIDTH."""
    if sum(map(_width, pieces)) <= MAX_NAME_WIDTH:
        return "".join(pieces)
    room = (MAX_NAME_WIDTH - 1) // 2
    begin = "".join(_take(pieces, MAX_NAME_WIDTH - 1 - room))
    end = list(_take(pieces[::-1], room))
    return f"{begin}…{''.join(reversed(end))}"


def _take(pieces: Iterable[str], width: int) -> Iterator[str]:
    for piece in pieces:
        width -= _width(piece)
        if width < 0:
            return
        yield piece


def _width(piece: str) -> int:
    """Return the columns of the terminal that a character or an escape may take."""
    return 2 if unicodedata.east_asian_width(piece[0]) in "WF" else len(piece)


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
    """Return the offset of the local time at an epoch time: `UTC+0100`, or `UTC`."""
    if epoch_seconds is None:
        return ""
    return time.strftime("UTC%z", time.localtime(epoch_seconds)).removesuffix("+0000")


def format_sparkline(values: Sequence[float | None], highest: float | None = None) -> str:
    """Return one character for each value, from `▁` for 0 to `█` for `highest`.

    A blank stands for None. Without `highest` the largest value is the highest.
    """
    top = highest or max((value for value in values if value is not None), default=0)
    last = len(_SPARKS) - 1
    return "".join(
        " " if value is None else _SPARKS[min(last, int(value / top * last + 0.5)) if top else 0]
        for value in values
    )


def format_period_start(epoch_seconds: float, period_seconds: float) -> str:
    """Return the local start of a period: without the time for whole days."""
    text = "%Y-%m-%d" if period_seconds % 86_400 == 0 else "%Y-%m-%d %H:%M"
    text += ":%S" if period_seconds % 60 else ""
    return time.strftime(text, time.localtime(epoch_seconds))


def format_call_site(file: str | None, line: int | None, function: str | None) -> str:
    """Return `app.py:3 in ask`, or the known part of it; nothing without a file."""
    if not file:
        return ""
    place = format_name(file) + ("" if line is None else f":{line}")
    return f"{place} in {format_name(function)}" if function else place


def format_prompt_location(section: str | None, index: int | None) -> str:
    """Return `system[0]`, or the known part of it."""
    if not section:
        return ""
    return format_name(section) + ("" if index is None else f"[{index}]")
