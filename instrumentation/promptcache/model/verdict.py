"""The outcome of the cache for one call, and the reason for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, final

Outcome = Literal[
    "error",
    "unreported",
    "prewarm",
    "partial",
    "hit",
    "not_requested",
    "below_minimum",
    "miss",
    "cold",
]
OUTCOMES: Final[tuple[Outcome, ...]] = (
    "error",
    "unreported",
    "prewarm",
    "partial",
    "hit",
    "not_requested",
    "below_minimum",
    "miss",
    "cold",
)
"""In the order of precedence: the first outcome that applies to a call is the call's outcome."""


@final
@dataclass(slots=True)
class Verdict:
    """The outcome of a call, and the cause of its missed tokens. Not changed once returned.

    `missed_tokens` counts the reusable tokens that were not read from the cache, `wasted_usd` is
    what they cost more than a cache read. `section`, `index` and `offset` (bytes) locate the break
    of the prefix; `hint` names the kind of text at that place. `prefix_family` is the exported hash
    of the first related call. `confidence` lies in 0..1. `parameter` is the name of the request
    parameter that changed, one of the names that this package lists. `layer` is the layer of the
    harness that the break is in, if the prompt is one of the harness.
    """

    outcome: Outcome
    reason: str | None = None
    section: str | None = None
    index: int | None = None
    offset: int | None = None
    hint: str | None = None
    missed_tokens: int | None = None
    wasted_usd: float | None = None
    confidence: float | None = None
    source: Literal["local", "provider"] | None = None
    provider_reason: str | None = None
    prefix_family: str | None = None
    parameter: str | None = None
    layer: str | None = None
