"""Faults on demand: parse what shall go wrong with a request.

A fault is `kind` or `kind=value`. With `xN` appended, the first N attempts fail and later ones
succeed. Commas join several faults. Kinds:

- an HTTP status from 400 to 599 (`429`, `500`, `529` ...)
- `slow=SECONDS`: wait before every event
- `drop=N`: close the connection after N events
- `reset`: close the connection before the response
- `malformed-usage=SHAPE`: return a malformed usage object (`malformed_usage.py`)
- `error-event=N`: send an error event after N events
- `failed`, `incomplete`: return a response with this status
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from promptcache_emulator.bounds import MAX_DELAY_SECONDS, bounded_float, bounded_int
from promptcache_emulator.malformed_usage import USAGE_MALFORMATIONS

FAULT_KINDS: Final = (
    "slow",
    "drop",
    "reset",
    "malformed-usage",
    "error-event",
    "failed",
    "incomplete",
)
_FAULT_PATTERN: Final = re.compile(
    r"(?P<kind>[a-z-]+|\d{3})(=(?P<value>[\w.+-]+?))?(x(?P<times>\d+))?"
)


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """What goes wrong with one request. The default is that nothing does."""

    status: int | None = None
    delay_seconds: float = 0.0
    drop_after_events: int | None = None
    reset_connection: bool = False
    usage_shape: str | None = None
    error_after_events: int | None = None
    is_failed: bool = False
    is_incomplete: bool = False


NO_FAULT: Final = InjectedFault()

_MAX_EVENTS: Final = 1_000_000


def _parse_delay(text: str) -> float:
    return bounded_float(text, "slow", 0.0, MAX_DELAY_SECONDS)


def _parse_event_count(text: str) -> int:
    return bounded_int(text, "number of events", 0, _MAX_EVENTS)


_FIELDS_WITH_VALUE: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "slow": ("delay_seconds", _parse_delay),
    "drop": ("drop_after_events", _parse_event_count),
    "malformed-usage": ("usage_shape", str),
    "error-event": ("error_after_events", _parse_event_count),
}
_FLAG_FIELDS: Final[Mapping[str, str]] = {
    "reset": "reset_connection",
    "failed": "is_failed",
    "incomplete": "is_incomplete",
}


def parse_fault(text: str, attempt: int = 0) -> InjectedFault:
    """Return the fault for this attempt (0 is the first). Raise ValueError for an unknown one."""
    fields: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _FAULT_PATTERN.fullmatch(part)
        kind, value, times = match.group("kind", "value", "times") if match else ("", None, None)
        if not _is_known_fault(kind, value):
            raise ValueError(
                f"{part!r}: allowed are an HTTP status from 400 to 599, {', '.join(FAULT_KINDS)}; "
                f"{', '.join(USAGE_MALFORMATIONS)}, missing"
            )
        if times is None or attempt < int(times):
            name, field_value = _fault_field(kind, value)
            fields[name] = field_value
    return InjectedFault(**fields)


def _is_known_fault(kind: str, value: str | None) -> bool:
    if kind == "malformed-usage":
        return value in {*USAGE_MALFORMATIONS, "missing"}
    return 400 <= int(kind) <= 599 if kind.isdigit() else kind in FAULT_KINDS


def _fault_field(kind: str, value: str | None) -> tuple[str, Any]:
    """Return the field of InjectedFault for this kind, and its value."""
    if kind.isdigit():
        return "status", int(kind)
    if kind in _FLAG_FIELDS:
        return _FLAG_FIELDS[kind], True
    name, parse = _FIELDS_WITH_VALUE[kind]
    return name, parse(value or "1")
