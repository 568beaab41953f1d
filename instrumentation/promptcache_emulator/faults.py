"""Faults on demand: what shall go wrong with a request, by its header or by a queue that a test has filled.

A fault reads `kind`, `kind=value` or either with `xN`: the first N attempts fail, later ones succeed. Several are
joined by commas. Kinds: an HTTP status (`429`, `500`, `529` ...), `slow=SECONDS` (before every event), `drop=N` (the
connection breaks after N events), `reset` (it breaks before the response), `malformed-usage=SHAPE`, `error-event=N`
(an error event after N events), `failed`, `incomplete`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from promptcache_emulator.json_util import is_array, is_object

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


def _map_numbers(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def walk(value: Any) -> Any:
        if is_object(value):
            return {key: walk(item) for key, item in value.items()}
        return change(value) if isinstance(value, int | float) else value

    return walk


def _without_details(usage: Any) -> Any:
    return {key: None if is_object(value) else value for key, value in usage.items()}


USAGE_MALFORMATIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "null": lambda _: None,
    "empty": lambda _: {},
    "list": lambda _: [],
    "text": lambda _: "many",
    "negative": _map_numbers(lambda number: -number - 1),
    "string": _map_numbers(str),
    "float": _map_numbers(lambda number: number + 0.5),
    "bool": _map_numbers(bool),
    "nan": _map_numbers(lambda _: float("nan")),
    "huge": _map_numbers(lambda _: 10**30),
    "null-counts": _map_numbers(lambda _: None),
    "null-details": _without_details,
    "zero": _map_numbers(lambda _: 0),
}
"""What can be done to a usage object; `missing` takes it away altogether."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is to go wrong with one request; the default is nothing."""

    status: int | None = None
    slow: float = 0.0
    drop: int | None = None
    reset: bool = False
    usage: str | None = None
    error_event: int | None = None
    failed: bool = False
    incomplete: bool = False


NO_FAULT: Final = Fault()


def parse_fault(text: str, attempt: int = 0) -> Fault:
    """Reads a fault for the given attempt (0 is the first). Raises ValueError on an unknown one."""
    found: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _FAULT_PATTERN.fullmatch(part)
        kind, value, times = match.group("kind", "value", "times") if match else ("", None, None)
        if not (kind.isdigit() or kind in FAULT_KINDS) or (
            kind == "malformed-usage" and value not in {*USAGE_MALFORMATIONS, "missing"}
        ):
            raise ValueError(
                f"{part!r}: allowed are an HTTP status, {', '.join(FAULT_KINDS)}; {', '.join(USAGE_MALFORMATIONS)}, missing"
            )
        if times is None or attempt < int(times):
            found |= _fault_field(kind, value)
    return Fault(**found)


def _fault_field(kind: str, value: str | None) -> dict[str, Any]:
    if kind.isdigit():
        return {"status": int(kind)}
    if kind == "malformed-usage":
        return {"usage": value}
    readers: dict[str, Any] = {"slow": float, "drop": int, "error-event": int}
    return {kind.replace("-", "_"): readers[kind](value or 1) if kind in readers else True}


@dataclass(slots=True)
class FaultQueue:
    """The queue of a test, for clients that cannot set a header; and the attempts of those that do not number them."""

    queue: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    _attempts: dict[tuple[str, ...], int] = field(default_factory=dict[tuple[str, ...], int])

    def add(self, fault: str, times: int = 1, path: str = "") -> None:
        """The next `times` requests whose path contains `path` meet `fault`. Raises ValueError on an unknown one."""
        parse_fault(fault)
        self.queue.extend([(path, fault)] * times)

    def clear(self) -> None:
        self.queue.clear()
        self._attempts.clear()

    def take(self, path: str, headers: Mapping[str, str], raw_body: bytes) -> Fault:
        """The fault for this request: its header's, else the first of the queue that fits its path."""
        if text := headers.get("x-emulator-fault"):
            return parse_fault(text, self._attempt_number(path, text, headers, raw_body))
        for index, (part, fault) in enumerate(self.queue):
            if part in path:
                del self.queue[index]
                return parse_fault(fault)
        return NO_FAULT

    def _attempt_number(
        self, path: str, text: str, headers: Mapping[str, str], raw_body: bytes
    ) -> int:
        if numbered := headers.get("x-stainless-retry-count"):
            return int(numbered)
        key = (path, text, str(hash(raw_body)))
        self._attempts[key] = self._attempts.get(key, -1) + 1
        return self._attempts[key]


def malform_usage(value: Any, shape: str, usage_keys: frozenset[str]) -> Any:
    """`value` with every object under one of `usage_keys` (one or two levels down, or in lists) put out of shape."""
    if is_array(value):
        return [malform_usage(item, shape, usage_keys) for item in value]
    if not is_object(value):
        return value
    changed: dict[str, Any] = {}
    for key, item in value.items():
        if key not in usage_keys or item is None:
            changed[key] = malform_usage(item, shape, usage_keys)
        elif shape != "missing":
            changed[key] = USAGE_MALFORMATIONS[shape](item)
    return changed
