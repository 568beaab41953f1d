"""A clock that tests can move."""

from __future__ import annotations

import time
from typing import Final

_LATEST: Final = 4_102_444_800.0
"""The year 2100. A later date would not fit every field of a response."""


class Clock:
    """Return epoch seconds: `start` plus an offset, or the real time plus an offset."""

    def __init__(self, start: float | None = None) -> None:
        self._start, self._offset = start, 0.0

    def __call__(self) -> float:
        return (time.time() if self._start is None else self._start) + self._offset

    def advance(self, seconds: float) -> None:
        """Move the clock. Raise ValueError if it would leave the years 1970 to 2100."""
        if not 0 <= self() + seconds <= _LATEST:
            raise ValueError("advance: the clock stays between the years 1970 and 2100")
        self._offset += seconds
