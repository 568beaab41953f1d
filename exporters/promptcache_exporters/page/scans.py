"""Views that read the whole table: each runs in a thread, and tells how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Any, Final

from promptcache_exporters.database.errors import CallsFileReadError
from promptcache_exporters.database.row_ranges import OnProgress

SECONDS_BEFORE_PROGRESS: Final = 0.4
"""A scan that is done sooner shows no progress."""
_SECONDS_UNTIL_ABANDONED: Final = 15.0
_MAX_SCANS: Final = 4


class AbandonedScanError(Exception):
    """Nobody has asked for the scan for a while."""


class Scan:
    """One scan. `share` is the part that is done, from 0 to 1; `seconds` is how long it took."""

    def __init__(self, read: Callable[[OnProgress], Any]) -> None:
        self.share = 0.0
        self.seconds = 0.0
        self._read = read
        self._value: Any = None
        self._error: Exception | None = RuntimeError("the scan failed")
        self._is_done = Event()
        self._last_asked = time.monotonic()
        Thread(target=self._run, daemon=True, name="promptcache-scan").start()

    def wait(self, seconds: float) -> bool:
        """Wait for the end, at most so long. Return whether the scan is done."""
        self._last_asked = time.monotonic()
        return self._is_done.wait(seconds)

    def result(self) -> Any:
        """Return what a scan that is done has read, or raise its error."""
        if self._error is not None:
            raise self._error
        return self._value

    @property
    def is_abandoned(self) -> bool:
        """Whether it ended because nobody asked for it."""
        return isinstance(self._error, AbandonedScanError)

    def _run(self) -> None:
        start = time.monotonic()
        try:
            self._value = self._read(self._on_progress)
            self._error = None
        except (CallsFileReadError, AbandonedScanError) as error:
            self._error = error
        finally:
            self.seconds = time.monotonic() - start
            self._is_done.set()

    def _on_progress(self, share: float) -> None:
        self.share = share
        if time.monotonic() - self._last_asked > _SECONDS_UNTIL_ABANDONED:
            raise AbandonedScanError


class Scans:
    """The scans that are running or that nobody has fetched yet, by their addresses."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._scans: dict[str, Scan] = {}

    def find_or_start(self, address: str, read: Callable[[OnProgress], Any]) -> Scan:
        """Return the scan of this address. All who ask for it at once share one."""
        with self._lock:
            scan = self._scans.get(address)
            if scan is None or scan.is_abandoned:
                while len(self._scans) >= _MAX_SCANS:
                    self._scans.pop(next(iter(self._scans)))
                scan = self._scans[address] = Scan(read)
            return scan

    def forget(self, address: str) -> None:
        """Forget a scan whose result was fetched: the next one reads the table again."""
        with self._lock:
            self._scans.pop(address, None)
