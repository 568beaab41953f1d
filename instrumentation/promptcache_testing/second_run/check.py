"""The first process: compare each test with its second run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

from promptcache.diagnosis.miss_reasons import format_advice
from promptcache_testing.errors import CacheRegressionError, InconclusiveError
from promptcache_testing.recorded_call import RecordedCall
from promptcache_testing.second_run.prefix_comparison import PrefixComparer, PrefixDifference
from promptcache_testing.second_run.recorder import distinct_prefixes
from promptcache_testing.second_run.results import SecondRunResults, SecondTestResult
from promptcache_testing.second_run.settings import SecondRunSettings
from promptcache_testing.second_run.static_prefix import PrefixDigester
from promptcache_testing.words import describe_place

_INCONCLUSIVE: Final = "the comparison with the second run is inconclusive: "
_SURROUNDINGS: Final = "hash seed, clock, random seed, time zone, locale or working folder"
_MAX_LISTED: Final = 8


class SecondRunCheck:
    """Compares the tests of this process with the results of the second one."""

    def __init__(self, settings: SecondRunSettings) -> None:
        self._path = Path(settings.results)
        self.digester = PrefixDigester(bytes.fromhex(settings.key))

    @cached_property
    def _results(self) -> SecondRunResults | None:
        return SecondRunResults.read(self._path) if self._path.exists() else None

    @cached_property
    def _comparer(self) -> PrefixComparer:
        results = self._results
        return PrefixComparer(self.digester, results.texts if results else {})

    def check_test(self, nodeid: str, calls: Sequence[RecordedCall]) -> None:
        """Fail if tools or system differ in the second run. Raise CacheRegressionError."""
        second = self._find(nodeid)
        comparison = self._comparer.compare(distinct_prefixes(calls), second.prefixes)
        _mark_calls(calls, comparison.differences)
        if comparison.differences:
            found = [describe_difference(one) for one in comparison.differences]
            more = len(found) - _MAX_LISTED
            lines = found[:_MAX_LISTED] + ([f"and {more} more"] if more > 0 else [])
            raise CacheRegressionError(
                f"the static prefix depends on {_SURROUNDINGS}:\n" + "\n".join(lines)
            )
        if second.breaks:
            lines = [f"in the second run, {one}" for one in second.breaks[:_MAX_LISTED]]
            raise CacheRegressionError("the prompt cache breaks:\n" + "\n".join(lines))
        if second.failure is not None:
            raise InconclusiveError(f"{_INCONCLUSIVE}it failed: {second.failure}")
        if comparison.unmatched_calls:
            numbers = ", ".join(str(one) for one in comparison.unmatched_calls)
            raise InconclusiveError(
                f"{_INCONCLUSIVE}it made no call like call {numbers}; if the agent follows what "
                "the model says, write a test that gives prompt_cache.answers([...])"
            )

    def _find(self, nodeid: str) -> SecondTestResult:
        results = self._results
        if results is None:
            raise InconclusiveError(f"{_INCONCLUSIVE}it ended before its tests")
        # pytest-xdist appends the group of a test to its id.
        second = results.tests.get(nodeid) or results.tests.get(nodeid.rpartition("@")[0])
        if second is None:
            raise InconclusiveError(
                f"{_INCONCLUSIVE}it had no test of this id. An id must not depend on time or hash "
                "seed; a test that asks for prompt_cache by getfixturevalue needs the marker "
                "promptcache"
            )
        return second


def _mark_calls(calls: Sequence[RecordedCall], differences: Sequence[PrefixDifference]) -> None:
    """Write the places at the first calls of their prefixes, where the list shows them."""
    for number in {one.prefix.call for one in differences}:
        own = [one for one in differences if one.prefix.call == number]
        call = calls[number - 1]
        call.second_run_places = tuple(describe_place(one.verdict, one.key) for one in own)
        call.volatile_bytes = max(call.volatile_bytes, *(one.volatile_bytes for one in own))


def describe_difference(difference: PrefixDifference) -> str:
    """Return two lines on a place that differs: what and where, and what to do."""
    prefix, verdict = difference.prefix, difference.verdict
    site = f"{prefix.file}:{prefix.line}" if prefix.file else "an unknown line"
    place = describe_place(verdict, difference.key)
    return (
        f"call {prefix.call} ({site}): {verdict.reason}: {place}\n"
        f"  {format_advice(verdict.reason or '', verdict.section, verdict.index)}"
    )
