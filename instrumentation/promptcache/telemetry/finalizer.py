"""Finish the calls whose objects the garbage collector takes away.

The collector runs a finalizer at any allocation, also inside telemetry code that holds a lock. A
call that ends there must wait: its thread would wait for its own lock.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Final

from promptcache.common.safely import safely

LOCK_HOLDING_MODULES: Final = (
    *(
        f"promptcache.{module}"
        for module in (
            "diagnosis",
            "prices",
            "telemetry.cache_storage",
            "telemetry.call_span",
            "telemetry.foreign_spans",
            "telemetry.handler",
            "telemetry.metrics",
            "telemetry.pending_measurements",
            "telemetry.response_ids",
            "telemetry.span_attributes",
            "telemetry.waiting_lines",
        )
    ),
    "promptcache_exporters",
    "opentelemetry.exporter",
    "opentelemetry.sdk",
)
"""Modules and packages whose code may hold a lock while it runs, directly or in what it calls."""


class Finalizer:
    """Run what a `__del__` wants to finish: at once, or later if a telemetry lock may be held."""

    def __init__(self) -> None:
        self.queue: deque[Callable[[], None]] = deque()

    def finalize(self, finish: Callable[[], None]) -> None:
        """Run `finish` now, or queue it for the next `drain`."""
        if lock_may_be_held(sys._getframe(1)):  # pyright: ignore[reportPrivateUsage]  # a cheap stack walk
            self.queue.append(finish)
        else:
            finish()

    def drain(self) -> bool:
        """Run what was queued, and return whether there was anything.

        Called at the next call, when metrics are collected, when spans are flushed, at
        `uninstrument` and at exit.
        """
        had_any = bool(self.queue)
        while self.queue:
            safely(self.queue.popleft())
        return had_any


def lock_may_be_held(frame: FrameType | None) -> bool:
    """Return whether a function on the stack of `frame` may hold a lock that a finish takes."""
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith(LOCK_HOLDING_MODULES):
            return True
        frame = frame.f_back
    return False
