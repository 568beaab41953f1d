"""Parse overrides of cache profiles: the header `x-emulator-rules`, the option `--rules`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from promptcache_emulator.profiles import IMPLICIT_MODES

_FIELDS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "minimum": ("min_tokens", int),
    "step": ("granularity", int),
    "ttl": ("ttl", str),
    "age": ("max_age_seconds", float),
    "stretch": ("ttl_factor", float),
    "implicit": ("implicit_mode", str),
    "lookback": ("lookback_blocks", int),
    "endings": ("implicit_lookback", int),
    "marks": ("max_breakpoints", int),
    "bills": ("bills_writes", "true".__eq__),
}
"""Name of an override to the field of CacheProfile and the function that parses its value."""


def parse_overrides(text: str) -> dict[str, Any]:
    """Parse `name=value,name=value` to fields of CacheProfile.

    Raise ValueError for an unknown name or mode; the message lists the allowed ones.
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
        overrides[field] = parse(value)
    return overrides
