"""What the tests share: an emulator, and an instrumented process whose telemetry stays in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import hypothesis
import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from promptcache import PromptCacheInstrumentor, Settings
from promptcache_emulator.engine import Emulator
from promptcache_emulator.server import running_server
from tests.support.telemetry import Telemetry

# No timed test: a busy machine is not a failure. `make fuzz` runs the same properties for longer.
_ANY_PACE: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [hypothesis.HealthCheck.too_slow],
}
hypothesis.settings.register_profile("default", **_ANY_PACE)
hypothesis.settings.register_profile("fuzz", max_examples=100_000, **_ANY_PACE)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


SYSTEM_ENVIRON: Final = dict(os.environ)
"""The environment before `one_root_certificate` changes it, for a program that opens a real TLS connection."""


@pytest.fixture(scope="session", autouse=True)
def one_root_certificate() -> Iterator[None]:
    """Make HTTP clients load one root certificate instead of the system's: 3 ms a client instead of 40.

    The tests make thousands of clients. All their servers are on loopback and speak plain HTTP.
    """
    path = str(Path(__file__).parent / "fixtures" / "root_certificate.pem")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SSL_CERT_DIR", raising=False)
        for name in ("SSL_CERT_FILE", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
            patch.setenv(name, path)
        yield


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """An instrumented process, from the start of the test to its end."""
    made = Telemetry()
    made.instrument()
    yield made
    PromptCacheInstrumentor().uninstrument()


@pytest.fixture
def instrumented() -> Iterator[Callable[..., Telemetry]]:
    """Makes an instrumented process with the test's own settings or sampler."""

    def make(
        settings: Settings | None = None, sampler: Sampler = ALWAYS_ON, **more: Any
    ) -> Telemetry:
        made = Telemetry(sampler)
        made.instrument(settings, **more)
        return made

    yield make
    PromptCacheInstrumentor().uninstrument()


@pytest.fixture(scope="session")
def emulator() -> Emulator:
    """The emulator's engine; `emulator_url` says where it listens."""
    return Emulator()


@pytest.fixture(scope="session")
def served(emulator: Emulator) -> Iterator[str]:
    with running_server(emulator) as url:
        yield url


@pytest.fixture
def emulator_url(emulator: Emulator, served: str) -> str:
    """The address of an emulator whose caches are empty."""
    emulator.reset()
    return served
