"""What the tests share: an emulator, and an instrumented process whose telemetry stays in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

import hypothesis
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from promptcache import PromptCacheInstrumentor, Settings
from promptcache.semconv import OUTCOME
from promptcache_emulator.engine import Emulator
from promptcache_emulator.server import running_server

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


@dataclass
class Telemetry:
    """An instrumented process. Spans and metrics are read back as an exporter would see them."""

    sampler: Sampler = ALWAYS_ON
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)

    settings: Settings | None = None
    """What it was instrumented with, where that was noted."""

    latest: ClassVar[Telemetry | None] = None
    """The one that was made last."""

    def __post_init__(self) -> None:
        Telemetry.latest = self
        self.tracers = TracerProvider(sampler=self.sampler)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader])

    def instrument(self, settings: Settings | None = None, **more: Any) -> None:
        PromptCacheInstrumentor().instrument(
            tracer_provider=self.tracers,
            meter_provider=self.meters,
            settings=settings or Settings(),
            **more,
        )

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    @property
    def span(self) -> ReadableSpan:
        """The only span there is."""
        (only,) = self.spans
        return only

    @property
    def calls(self) -> tuple[ReadableSpan, ...]:
        """Those that stand for a call to a model."""
        return tuple(span for span in self.spans if OUTCOME in (span.attributes or {}))

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Those of the only span."""
        return self.span.attributes or {}

    def _collected(self) -> Any:
        return self.reader.get_metrics_data()

    def metric(self, name: str, **where: Any) -> float:
        """The sum of a counter's points (the count of a histogram's) whose attributes are as `where` says."""
        collected = self._collected()
        if collected is None:
            return 0
        wanted = {key.replace("__", "."): value for key, value in where.items()}
        total: float = sum(
            point.value if hasattr(point, "value") else point.count
            for resource in collected.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
            if metric.name == name and wanted.items() <= dict(point.attributes or {}).items()
        )
        return total


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
