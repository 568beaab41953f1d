"""Shared fixtures: an emulator, and an instrumented process with telemetry in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import hypothesis
import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from promptcache import PromptCacheInstrumentor, Settings
from promptcache_emulator.engine import Emulator
from promptcache_emulator.server import running_server
from tests.support.telemetry import Telemetry

if TYPE_CHECKING:
    from tests.support.recorded_traffic import RecordCalls

# There is no deadline, since a busy machine is no failure. `make fuzz` runs more examples.
_WITHOUT_DEADLINE: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [hypothesis.HealthCheck.too_slow],
}
hypothesis.settings.register_profile("default", **_WITHOUT_DEADLINE)
hypothesis.settings.register_profile("fuzz", max_examples=100_000, **_WITHOUT_DEADLINE)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


MEMORY_FOLDER: Final = Path("/dev/shm")
MIN_FREE_BYTES: Final = 2 << 30


def pytest_configure() -> None:
    """Keep temporary files in memory where the system allows it: SQLite waits for a disk."""
    if not os.access(MEMORY_FOLDER, os.W_OK):
        return
    status = os.statvfs(MEMORY_FOLDER)
    has_room = status.f_bavail * status.f_frsize > MIN_FREE_BYTES
    if has_room and not status.f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY_FOLDER))


FILES_OF_ONE_PROCESS: Final = ("test_faults.py", "test_backend_outages.py")
"""Files whose tests share state, or measure a process: pytest-xdist gives each to one worker.

The marker `xdist_group` does the same, but has no effect with pytest 9.2 and pytest-xdist 3.8.
"""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return a scheduler that deals out test by test, but for the files of one process."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # no stubs

    class FileOrTestScheduling(LoadScopeScheduling):  # type: ignore[misc]  # Any to mypy
        def _split_scope(self, nodeid: str) -> str:
            path, _, _ = nodeid.partition("::")
            return path if path.endswith(FILES_OF_ONE_PROCESS) else nodeid

    return FileOrTestScheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return one worker more than there are cores: many tests wait for a process of theirs."""
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else 3


SYSTEM_ENVIRON: Final = dict(os.environ)
"""The environment before `one_root_certificate` changes it, for programs with real TLS."""


@pytest.fixture(scope="session", autouse=True)
def one_root_certificate() -> Iterator[None]:
    """Make HTTP clients load one root certificate: 3 ms a client instead of 40 ms.

    The tests create thousands of clients. All servers are on loopback and use plain HTTP.
    """
    path = str(Path(__file__).parent / "fixtures" / "root_certificate.pem")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SSL_CERT_DIR", raising=False)
        for name in ("SSL_CERT_FILE", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
            patch.setenv(name, path)
        yield


@pytest.fixture(scope="session", autouse=True)
def key_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep recordings away from the key of the user who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Instrument the process for the duration of the test."""
    telemetry_in_memory = Telemetry()
    telemetry_in_memory.instrument()
    yield telemetry_in_memory
    PromptCacheInstrumentor().uninstrument()


@pytest.fixture
def instrumented() -> Iterator[Callable[..., Telemetry]]:
    """Return a function that instruments the process with settings or a sampler of the test."""

    def instrument(
        settings: Settings | None = None, sampler: Sampler = ALWAYS_ON, **options: Any
    ) -> Telemetry:
        telemetry = Telemetry(sampler)
        telemetry.instrument(settings, **options)
        return telemetry

    yield instrument
    PromptCacheInstrumentor().uninstrument()


@pytest.fixture(scope="session")
def emulator() -> Emulator:
    """The engine of the emulator. The fixture `emulator_url` gives its address."""
    return Emulator()


@pytest.fixture(scope="session")
def served(emulator: Emulator) -> Iterator[str]:
    with running_server(emulator) as url:
        yield url


@pytest.fixture
def emulator_url(emulator: Emulator, served: str) -> str:
    """The address of the emulator, with empty caches."""
    emulator.reset()
    return served


@pytest.fixture
def record(emulator: Emulator, emulator_url: str, tmp_path: Path) -> RecordCalls:
    """Return a function that records eight conversations in a table of their own."""
    # Not imported above: it needs the packages of the command line.
    from tests.support.recorded_traffic import make_recorder

    return make_recorder(emulator, emulator_url, tmp_path)
