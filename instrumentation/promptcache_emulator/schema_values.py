"""Strings and numbers that meet the keywords of a JSON schema, where one can be found."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

SAMPLE_TEXT: Final = "text"
_FORMATS: Final[Mapping[str, str]] = {
    "date-time": "2026-01-31T12:30:00Z",
    "date": "2026-01-31",
    "time": "12:30:00Z",
    "duration": "PT1H",
    "email": "user@example.com",
    "idn-email": "user@example.com",
    "name-email": "User <user@example.com>",
    "hostname": "example.com",
    "idn-hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "ipvanyaddress": "192.0.2.1",
    "ipv4network": "192.0.2.0/24",
    "ipv6network": "2001:db8::/32",
    "ipvanynetwork": "192.0.2.0/24",
    "ipv4interface": "192.0.2.1/24",
    "ipv6interface": "2001:db8::1/32",
    "ipvanyinterface": "192.0.2.1/24",
    "uri": "https://example.com/",
    "uri-reference": "https://example.com/",
    "iri": "https://example.com/",
    "multi-host-uri": "https://example.com/",
    "uuid": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "uuid1": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "uuid3": "3d813cbb-47fb-32ba-91df-831e1593ac29",
    "uuid4": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "uuid5": "21f7f8de-8051-5b89-8680-0195ef798b6a",
    "json-pointer": "/a",
    "json-string": "{}",
    "regex": "a+",
    "base64url": "dGV4dA",
    "base64": "dGV4dA==",
    "byte": "dGV4dA==",
    "color": "#a1b2c3",
    "path": "file.txt",
    # They say how a value is shown or stored, and allow any text.
    "binary": SAMPLE_TEXT,
    "password": SAMPLE_TEXT,
    "enum": SAMPLE_TEXT,
}
"""Format -> an example. The names are those of JSON Schema and those that pydantic writes."""
_CANDIDATES: Final = (
    *("text", "a", "A", "ab", "AB", "abc", "ABC", "Text", "TEXT", "1", "12", "123", "1234"),
    *("12345", "123456", "12345678", "1234567890", "12.50", "0.5", "1.2.3", "v1.2.3", "A1", "AB12"),
    *("AB-12", "AB-123", "AB-1234", "ABC-123", "ABC-1234", "abc-123", "abc_123", "a-b", "a_b"),
    *("text-text", "text_text", "en", "en-US", "EUR", "#a1b2c3", "+4312345678", "555-0100"),
    *("12:30", "12:30:00", "31/01/2026", "01/31/2026", "2026-01", "2026/01/31", "a1b2c3d4", "yes"),
    *("AT611904300234573201", "file.txt", "/a/b", "@user", "#1", "Q1", "$1.00", "1%", "true"),
    *(value for value in _FORMATS.values() if value != SAMPLE_TEXT),
)
"""Strings of the shapes that people write patterns for."""


def make_string(node: Mapping[str, Any]) -> str | None:
    """Return a string with the format, pattern and length of a schema; None if none is known."""
    shortest, longest = int(node.get("minLength", 0)), node.get("maxLength")
    longest = None if longest is None else int(longest)
    if node.get("format") is not None:
        found = _FORMATS.get(str(node["format"]))
        if found != SAMPLE_TEXT:
            candidates = () if found is None else (found,)
            return _first_match(candidates, node.get("pattern"), shortest, longest)
    if node.get("pattern") is not None:
        return _first_match(_CANDIDATES, node["pattern"], shortest, longest)
    return SAMPLE_TEXT.ljust(shortest, "x")[:longest]


def _first_match(
    candidates: tuple[str, ...], pattern: Any, shortest: int, longest: int | None
) -> str | None:
    try:
        compiled = re.compile(str(pattern or ""))
    except re.error:  # another dialect
        return None
    for text in candidates:
        has_length = len(text) >= shortest and (longest is None or len(text) <= longest)
        if has_length and compiled.search(text):
            return text
    return None


def make_number(node: Mapping[str, Any], *, is_integer: bool) -> float | None:
    """Return a number within the bounds of a schema; None if there is none."""
    low, high = _bounds(node, is_integer=is_integer)
    step = node.get("multipleOf")
    if step:
        value = float(math.ceil((1 if low == -math.inf else low) / step) * step)
        value = value if value <= high else math.floor(high / step) * step
    elif low > -math.inf:
        is_open = not is_integer and "minimum" not in node
        value = (low + min(high, low + 2)) / 2 if is_open else low
    else:
        value = min(1 if is_integer else 1.5, high if is_integer else high - 0.5)
    if not low <= value <= high:
        return None
    return int(value) if is_integer else value


def _bounds(node: Mapping[str, Any], *, is_integer: bool) -> tuple[float, float]:
    """Return the lowest and the highest value; of a float, an excluded bound itself."""
    low, high = float(node.get("minimum", -math.inf)), float(node.get("maximum", math.inf))
    above, below = node.get("exclusiveMinimum"), node.get("exclusiveMaximum")
    if above is not None and not isinstance(above, bool):
        low = max(low, math.floor(above) + 1 if is_integer else above)
    if below is not None and not isinstance(below, bool):
        high = min(high, math.ceil(below) - 1 if is_integer else below)
    if is_integer:
        low, high = (
            math.ceil(low) if low > -math.inf else low,
            math.floor(high) if high < math.inf else high,
        )
    return low, high


def vary(value: Any, number: int) -> Any:
    """Return another value of the same type for each number from 1 on, as a set needs."""
    if isinstance(value, str):
        return f"{value}{number}"
    return value + number if isinstance(value, int | float) else value
