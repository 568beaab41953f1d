"""When each cached prefix of a prompt was used last, and who warms it now."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, NamedTuple, final

from promptcache.common.bounded_dict import BoundedDict

_MAX_PREFIXES: Final = 4096
_BACK_OFF_SECONDS: Final = 60.0
"""After a failed request nothing is warmed for this long."""
_MAX_USES: Final = 256
"""More uses of one prefix than any decision needs."""


class _Use(NamedTuple):
    at: float
    has_missed: bool


@final
class RecentUses:
    """Times of use by prefix, in seconds of the monotonic clock. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used_at: BoundedDict[str, float] = BoundedDict(_MAX_PREFIXES)
        self._uses: BoundedDict[str, deque[_Use]] = BoundedDict(_MAX_PREFIXES)
        self._failed_at: BoundedDict[str, float] = BoundedDict(_MAX_PREFIXES)
        self._warming: set[str] = set()

    def note_use(self, prefix: str, started_at: float, *, has_missed: bool) -> None:
        """Note a call that began at `started_at`, and whether it read nothing from the cache."""
        with self._lock:
            self._used_at[prefix] = max(started_at, self._used_at.get(prefix, started_at))
            uses = self._uses.get(prefix)
            if uses is None:
                uses = self._uses[prefix] = deque(maxlen=_MAX_USES)
            uses.append(_Use(started_at, has_missed))

    def count_uses(self, prefix: str, seconds: float, *, only_misses: bool) -> int:
        """Return the number of calls in the last `seconds`, at most 256.

        With `only_misses` calls that read from the cache do not count.
        """
        since = time.monotonic() - seconds
        with self._lock:
            uses = self._uses.get(prefix, ())
            return sum(use.at >= since and (use.has_missed or not only_misses) for use in uses)

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

    @contextmanager
    def warming(self, prefix: str) -> Generator[float]:
        """Yield the time, and release a prefix that the caller claimed at the end."""
        started_at, has_failed = time.monotonic(), True
        try:
            yield started_at
            has_failed = False
        finally:
            with self._lock:
                self._warming.discard(prefix)
                (self._failed_at if has_failed else self._used_at)[prefix] = started_at
