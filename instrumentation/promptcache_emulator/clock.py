"""A clock that tests can move."""

from __future__ import annotations

import time


class Clock:
    """Return epoch seconds: `start` plus an offset, or the real time plus an offset."""

    def __init__(self, start: float | None = None) -> None:
        self._start, self._offset = start, 0.0

    def __call__(self) -> float:
        return (time.time() if self._start is None else self._start) + self._offset

    def advance(self, seconds: float) -> None:
        self._offset += seconds
