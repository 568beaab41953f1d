"""Name values that change from call to call (times, ids, counters) by their form.

Only the kind and the position of a value leave this module, never its text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

_MONTH: Final = (
    r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec|January|February|March|April|June|"
    r"July|August|September|October|November|December|"
    r"J[aä]nner|Januar|Februar|M[äa]rz|Mai|Juni|Juli|Oktober|Dezember|Okt|Dez|"
    r"janvier|f[ée]vrier|mars|avril|mai|juin|juillet|ao[ûu]t|septembre|octobre|novembre|"
    r"d[ée]cembre|janv|f[ée]vr|avr|juil|sept|d[ée]c|"
    r"enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre|"
    r"gennaio|febbraio|aprile|maggio|giugno|luglio|settembre|ottobre|dicembre|"
    r"janeiro|fevereiro|março|maio|junho|julho|setembro|outubro|novembro|dezembro|"
    r"januari|februari|maart|mars|april|maj|mei|juni|juli|augustus|augusti|september|oktober|"
    r"november|december)"
)
_DAY: Final = (
    r"(?:Mon|Tue|Tues|Wed|Wednes|Thu|Thur|Thurs|Fri|Sat|Satur|Sun)(?:day)?|"
    r"(?:Mon|Diens|Donners|Frei|Sams|Sonn)tag|Mittwoch|Sonnabend|"
    r"lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche"
)
_TIME: Final = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s?[APap]\.?[Mm]\b)?(?:Z|[+-]\d{2}:?\d{2})?"
_DATE: Final = (
    r"(?:\b\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\b\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b"
    rf"|\b{_MONTH}\.?[ -]\d{{1,2}}(?:st|nd|rd|th)?\b(?:,? \d{{4}}\b)?"
    rf"|\b\d{{1,2}}(?:\.|er|st|nd|rd|th)?(?: de)?[ -]{_MONTH}\b\.?(?:(?:,| de)?[ -]\d{{2,4}}\b)?"
    rf"|\b{_MONTH} \d{{4}}\b|\b\d{{4}}[年년] ?\d{{1,2}}[月월] ?\d{{1,2}}[日일]"
    r"|\b\d{1,2}\.? [^\W\d_]{3,12}\.? (?:19|20)\d{2}\b|\bQ[1-4][ /-](?:19|20)\d{2}\b"
    r"|\b\d{4}-?W\d{1,2}(?:-\d)?\b|\b(?:KW|CW|week) ?\d{1,2}\b)"
)
_EPOCH: Final = r"\b1[5-9]\d{8}(?:\d{3}|\.\d+)?\b"
_UNIT: Final = (
    r"(?:sec(?:ond)?|min(?:ute)?|hour|hr|day|week|month|year)s?|[smhd]\b|"
    r"Sekunden?|Minuten?|Stunden?|Tag(?:en?)?|Wochen?|Monate?n?|Jahre?n?|"
    r"secondes?|minutes?|heures?|jours?|semaines?|mois|ans?"
)
_AGE: Final = (
    rf"\b(?:\d+|an?|one) ?(?:{_UNIT}) (?:ago|old|earlier|later)\b|\bin \d+ (?:{_UNIT})\b"
    rf"|\b(?:vor|il y a|seit|depuis|hace) \d+ (?:{_UNIT})\b"
    r"|\b(?:just now|yesterday|today|tomorrow|gestern|heute|morgen|hier|aujourd.hui)\b"
)
_CAPITAL: Final = r"[^\W\d_][^\W\d_]*(?:[\u2019'-][^\W\d_]+)*"
_PARTICLES: Final = frozenset(
    {"de", "van", "von", "der", "den", "la", "le", "al", "el", "bin", "da", "di", "dos", "y"}
)
_NAME: Final = re.compile(rf"{_CAPITAL}(?: {_CAPITAL}){{0,4}}")
_ID_CHARACTERS: Final = r"[A-Za-z0-9_-]"
_HEX: Final = "[0-9a-fA-F]{1,4}"
_IPV6: Final = rf"(?:{_HEX}:){{7}}{_HEX}|(?:{_HEX}:){{1,6}}(?::{_HEX}){{1,6}}|(?:{_HEX}:){{1,7}}:"

VOLATILE_PATTERNS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    ("uuid", re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b")),
    ("jwt", re.compile(rf"\beyJ{_ID_CHARACTERS}+\.{_ID_CHARACTERS}+(?:\.{_ID_CHARACTERS}*)?")),
    # Before dates, since three of the four numbers of an address may look like one.
    ("ip_address", re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}\b(?:/\d{1,2}\b)?(?!\.\d)")),
    ("ip_address", re.compile(rf"(?<![\w:.])(?:{_IPV6})(?![\w:])")),
    (
        "timestamp",
        re.compile(
            rf"(?:(?:{_DAY})(?:,? |\.,? ?))?{_DATE}(?:[T ,]|,? (?:at|um|à) |, ){{1,2}}{_TIME}"
            rf"|{_EPOCH}|\b{_TIME}"
        ),
    ),
    ("date", re.compile(rf"(?:\b(?:{_DAY})(?:,? |\.,? ?))?{_DATE}|\b(?:{_DAY})\b")),
    ("relative_time", re.compile(_AGE, re.IGNORECASE)),
    ("ulid", re.compile(r"\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b")),
    ("hex_id", re.compile(r"\b(?=[a-fA-F]*\d)(?=\d*[a-fA-F])(?:[0-9a-f]{7,}|[0-9A-F]{7,})\b")),
    ("hex_id", re.compile(r"\b[a-z]{2,8}[_-](?=[A-Za-z]*\d)[A-Za-z0-9]{8,}\b")),
    ("random_id", re.compile(rf"(?<![A-Za-z0-9_-]){_ID_CHARACTERS}{{10,}}(?![A-Za-z0-9_-])")),
    ("counter", re.compile(r"(?<![\w.])[+-]?\d+(?:[.,]\d+)*(?![\w])|\d+")),
)
"""Hints and their patterns, the more special ones first. Names of people have no pattern."""

AMBIGUOUS_HINTS: Final = frozenset({"counter", "name_like"})
"""Hints that an ordinary edit shows, too."""
_MIN_CHARACTER_CLASSES: Final = 4
"""A random id of letters changes between capitals, small letters and digits at least so often."""

_LONG_ID_LENGTH: Final = 12
"""A shorter id needs more changes between digits and letters."""


def name_value(text: str, words: Sequence[tuple[int, int]]) -> tuple[str, int] | None:
    """Return hint and start of the value to which the first of these words belongs.

    `words` are start and end of the words that changed. The result is None if one of them belongs
    to no value: then more changed than a value.
    """
    values = _values_of_words(text, words)
    if len(values) == len(words):
        return values[words[0]]
    if values:
        return None
    start = _start_of_name(text, words[0][0], words[-1][1])
    return None if start is None else ("name_like", start)


def _values_of_words(
    text: str, words: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], tuple[str, int]]:
    """Return hint and start of the value of each word that belongs to one."""
    values: dict[tuple[int, int], tuple[str, int]] = {}
    last_start = words[-1][0]
    for hint, pattern in VOLATILE_PATTERNS:
        for match in pattern.finditer(text):
            start, end = match.span()
            if start > last_start:
                break
            if hint == "random_id" and not _looks_random(match[0]):
                continue
            for word in words:
                if start <= word[0] and word[1] <= end:
                    values.setdefault(word, (hint, start))
            if len(values) == len(words):
                return values
    return values


def _looks_random(word: str) -> bool:
    """Return whether a word has the mixture of characters of a random id, and not of a name."""
    classes = ["d" if c.isdigit() else "u" if c.isupper() else "l" for c in word if c.isalnum()]
    changes = sum(one != other for one, other in pairwise(classes))
    if len(word) < _LONG_ID_LENGTH:
        return changes > 2 and "d" in classes and word.isalnum()
    return changes >= _MIN_CHARACTER_CLASSES or (changes > 1 and "d" in classes)


def _start_of_name(text: str, start: int, end: int) -> int | None:
    """Return where the name begins that covers `text[start:end]`; None if there is none."""
    found = _NAME.fullmatch(text, start, end)
    if found is None:
        return None
    parts = re.split("[ -]", found[0])
    is_name = all(part.istitle() or part in _PARTICLES for part in parts)
    before = text[:start].rstrip()
    is_first_word = not before or before[-1] in ".!?"
    return start if is_name and not is_first_word else None
