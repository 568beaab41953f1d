"""Lengths of time for the axis of a chart."""

from __future__ import annotations

from typing import Final

STEPS: Final = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 86_400, 7 * 86_400, 28 * 86_400)
"""In seconds: a minute to four weeks."""
HOUR_STEPS: Final = tuple(step for step in STEPS if step >= 3600)
MAX_STEPS: Final = 120
SHORT_TREND_STEPS: Final = 40
"""The steps of a small chart beside a name."""


def choose_step(seconds: float, steps: tuple[int, ...] = STEPS, max_steps: int = MAX_STEPS) -> int:
    """Return the shortest step of which at most `max_steps` fit into `seconds`."""
    return next((step for step in steps if seconds / step <= max_steps), steps[-1])
