"""How many calls this process has seen. `promptcache doctor` tells from it why rows are missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(slots=True)
class CallCounts:
    """Counts since the start of the process. Under threads they may be a little too low.

    `observed` calls have a span, ours or a foreign one; `suppressed` calls ran where the
    application has switched telemetry off.
    """

    observed: int = 0
    suppressed: int = 0


CALL_COUNTS: Final = CallCounts()
