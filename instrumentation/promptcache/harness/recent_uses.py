"""When each cached prefix of a prompt was used last, and who warms it now."""

from __future__ import annotations

import threading
import time
from typing import Final, final

from promptcache.common.bounded_dict import BoundedDict

_MAX_PREFIXES: Final = 4096
_BACK_OFF_SECONDS: Final = 60.0
"""After a failed request nothing is warmed for this long."""


@final
class RecentUses:
    """Times of use by prefix, in seconds of the monotonic clock. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used_at: BoundedDict[str, float] = BoundedDict(_MAX_PREFIXES)
        self._failed_at: BoundedDict[str, float] = BoundedDict(_MAX_PREFIXES)
        self._warming: set[str] = set()

    def note_use(self, prefix: str, started_at: float) -> None:
        """Note a call that began at `started_at`."""
        with self._lock:
            self._used_at[prefix] = max(started_at, self._used_at.get(prefix, started_at))

    def start_warming(self, prefix: str, if_idle: float) -> str | None:
        """Claim a prefix. Return None if the caller is to warm it, else the reason why not."""
        now = time.monotonic()
        with self._lock:
            if prefix in self._warming:
                return "another caller warms it"
            used_at, failed_at = self._used_at.get(prefix), self._failed_at.get(prefix)
            if used_at is not None and now - used_at < if_idle:
                return f"it was used {now - used_at:.0f} s ago"
            if failed_at is not None and now - failed_at < _BACK_OFF_SECONDS:
                return f"the last attempt failed {now - failed_at:.0f} s ago"
            self._warming.add(prefix)
            return None

    def stop_warming(self, prefix: str, started_at: float, *, has_failed: bool) -> None:
        """Release a prefix that the caller claimed."""
        with self._lock:
            self._warming.discard(prefix)
            (self._failed_at if has_failed else self._used_at)[prefix] = started_at
