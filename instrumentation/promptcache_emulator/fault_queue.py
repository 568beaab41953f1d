"""Faults that tests queue, and the attempts of requests that do not number them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from promptcache_emulator.faults import NO_FAULT, InjectedFault, parse_fault

_MAX_ATTEMPTS: Final = 4096


@dataclass(slots=True)
class FaultQueue:
    """Find the fault of each request.

    A request names its fault in the header `x-emulator-fault`. For clients that cannot set a
    header, tests add faults to the queue. Clients that send no retry count are recognised by an
    equal path and body.
    """

    queue: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    _attempts: OrderedDict[tuple[str, ...], int] = field(
        default_factory=OrderedDict[tuple[str, ...], int]
    )

    def add_fault(self, fault: str, times: int = 1, path: str = "") -> None:
        """Apply `fault` to the next `times` requests whose path contains `path`.

        Raise ValueError for an unknown fault.
        """
        parse_fault(fault)
        self.queue.extend([(path, fault)] * times)

    @property
    def attempt_count(self) -> int:
        """The number of requests whose attempts are counted. The oldest are dropped."""
        return len(self._attempts)

    def clear(self) -> None:
        self.queue.clear()
        self._attempts.clear()

    def take_fault(self, path: str, headers: Mapping[str, str], raw_body: bytes) -> InjectedFault:
        """Return the fault of the header, else the first of the queue that matches the path."""
        if text := headers.get("x-emulator-fault"):
            return parse_fault(text, self._count_attempt(path, text, headers, raw_body))
        for index, (part, fault) in enumerate(self.queue):
            if part in path:
                del self.queue[index]
                return parse_fault(fault)
        return NO_FAULT

    def _count_attempt(
        self, path: str, text: str, headers: Mapping[str, str], raw_body: bytes
    ) -> int:
        if retry_count := headers.get("x-stainless-retry-count"):
            return int(retry_count)
        key = (path, text, str(hash(raw_body)))
        self._attempts[key] = self._attempts.get(key, -1) + 1
        if len(self._attempts) > _MAX_ATTEMPTS:
            self._attempts.popitem(last=False)
        return self._attempts[key]
