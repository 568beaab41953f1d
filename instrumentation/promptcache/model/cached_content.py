"""A cache that the application created under a name (Gemini's `cachedContents`)."""

from __future__ import annotations

from typing import NamedTuple, final


@final
class CachedContentInfo(NamedTuple):
    """A named cache as the provider describes it. Times are in epoch seconds.

    `expire_time_text` is `expires_at` as the provider wrote it.
    """

    name: str | None = None
    model: str | None = None
    token_count: int | None = None
    created_at: float | None = None
    expires_at: float | None = None
    expire_time_text: str | None = None
