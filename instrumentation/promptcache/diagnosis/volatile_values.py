"""Find values that change from call to call (times, ids, counters) by their form.

Only the kind and the position of a value leave this module, never its text.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final

from promptcache.prefix.fingerprint import looks_like_identifier

_MONTH: Final = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_DAY: Final = r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_TIME: Final = r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:\s?[APap]\.?[Mm]\b)?"
_DATE: Final = (
    r"(?:\b\d{4}[-/]\d{1,2}[-/]\d{1,2}|\b\d{1,2}[./]\d{1,2}[./]\d{2,4}"
    rf"|{_MONTH}\.? \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}|\b\d{{1,2}}\.? {_MONTH},? \d{{4}})"
)
_EPOCH: Final = r"\b1[5-9]\d{8}(?:\d{3}|\.\d+)?\b"
VOLATILE_PATTERNS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    ("uuid", re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b")),
    ("timestamp", re.compile(rf"{_DATE}(?:[T ,]| at ){{1,3}}{_TIME}|{_EPOCH}|\b{_TIME}")),
    ("date", re.compile(rf"{_DATE}|\b{_DAY}\b")),
    ("hex_id", re.compile(r"\b(?=[a-fA-F]*\d)(?=\d*[a-fA-F])[0-9a-fA-F]{8,}\b")),
    ("hex_id", re.compile(r"\b[a-z]{2,8}[_-](?=[A-Za-z]*\d)[A-Za-z0-9]{8,}\b")),
    ("counter", re.compile(r"\b\d+\b")),
    ("name_like", re.compile(r"(?<=[a-z,:] )[A-Z][a-z]{1,15}(?:[ '-][A-Z][a-z]{1,15}){0,2}\b")),
)
"""Hints and their patterns, the more special ones first."""

AMBIGUOUS_HINTS: Final = frozenset({"counter", "name_like"})
"""Hints that an ordinary edit shows, too. They count only for a small change in place, or if they
repeat."""
_RANDOM_HINTS: Final = frozenset({"uuid", "hex_id"})
_RANDOM_START_CHARS: Final = 12
"""Two random values differ before this character, even if they begin with their time."""
_CONTEXT_CHARS: Final = 48
"""A value may begin or end this many characters outside the changed range."""


def find_volatile_value(
    text: str, change_start: int, change_end: int, known_word_hashes: Container[int]
) -> tuple[str, int] | None:
    """Return hint and position of a volatile value that overlaps `text[start:end]`, the most
    special one.

    The text before `change_start` is unchanged. `known_word_hashes` holds the 32-bit hashes of
    words of the earlier text: a value that consists of such words is unchanged, too.
    """
    low, high = max(0, change_start - _CONTEXT_CHARS), min(len(text), change_end + _CONTEXT_CHARS)
    for hint, pattern in VOLATILE_PATTERNS:
        for match in pattern.finditer(text, low, high):
            first, last = match.span()
            if hint in _RANDOM_HINTS and change_start - first >= _RANDOM_START_CHARS:
                continue
            if (
                first < change_end
                and last > change_start
                and not _consists_of_known_words(text, first, last, known_word_hashes)
            ):
                return hint, first
    return None


def _consists_of_known_words(
    text: str, start: int, end: int, known_word_hashes: Container[int]
) -> bool:
    """Return whether all identifier-like words that overlap `text[start:end]` are
    `known_word_hashes`."""
    start = text.rfind(" ", 0, start) + 1
    end = end if (after := text.find(" ", end)) < 0 else after
    return all(
        hash(word) & 0xFFFFFFFF in known_word_hashes
        for word in text[start:end].split()
        if looks_like_identifier(word)
    )
