"""What `Prompt.warm` did."""

from __future__ import annotations

from typing import NamedTuple, final


@final
class Warmed(NamedTuple):
    """Whether a request filled the cache, why or why not, and its cost in USD (None if unknown)."""

    done: bool
    reason: str
    cost: float | None = None
