"""Lengths of time for the axis of a chart."""

from __future__ import annotations

from typing import Final

STEPS: Final = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 86_400, 7 * 86_400, 28 * 86_400)
"""In seconds: a minute to four weeks."""
HOUR_STEPS: Final = tuple(step for step in STEPS if step >= 3600)
MAX_STEPS: Final = 120


def choose_step(seconds: float, steps: tuple[int, ...] = STEPS) -> int:
    """Return the shortest step of which at most `MAX_STEPS` fit into `seconds`."""
    return next((step for step in steps if seconds / step <= MAX_STEPS), steps[-1])
