"""The tests of one process with their calls, and what is reported of them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from promptcache_testing.errors import CacheRegressionError
from promptcache_testing.fixture import PromptCacheFixture
from promptcache_testing.interception.installation import intercepted
from promptcache_testing.interception.interceptor import InterceptorSwitch
from promptcache_testing.lock_file import LockFile
from promptcache_testing.report import append_step_summary, format_terminal, to_json
from promptcache_testing.second_run.check import SecondRunCheck
from promptcache_testing.second_run.recorder import SecondRunRecorder
from promptcache_testing.summaries import TestSummary, summarize_test
from promptcache_testing.traffic import Traffic

_MARKER: Final = "promptcache"
_FIXTURE: Final = pytest.StashKey[PromptCacheFixture]()
_LISTING: Final = pytest.StashKey[InterceptorSwitch]()


class CacheSession:
    """All tests of this process. `is_listing`: also tests without the fixture are recorded."""

    def __init__(
        self,
        config: pytest.Config,
        *,
        is_listing: bool,
        second_run: SecondRunCheck | SecondRunRecorder | None = None,
    ) -> None:
        self.config, self.is_listing, self.second_run = config, is_listing, second_run
        self._summaries: list[TestSummary] = []
        self._is_updating = bool(config.getoption("promptcache_update"))
        self._lock = LockFile(config.rootpath / config.getini("promptcache_lock"))
        self._changes: list[str] = []
        self._notes: dict[str, list[str]] = {}

    @property
    def _is_second(self) -> bool:
        return isinstance(self.second_run, SecondRunRecorder)

    # One test

    @contextmanager
    def fixture_for(self, item: pytest.Item) -> Generator[PromptCacheFixture]:
        """Answer the test's requests until the end of the context, and remember its calls."""
        options = marker_options(item)
        allowed = [*self.config.getini("promptcache_allow_hosts"), *options["allow_hosts"]]
        digester = self.second_run.digester if self.second_run else None
        traffic = Traffic(answers_everything=True, allowed_hosts=allowed, digester=digester)
        fixture = item.stash[_FIXTURE] = PromptCacheFixture(
            traffic, options["min_calls"], fails_tests=not self._is_second
        )
        try:
            with ExitStack() as stack:
                switch = item.stash.get(_LISTING, None) or stack.enter_context(intercepted(traffic))
                listing, switch.target = switch.target, traffic
                yield fixture
                switch.target = listing
        finally:
            if isinstance(self.second_run, SecondRunRecorder):
                self.second_run.add_calls(item.nodeid, fixture.calls)
            summary = _summarize_fixture(item.nodeid, fixture)
            summary.notes = self._notes.pop(item.nodeid, [])
            self._summaries.append(summary)

    @contextmanager
    def listing(self, item: pytest.Item) -> Generator[None]:
        """Record the calls of a test, unless it uses the fixture."""
        traffic = Traffic(answers_everything=False)
        with intercepted(traffic) as switch:
            item.stash[_LISTING] = switch
            yield
        del item.stash[_LISTING]
        if traffic.recorder.calls:
            self._summaries.append(
                summarize_test(item.nodeid, traffic.recorder.calls, uses_fixture=False)
            )

    def failure_at_end(self, item: pytest.Item) -> str | None:
        """Run the checks that every test with the fixture gets, and return why it fails."""
        fixture = item.stash.get(_FIXTURE, None)
        if fixture is None or self._is_second:
            return None
        try:
            self._check_at_end(item, fixture)
        except CacheRegressionError as error:
            return str(error)
        return None

    def _check_at_end(self, item: pytest.Item, fixture: PromptCacheFixture) -> None:
        fixture.check_turns()
        if isinstance(self.second_run, SecondRunCheck):
            self.second_run.check_test(item.nodeid, fixture.calls)
        if not self._is_updating:
            self._compare_with_lock(_summarize_fixture(item.nodeid, fixture))

    def _compare_with_lock(self, summary: TestSummary) -> None:
        judge = self.config.getini("promptcache_lock_python")
        note = self._lock.check(summary, "--promptcache-update", judge)
        self._notes[summary.nodeid] = [note] if note else []

    # The whole session

    def add_worker_output(self, output: list[dict[str, Any]]) -> None:
        """Take the summaries of a worker."""
        self._summaries.extend(TestSummary.from_json(one) for one in output)

    def finish(self) -> None:
        """Hand the summaries to the controller, or write the files."""
        if isinstance(self.second_run, SecondRunRecorder):
            self.second_run.write()
            return
        worker_output: dict[str, Any] | None = getattr(self.config, "workeroutput", None)
        if worker_output is not None:
            worker_output["promptcache"] = [one.to_json() for one in self._summaries]
            return
        self._summaries.sort(key=lambda one: one.nodeid)
        if self._is_updating:
            self._changes = self._lock.write(one for one in self._summaries if one.uses_fixture)
        if path := self.config.getoption("promptcache_json"):
            Path(path).write_text(to_json(self._summaries), encoding="utf-8")
        append_step_summary(self._summaries)

    def summary_lines(self) -> list[str]:
        """Return the lines for the terminal: the list if asked for, and what the lock says."""
        lines = format_terminal(self._summaries) if self.is_listing else []
        if self._is_updating:
            accepted = self._changes or ["nothing changed"]
            return [*lines, "", f"promptcache: wrote {self._lock.path.name}", *accepted]
        lines += self._volume_lines()
        notes = [f"promptcache: {note}" for one in self._summaries for note in one.notes]
        return [*lines, *notes, *self._unused_entries()]

    def _volume_lines(self) -> list[str]:
        """Return what breaks cost at the volume of `--promptcache-volume`, if it was given."""
        if not (text := self.config.getoption("promptcache_volume")):
            return []
        from promptcache_exporters.database.errors import CallsFileReadError
        from promptcache_testing.volume import count_calls_by_model, volume_lines

        path = Path(text)
        try:
            return volume_lines(self._summaries, path, count_calls_by_model(path.absolute()))
        except (CallsFileReadError, OSError) as error:
            return [f"promptcache: {path.name} cannot be read: {type(error).__name__}"]

    def _unused_entries(self) -> list[str]:
        """Return a line for the entries whose tests did not run. They are never deleted."""
        run = {one.nodeid for one in self._summaries}
        unused = sorted(set(self._lock.entries) - run)
        if not unused or getattr(self.config, "workerinput", None) is not None:
            return []
        return [f"promptcache: {self._lock.path.name} has entries that no test used:", *unused]


def _summarize_fixture(nodeid: str, fixture: PromptCacheFixture) -> TestSummary:
    return summarize_test(nodeid, fixture.calls, uses_fixture=True)


def marker_options(item: pytest.Item) -> dict[str, Any]:
    """Return the options of the nearest marker. Raise TypeError for an unknown one."""
    options: dict[str, Any] = {"min_calls": 2, "allow_hosts": ()}
    marker = item.get_closest_marker(_MARKER)
    given: dict[str, Any] = dict(marker.kwargs) if marker else {}
    if unknown := set(given) - set(options):
        raise TypeError(f"the marker promptcache has no option {', '.join(sorted(unknown))}")
    return options | given
