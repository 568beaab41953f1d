"""An instrumented process whose spans and metrics stay in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from promptcache import PromptCacheInstrumentor, Settings
from promptcache.semconv import OUTCOME


@dataclass
class Telemetry:
    """An instrumented process, whose spans and metrics are read as an exporter sees them."""

    sampler: Sampler = ALWAYS_ON
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)

    settings: Settings | None = None
    """The settings of the instrumentation, if a test recorded them."""

    latest: ClassVar[Telemetry | None] = None
    """The newest instance."""

    def __post_init__(self) -> None:
        Telemetry.latest = self
        self.tracers = TracerProvider(sampler=self.sampler)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader])

    def instrument(self, settings: Settings | None = None, **options: Any) -> None:
        PromptCacheInstrumentor().instrument(
            tracer_provider=self.tracers,
            meter_provider=self.meters,
            settings=settings or Settings(),
            **options,
        )

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    @property
    def span(self) -> ReadableSpan:
        """The only span."""
        (only,) = self.spans
        return only

    @property
    def calls(self) -> tuple[ReadableSpan, ...]:
        """The spans of calls to a model."""
        return tuple(span for span in self.spans if OUTCOME in (span.attributes or {}))

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The attributes of the only span."""
        return self.span.attributes or {}

    def _collect(self) -> Any:
        return self.reader.get_metrics_data()

    def metric(self, name: str, **where: Any) -> float:
        """Return the sum of a counter, or the count of a histogram, over points that match `where`.

        In the keys of `where`, `__` stands for a dot.
        """
        metrics_data = self._collect()
        if metrics_data is None:
            return 0
        wanted_attributes = {key.replace("__", "."): value for key, value in where.items()}
        total: float = sum(
            point.value if hasattr(point, "value") else point.count
            for resource in metrics_data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
            if metric.name == name
            and wanted_attributes.items() <= dict(point.attributes or {}).items()
        )
        return total
