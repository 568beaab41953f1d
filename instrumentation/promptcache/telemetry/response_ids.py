"""Count each response once, whether the call that created it or a later retrieval ends first."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import Final

from promptcache.common.fork import register_after_fork_in_child
from promptcache.common.generational_cache import GenerationalCache

_MAX_COUNTED: Final = 8192

ResponseKey = tuple[str, str | None, int | None, str]
"""Provider, host, port and response id. Local servers draw their ids from a small range."""


class ResponseIds:
    """The ids of the responses that this process has open or has counted. Thread-safe.

    A call that creates a response is always counted, at its end. A retrieval is counted only if its
    response is neither open nor counted: then the creating call ended without usage, or was made
    by another process.
    """

    def __init__(self) -> None:
        self._open: Counter[ResponseKey] = Counter()
        self._counted: GenerationalCache[ResponseKey, bool] = GenerationalCache(_MAX_COUNTED)
        self._reset_lock()
        register_after_fork_in_child(self._reset_lock)

    def _reset_lock(self) -> None:
        self._lock = Lock()

    def open(self, key: ResponseKey) -> None:
        """Note that a call has begun to receive this response."""
        with self._lock:
            self._open[key] += 1

    def close(self, key: ResponseKey, *, has_usage: bool) -> None:
        """Note that the call ended, and whether its usage was counted."""
        with self._lock:
            self._open[key] -= 1
            if self._open[key] <= 0:
                del self._open[key]
            if has_usage:
                self._counted[key] = True

    def count_retrieval(self, key: ResponseKey) -> bool:
        """Return whether a retrieved response has to be counted, and count it."""
        with self._lock:
            if key in self._open or key in self._counted:
                return False
            self._counted[key] = True
            return True
