"""Decide whether a finalizer may finish a call where it runs."""

from __future__ import annotations

from types import FrameType
from typing import Final

LOCK_HOLDING_MODULES: Final = (
    *(
        f"promptcache.{module}"
        for module in (
            "diagnosis",
            "prices",
            "telemetry.cache_storage",
            "telemetry.foreign_spans",
            "telemetry.handler",
            "telemetry.metrics",
            "telemetry.span_attributes",
        )
    ),
    "promptcache_exporters",
    "opentelemetry.exporter",
    "opentelemetry.sdk",
)
"""Modules and packages whose code may hold a lock while it runs, directly or in what it calls."""


def lock_may_be_held(frame: FrameType | None) -> bool:
    """Return whether a function on the stack of `frame` may hold a lock that `finish` takes again.

    The garbage collector runs a finalizer at any allocation, also inside such a function. The
    finalizer must then not finish the call: its thread would wait for its own lock.
    """
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith(LOCK_HOLDING_MODULES):
            return True
        frame = frame.f_back
    return False
