"""The day whose cache rules the emulator follows: the date of its newest profile.

Tests would change on the day of a new rule if the emulator's clock were the real one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from promptcache_emulator import profiles

PROFILE_DATE: Final = max(
    row.since for name, rows in vars(profiles).items() if name.endswith("_PROFILES") for row in rows
)
"""An ISO date."""
START: Final = datetime.fromisoformat(f"{PROFILE_DATE}T12:00:00").replace(tzinfo=UTC).timestamp()
"""Noon of that day, in epoch seconds."""
