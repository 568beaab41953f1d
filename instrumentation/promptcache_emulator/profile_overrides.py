"""Parse overrides of cache profiles: the header `x-emulator-rules`, the option `--rules`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from promptcache_emulator.bounds import MAX_FACTOR, bounded_float, bounded_int
from promptcache_emulator.profiles import IMPLICIT_MODES, TTL_SECONDS

_MAX_COUNT: Final = 1_000_000


def _parse_count(text: str) -> int:
    return bounded_int(text, "value", 0, _MAX_COUNT)


def _parse_step(text: str) -> int:
    return bounded_int(text, "value", 1, _MAX_COUNT)


def _parse_factor(text: str) -> float:
    return bounded_float(text, "value", 0.0, MAX_FACTOR)


def _parse_ttl(text: str) -> str:
    if text not in TTL_SECONDS:
        raise ValueError(f"allowed are {', '.join(TTL_SECONDS)}")
    return text


_FIELDS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "minimum": ("min_tokens", _parse_count),
    "step": ("granularity", _parse_step),
    "ttl": ("ttl", _parse_ttl),
    "age": ("max_age_seconds", _parse_factor),
    "stretch": ("ttl_factor", _parse_factor),
    "implicit": ("implicit_mode", str),
    "lookback": ("lookback_blocks", _parse_count),
    "endings": ("implicit_lookback", _parse_count),
    "marks": ("max_breakpoints", _parse_count),
    "bills": ("bills_writes", "true".__eq__),
}
"""Name of an override to the field of CacheProfile and the function that parses its value."""


def parse_profile_overrides(text: str) -> dict[str, Any]:
    """Parse `name=value,name=value` to fields of CacheProfile.

    Raise ValueError for an unknown name, mode or TTL, and for a number out of bounds; the message
    says what is allowed.
    """
    overrides: dict[str, Any] = {}
    for pair in filter(None, text.replace(" ", "").split(",")):
        name, _, value = pair.partition("=")
        if name not in _FIELDS or (name == "implicit" and value not in IMPLICIT_MODES):
            raise ValueError(
                f"{pair!r}: allowed are {', '.join(_FIELDS)}; "
                f"implicit is one of {', '.join(IMPLICIT_MODES)}"
            )
        field, parse = _FIELDS[name]
        try:
            overrides[field] = parse(value)
        except ValueError as error:
            raise ValueError(f"{pair!r}: {error}") from error
    return overrides
