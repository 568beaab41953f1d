"""The second process: run the tests that use the fixture, and write down what they sent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from promptcache_testing.recorded_call import RecordedCall
from promptcache_testing.second_run.results import SecondRunResults, SecondTestResult
from promptcache_testing.second_run.settings import SECOND_RUN_VARIABLE, SecondRunSettings
from promptcache_testing.second_run.static_prefix import PrefixDigester, StaticPrefix
from promptcache_testing.second_run.surroundings import change_surroundings
from promptcache_testing.turns import BREAKS
from promptcache_testing.words import describe_break

if TYPE_CHECKING:
    import pytest


class SecondRunRecorder:
    """Collects the results of this process, which is the second one. It fails no test itself."""

    def __init__(self, settings: SecondRunSettings) -> None:
        self._path = Path(settings.results)
        self.digester = PrefixDigester(bytes.fromhex(settings.key))
        self._results = SecondRunResults()

    def add_calls(self, nodeid: str, calls: Sequence[RecordedCall]) -> None:
        result = self._results.tests.setdefault(nodeid, SecondTestResult())
        result.prefixes = distinct_prefixes(calls)
        result.breaks = [describe_break(call) for call in calls if call.turn.reason in BREAKS]
        if any(not call.is_judged for call in calls):
            result.failure = result.failure or "promptcache failed on a call"

    def add_report(self, report: pytest.TestReport, error: BaseException | None) -> None:
        """Remember that a phase of a test failed, or that it was skipped."""
        result = self._results.tests.setdefault(report.nodeid, SecondTestResult())
        if report.skipped and not hasattr(report, "wasxfail"):
            result.failure = result.failure or "it was skipped"
        elif report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            place = f" at {os.path.basename(crash.path)}:{crash.lineno}" if crash else ""
            kind = type(error).__name__ if error is not None else "a failure"
            result.failure = result.failure or f"{kind}{place} ({report.when})"

    def write(self) -> None:
        """Write the file. Without it the first process knows that this one did not end well."""
        used = {
            block.digest
            for test in self._results.tests.values()
            for prefix in test.prefixes
            for block in prefix.blocks
        }
        self._results.texts = {
            digest: self.digester.digest_text(text)
            for digest, text in self.digester.texts.items()
            if digest in used
        }
        self._results.write(self._path)


def start_second_run() -> SecondRunSettings | None:
    """Change this process if it is the second one, before it imports anything of the user's."""
    text = os.environ.pop(SECOND_RUN_VARIABLE, None)
    if text is None:
        return None
    settings = SecondRunSettings.from_json(text)
    change_surroundings(settings.folder, settings.seed)
    return settings


def distinct_prefixes(calls: Sequence[RecordedCall]) -> list[StaticPrefix]:
    """Return the different static prefixes of a test, each as of its first call."""
    found: dict[object, StaticPrefix] = {}
    for call in calls:
        if call.static_prefix is not None:
            found.setdefault(call.static_prefix.identity, call.static_prefix)
    return list(found.values())
