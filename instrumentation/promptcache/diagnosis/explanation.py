"""Why a call did not read its prefix from the cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from promptcache.diagnosis.evidence import RelatedCall


@final
@dataclass(frozen=True, slots=True)
class MissLocation:
    """Where the prefix broke.

    `section` may also be `model` or `params`. `offset` is in bytes. `hint` describes the text
    there.
    """

    section: str | None = None
    index: int | None = None
    offset: int | None = None
    hint: str | None = None


_NO_LOCATION: Final = MissLocation()


@final
@dataclass(frozen=True, slots=True)
class Explanation:
    """One reason (a key of `MISS_REASONS`) with the evidence for it.

    `missed_tokens` is None if the reason is not about missed tokens. `confidence` lies in 0..1.
    `related_call` is the call that could have been read from. `parameter` names the request
    parameter that changed.
    """

    reason: str
    missed_tokens: int | None
    confidence: float
    related_call: RelatedCall | None = None
    location: MissLocation = _NO_LOCATION
    parameter: str | None = None
