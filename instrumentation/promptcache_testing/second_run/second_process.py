"""Start the second pytest process, and wait for it."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import pytest

from promptcache_testing.second_run.settings import SECOND_RUN_VARIABLE, SecondRunSettings
from promptcache_testing.second_run.surroundings import changed_variables, make_other_folder

_LEFT_OUT: Final = frozenset({"--pdb", "--trace", "-f", "--looponfail", "--promptcache-twice"})
"""Options that wait for somebody, and the one that starts this process."""
_NOT_INHERITED: Final = ("GITHUB_STEP_SUMMARY", "PYTEST_CURRENT_TEST")
_MAX_LINES_OF_OUTPUT: Final = 20


class SecondProcess:
    """The second run, as the process sees it that pytest was called with.

    Raise pytest.UsageError if a package for it is missing.
    """

    def __init__(self, config: pytest.Config) -> None:
        if find_spec("time_machine") is None:
            raise pytest.UsageError(
                "--promptcache-twice needs time-machine: pip install 'promptcache[pytest]'"
            )
        self._config = config
        self._folder = Path(mkdtemp(prefix="promptcache-"))
        self.settings = SecondRunSettings(str(self._folder / "results.json"), os.urandom(32).hex())
        self.seconds: float | None = None
        self.failure_lines: list[str] = []

    def run(self, items: Sequence[pytest.Item] | None) -> None:
        """Run the tests in the second process, until it ends.

        `items` are the tests of this process; a controller of pytest-xdist knows none.
        """
        is_controller = self._config.pluginmanager.hasplugin("dsession")
        if not is_controller and not any(uses_fixture(item) for item in items or ()):
            return
        output, started = self._folder / "output.txt", time.monotonic()
        with output.open("wb") as file:
            process = subprocess.Popen(  # noqa: S603  # pytest with the arguments of this run
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self._environ(),
                cwd=self._config.invocation_params.dir,
            )
            try:
                code = process.wait()
            finally:  # somebody may interrupt the tests
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        self.seconds = time.monotonic() - started
        if not Path(self.settings.results).exists():
            lines = output.read_text("utf-8", "replace").splitlines()[-_MAX_LINES_OF_OUTPUT:]
            self.failure_lines = [f"promptcache: the second run ended with code {code}:", *lines]

    def summary_lines(self) -> list[str]:
        """Return lines for the terminal: how long it took, or why it has no results."""
        if self.failure_lines:
            return ["", *self.failure_lines]
        if self.seconds is None:
            return []
        return [f"promptcache: the second run of the tests took {self.seconds:.1f} s"]

    def close(self) -> None:
        """Remove the files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _command(self) -> list[str]:
        given = [str(one) for one in self._config.invocation_params.args]
        options = ["--maxfail=0"]
        manager = self._config.pluginmanager
        # Later options win over the user's; each exists only with its plugin.
        for plugin, option in (
            ("xdist", "--numprocesses=0"),
            ("_cov", "--no-cov"),
            ("randomly", f"--randomly-seed={random.SystemRandom().randrange(2**32)}"),
        ):
            options += [option] if manager.hasplugin(plugin) else []
        program = str(Path(__file__).with_name("start.py"))
        kept = [one for one in given if one not in _LEFT_OUT]
        return [sys.executable, "-P", program, *with_options(kept, options)]

    def _environ(self) -> dict[str, str]:
        settings = asdict(self.settings) | {
            "folder": str(make_other_folder(self._folder)),
            "seed": random.SystemRandom().randrange(2**32),
            "import_paths": [os.path.abspath(path) for path in sys.path],
        }
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in _NOT_INHERITED and not name.startswith(("PYTEST_XDIST", "COV_CORE_"))
        }
        return {
            **inherited,
            **changed_variables(os.environ),
            SECOND_RUN_VARIABLE: json.dumps(settings),
        }


def with_options(given: list[str], options: list[str]) -> list[str]:
    """Return the arguments with more options, which stand before `--` if there is one."""
    end = given.index("--") if "--" in given else len(given)
    return [*given[:end], *options, *given[end:]]


def uses_fixture(item: pytest.Item) -> bool:
    """Return whether a test asks for the fixture by name, or has its marker."""
    names: Sequence[str] = getattr(item, "fixturenames", ())
    return "prompt_cache" in names or item.get_closest_marker("promptcache") is not None


def select_tests(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave only the tests that use the fixture or have its marker."""
    chosen = [item for item in items if uses_fixture(item)]
    if dropped := [item for item in items if not uses_fixture(item)]:
        config.hook.pytest_deselected(items=dropped)
        items[:] = chosen


def settings_of_worker(workerinput: Mapping[str, Any]) -> SecondRunSettings | None:
    """Return the settings that the controller of pytest-xdist gave to this process."""
    text = workerinput.get("promptcache_second_run")
    return None if text is None else SecondRunSettings.from_json(text)
