"""How likely the next use of a prefix comes within a time."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import final

from promptcache.harness.prompt_error import PromptError


@final
class Arrivals:
    """The gaps between two uses of a prefix: recorded ones, or those of random arrivals."""

    def __init__(self, calls_per_hour: float, gaps: Sequence[float] | None = None) -> None:
        """Take recorded gaps in seconds, or assume that calls arrive independently (Poisson)."""
        if not math.isfinite(calls_per_hour) or calls_per_hour < 0:
            raise PromptError("calls_per_hour", "is no number from 0 on")
        if gaps is not None and (not gaps or not all(gap >= 0 for gap in gaps)):
            raise PromptError("gaps", "are not a list of seconds from 0 on")
        self._rate = calls_per_hour / 3600
        self._gaps = sorted(gaps) if gaps is not None else None

    @property
    def assumption(self) -> str:
        """Where the probabilities come from."""
        if self._gaps is not None:
            return f"{len(self._gaps)} recorded gaps"
        return f"independent arrivals (Poisson), {self._rate * 3600:g} calls an hour"

    def share_within(self, seconds: float) -> float:
        """Return the share of gaps of at most `seconds`, 0 to 1."""
        if self._gaps is not None:
            return bisect_right(self._gaps, seconds) / len(self._gaps)
        return -math.expm1(-self._rate * seconds)
